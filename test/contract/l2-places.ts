/**
 * A real Redis and its twin in memory, as a test may look into them and do to them what befalls a
 * Redis. Time passes in both without waiting: the twin's clock is moved; in Redis, whose clock nobody
 * sets, every time that is written there is moved back, and every expiry brought forward.
 */
import type { Told } from '../../src/model/bus-ports.ts'
import type { L2, Tombstone } from '../../src/model/l2-port.ts'
import { keySpace } from '../../src/redis/keys.ts'
import { barrierKey, fenceKey, valueKey } from '../../src/testing/memory-keys.ts'
import type { MemoryRedisState } from '../../src/testing/memory-redis.ts'
import { quiet, VirtualClock } from '../support/clock.ts'
import { ownNamespace } from '../support/namespace.ts'
import { MemoryRedis, memoryL2 } from '../support/ports.ts'
import { startRedis } from '../support/servers.ts'
import { retentions, type Spot, unitMs, versions } from './l2-commands.ts'
import { aged, fenceIn, isFence, type Lying } from './redis-bytes.ts'
import { openRedisProcess } from './redis-process.ts'

/** A fence as it lies there. */
export interface SeenFence {
  readonly nonce: string
  readonly owner: string | undefined
  readonly leaseLeftMs: number | undefined
  readonly isAwaited: boolean
  readonly tombstones: readonly (Tombstone & { readonly ageMs: number })[]
  readonly expiresInMs: number
}

export interface SeenBytes {
  readonly bytes: Buffer
  readonly expiresInMs: number
}

/** By key, as the twin names them. */
export interface Contents {
  readonly nowMs: number
  readonly fences: ReadonlyMap<string, SeenFence>
  readonly strings: ReadonlyMap<string, SeenBytes>
}

export interface Place {
  readonly owners: readonly L2[]
  /** What the last of them has heard over the fast plane. */
  readonly told: Told[]
  /** What was published has arrived, and what waited for it goes on. */
  arrived(): Promise<void>
  contents(): Promise<Contents>
  evictFence(spot: Spot): Promise<unknown>
  evictValues(spot: Spot): Promise<unknown>
  evictBarrier(): Promise<unknown>
  flush(): Promise<unknown>
  /** Puts other bytes there, if something lies there. */
  change(key: string, to: (bytes: Buffer) => Buffer): Promise<void>
  /** Remembers all that lies there. */
  save(): Promise<void>
  /** Another server answers from now on, with what was saved that many saves ago; with nothing without. */
  failOver(ago: number | undefined): Promise<void>
  elapse(ms: number): Promise<void>
  /** The next sequence uses other spots, of an empty server. */
  next(spots: readonly Spot[]): Promise<void>
}

const retentionsMs = retentions.map((units) => units * unitMs)

// ---------------------------------------------------------------- the twin

export function memoryPlace(): Place {
  const clock = new VirtualClock()
  const redis = new MemoryRedis(clock)
  let saved: MemoryRedisState[] = []
  const told: Told[] = []
  redis.fastPlane().listen((message) => told.push(message))
  const empty: MemoryRedisState = { values: new Map(), fences: new Map() }
  return {
    owners: retentionsMs.map((tombstoneRetentionMs) => memoryL2({ redis, tombstoneRetentionMs })),
    told,
    arrived: quiet,
    contents: async () => contentsOf(redis),
    evictFence: async ({ entity, id }) => redis.evictFence(entity, id),
    evictValues: async ({ entity, id }) => {
      for (const version of versions) redis.evictValue(entity, version, id)
    },
    evictBarrier: async () => redis.evictBarrier(),
    flush: async () => redis.flush(),
    change: async (key, to) => {
      const bytes = redis.get(key)
      const expiresAtMs = redis.save().values.get(key)?.expiresAtMs
      if (bytes && expiresAtMs) redis.set(key, to(bytes), expiresAtMs - redis.nowMs())
    },
    save: async () => void saved.push(redis.save()),
    failOver: async (ago) => redis.failOver((ago !== undefined && saved.at(-1 - ago)) || empty),
    elapse: async (ms) => clock.stop(ms),
    next: async () => {
      redis.failOver(empty)
      saved = []
      told.length = 0
    },
  }
}

function contentsOf(redis: MemoryRedis): Contents {
  const nowMs = redis.nowMs()
  const { fences, values } = redis.save()
  const there = [...fences].filter(([, { expiresAtMs }]) => expiresAtMs > nowMs)
  const strings = [...values].filter(([, { expiresAtMs }]) => expiresAtMs > nowMs)
  return {
    nowMs,
    fences: new Map(
      there.map(([key, { nonce, owner, untilMs, isAwaited, tombstones, expiresAtMs }]) => [
        key,
        {
          nonce,
          owner,
          leaseLeftMs: untilMs === undefined ? undefined : untilMs - nowMs,
          isAwaited,
          tombstones: [...tombstones.values()].map(({ incarnation, xid, merged, toldAtMs }) => ({
            incarnation,
            xid,
            merged,
            ageMs: nowMs - toldAtMs,
          })),
          expiresInMs: expiresAtMs - nowMs,
        },
      ]),
    ),
    strings: new Map(
      strings.map(([key, { bytes, expiresAtMs }]) => [
        key,
        { bytes, expiresInMs: expiresAtMs - nowMs },
      ]),
    ),
  }
}

// ---------------------------------------------------------------- Redis

/** A server of its own, so that another one can take its place. */
export async function redisPlace(): Promise<Place> {
  const { url } = await startRedis()
  const namespace = ownNamespace()
  const processes = await Promise.all(
    retentionsMs.map((retentionMs) => openRedisProcess({ url, namespace, retentionMs })),
  )
  const { redis, fastPlane } = processes[0] as (typeof processes)[0]
  const told: Told[] = []
  fastPlane.listen((message) => told.push(message))
  let keys: readonly string[] = []
  let saved: (readonly Lying[])[] = []
  let passedMs: number[] = []

  const read = async (): Promise<readonly Lying[]> => {
    const asked = redis.pipeline().mgetBuffer(keys.map((key) => realKey(namespace, key)))
    for (const key of keys) asked.pttl(realKey(namespace, key))
    const answers = (await asked.exec()) as [Error | null, unknown][]
    const all = answers[0]?.[1] as (Buffer | null)[]
    return keys.flatMap((key, index) => {
      const bytes = all[index]
      return bytes ? [{ key, bytes, expiresInMs: answers[1 + index]?.[1] as number }] : []
    })
  }
  const remove = (some: readonly string[]): Promise<number> =>
    redis.del(...some.map((key) => realKey(namespace, key)))
  const replace = async (all: readonly Lying[]): Promise<void> => {
    const asked = redis.pipeline().del(...keys.map((key) => realKey(namespace, key)))
    for (const { key, bytes, expiresInMs } of all) {
      if (expiresInMs > 0) asked.set(realKey(namespace, key), bytes, 'PX', expiresInMs)
    }
    await asked.exec()
  }
  const failOver = async (ago: number | undefined): Promise<void> => {
    const place = ago === undefined ? -1 : saved.length - 1 - ago
    const since = passedMs[place] ?? 0
    await replace((saved[place] ?? []).map((lying) => aged(lying, since)))
    // A primary that was demoted and promoted again has another replication id.
    await redis.replicaof('127.0.0.1', 1)
    await redis.replicaof('NO', 'ONE')
  }

  return {
    owners: processes.map(({ l2 }) => l2),
    told,
    arrived: async () => {
      await Promise.all(processes.map(({ arrived }) => arrived()))
      await quiet()
    },
    contents: async () => seenIn(await read()),
    evictFence: ({ entity, id }) => remove([fenceKey(entity, id)]),
    evictValues: (spot) => remove(valueKeys(spot)),
    evictBarrier: () => remove([barrierKey]),
    flush: () => remove(keys),
    change: async (key, to) => {
      for (const lying of await read()) {
        if (lying.key === key) await redis.set(realKey(namespace, key), to(lying.bytes), 'KEEPTTL')
      }
    },
    save: async () => {
      saved.push(await read())
      passedMs.push(0)
    },
    failOver,
    elapse: async (ms) => {
      await replace((await read()).map((lying) => aged(lying, ms)))
      passedMs = passedMs.map((passed) => passed + ms)
    },
    next: async (spots) => {
      saved = []
      passedMs = []
      if (keys.length > 0) await failOver(undefined)
      keys = [
        barrierKey,
        ...spots.flatMap(({ entity, id }) => [fenceKey(entity, id), ...valueKeys({ entity, id })]),
      ]
      told.length = 0
    },
  }
}

const valueKeys = ({ entity, id }: Spot): string[] =>
  versions.map((version) => valueKey(entity, version, id))

const realKey = (namespace: string, key: string): string =>
  key === barrierKey ? keySpace(namespace).barrier('') : `${namespace}:${key}`

function seenIn(all: readonly Lying[]): Contents {
  const nowMs = Date.now()
  const fences = all.filter(({ key }) => isFence(key))
  return {
    nowMs,
    fences: new Map(fences.map((lying) => [lying.key, fenceIn(lying, nowMs)])),
    strings: new Map(all.filter(({ key }) => !isFence(key)).map((lying) => [lying.key, lying])),
  }
}
