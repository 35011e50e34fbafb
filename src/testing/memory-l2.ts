/** The L2 of one process over a Redis in memory. */
import type { AnyEntity } from '../model/entity.ts'
import { decodeEnvelope, encodeEnvelope } from '../model/envelope.ts'
import type {
  BarrierAnswer,
  Drop,
  Dropped,
  Fill,
  FillAnswer,
  Grant,
  L2,
  L2Barriers,
  Lookup,
  Nonce,
  Renewal,
} from '../model/l2-port.ts'
import { visible, type WriteId } from '../model/snapshot.ts'
import { lookupOf, storedOf } from '../redis/answers.ts'
import { type Beside, isOutlived } from '../redis/beside.ts'
import { MemoryBarriers } from './memory-barriers.ts'
import { refuser, remember } from './memory-bitmaps.ts'
import { fenceKey, valueKey } from './memory-keys.ts'
import type { MemoryRedis, ReadFence } from './memory-redis.ts'

export interface MemoryL2Options {
  readonly redis: MemoryRedis
  readonly tombstoneRetentionMs?: number
  /** Where each call is noted. */
  readonly calls?: L2Call[]
  /** What an invalidation adds to the filters, where it isn't all of the drops. */
  readonly remember?: (redis: MemoryRedis, write: WriteId, drops: readonly Drop[]) => void
}

/** What one process asked of its L2. */
export interface L2Call {
  readonly act:
    | 'lookup'
    | 'acquire'
    | 'fill'
    | 'renew'
    | 'release'
    | 'invalidate'
    | 'barrier'
    | 'restore'
  readonly ids: readonly string[]
}

let owners = 0

export function memoryL2(options: MemoryL2Options): L2 {
  const { redis, tombstoneRetentionMs: retentionMs = 60_000, calls } = options
  const owner = `owner-${++owners}`
  let nonces = 0
  const barriers = new MemoryBarriers(redis)
  const newNonce = (): string => `${owner}:${nonces++}`

  /** One call: it travels, is done at once, and its answer travels back. */
  const call: Call = async (entry, run, unavailable) => {
    calls?.push(entry)
    await Promise.resolve()
    if (redis.down) return unavailable(redis.down)
    const answer = run()
    await Promise.resolve()
    return answer
  }

  return {
    lookup: (entity, ids, asked) =>
      call<readonly Lookup[]>(
        { act: 'lookup', ids },
        () => lookupAll(redis, entity, ids, asked, barriers.beside()),
        (cause) => ids.map(() => unavailable(cause)),
      ),

    acquire: (entity, ids, wanted) =>
      call<readonly Grant[]>(
        { act: 'acquire', ids },
        () =>
          ids.map((id) => {
            const asker = { owner, proposedNonce: newNonce(), retentionMs }
            return acquireOne(redis, keysOf(entity, id), id, wanted, asker, barriers.beside())
          }),
        (cause) => ids.map(() => unavailable(cause)),
      ),

    fill: (entity, fills) =>
      call<readonly FillAnswer[]>(
        { act: 'fill', ids: fills.map(({ lease }) => lease.id) },
        () =>
          fills.map((fill) =>
            fillOne(redis, keysOf(entity, fill.lease.id), fill, owner, retentionMs),
          ),
        () => fills.map(() => 'unavailable'),
      ),

    renew: (entity, leases, leaseMs) =>
      call<readonly Renewal[]>(
        { act: 'renew', ids: leases.map(({ id }) => id) },
        () =>
          leases.map(({ id, nonce }) =>
            redis.renewLease(keysOf(entity, id).fence, owner, nonce, leaseMs) ? 'held' : 'lost',
          ),
        () => leases.map(() => 'unavailable'),
      ),

    release: (entity, leases) =>
      call<void>(
        { act: 'release', ids: leases.map(({ id }) => id) },
        () => {
          for (const { id } of leases) releaseOne(redis, keysOf(entity, id), owner)
        },
        () => undefined,
      ),

    filled: (entity, id, pollAfterMs, signal) =>
      redis.waits.wait(owner, keysOf(entity, id).value, pollAfterMs, signal),

    invalidate: (write, drops, { quiet = false } = {}) =>
      call<Dropped>(
        { act: 'invalidate', ids: drops.map(({ id }) => id) },
        () => {
          let values = 0
          const nonces = drops.map((drop) => {
            const proposed = newNonce()
            values += dropValues(redis, write, drop)
            return fenceOff(redis, write, drop, retentionMs, proposed)
          })
          if (options.remember) options.remember(redis, write, drops)
          else rememberAll(redis, drops)
          const keys = drops.map(({ entity, id }) => ({ entity, id }))
          if (!quiet) redis.tell({ write, keys })
          return { kind: 'dropped', nonces, values }
        },
        unavailable,
      ),

    ...barrierCalls(call, barriers),
  }
}

type Call = <T>(entry: L2Call, run: () => T, unavailable: (cause: unknown) => T) => Promise<T>

function barrierCalls(call: Call, barriers: MemoryBarriers): L2Barriers {
  return {
    barrier: (snapshot) =>
      call<readonly BarrierAnswer[]>(
        { act: 'barrier', ids: [] },
        () => [barriers.barrier(snapshot)],
        (cause) => [unavailable(cause)],
      ),

    restore: (change, snapshot, generation) =>
      call<BarrierAnswer>(
        { act: 'restore', ids: [] },
        () => barriers.restore(change, snapshot, generation),
        unavailable,
      ),
  }
}

const unavailable = (cause: unknown) => ({ kind: 'unavailable', cause }) as const

interface Keys {
  readonly fence: string
  readonly value: string
}

/** lookup-asked.lua */
function lookupAll(
  redis: MemoryRedis,
  entity: AnyEntity,
  ids: readonly string[],
  asked: readonly boolean[] | undefined,
  beside: Beside,
): readonly Lookup[] {
  const nowMs = redis.nowMs()
  const refusalOf = asked?.includes(true) ? refuser(redis, entity.name, beside) : undefined
  return ids.map((id, place) => {
    const bytes = redis.get(keysOf(entity, id).value)
    const refusal = bytes || !asked?.[place] ? undefined : refusalOf?.(id)
    if (refusal) return { kind: 'refused', refusal }
    return lookupOf(bytes, beside, nowMs, entity.graceMs)
  })
}

/** What invalidate.lua adds to the filters. */
function rememberAll(redis: MemoryRedis, drops: readonly Drop[]): void {
  for (const entity of new Set(drops.map((drop) => drop.entity))) {
    const ids = drops.flatMap((drop) => (drop.entity === entity ? drop.id : []))
    remember(redis, entity, ids)
  }
}

/** acquire.lua for one id. */
function acquireOne(
  redis: MemoryRedis,
  keys: Keys,
  id: string,
  { incarnation, leaseMs, insist }: Parameters<L2['acquire']>[2],
  asker: { readonly owner: string; readonly proposedNonce: string; readonly retentionMs: number },
  beside: Beside,
): Grant {
  const nowMs = redis.nowMs()
  const present = insist ? undefined : redis.headerAt(keys.value)
  const isFresh = present?.snapshot.incarnation === incarnation && present.softExpiryMs > nowMs
  if (isFresh && !isOutlived(present.snapshot, beside)) {
    const envelope = decodeEnvelope(redis.get(keys.value) as Buffer)
    if (!envelope) return { kind: 'unavailable', cause: new Error('corrupt envelope') }
    return { kind: 'value', stored: storedOf(envelope, beside, nowMs) }
  }
  const fence = redis.openFence(keys.fence, asker.retentionMs, asker.proposedNonce)
  const { untilMs, tombstones } = fence
  const isHeld =
    untilMs !== undefined && untilMs > nowMs && untilMs - nowMs <= Math.max(10_000, 64 * leaseMs)
  if (isHeld && fence.owner !== asker.owner) {
    redis.await(keys.fence)
    redis.waits.asked(asker.owner, keys.value)
    return { kind: 'wait', pollAfterMs: untilMs - nowMs, tombstones }
  }
  redis.lease(keys.fence, asker.owner, Math.ceil(leaseMs))
  return { kind: 'lease', id, nonce: fence.nonce as Nonce, tombstones }
}

/** fill.lua for one id. */
function fillOne(
  redis: MemoryRedis,
  keys: Keys,
  fill: Fill,
  owner: string,
  retentionMs: number,
): FillAnswer {
  const fence = redis.readFence(keys.fence, retentionMs)
  const bytes = envelopeOf(fill, redis.nowMs())
  const expireMs = expireMsOf(fill)
  const answer = redis.fillOne(keys, fence, fill.lease.nonce, bytes, expireMs, fill.over)
  if (answer !== 'filled') redis.endLease(keys.fence, owner)
  if (fence?.isAwaited) redis.waits.wake(keys.value)
  return answer
}

/** release.lua for one id. */
function releaseOne(redis: MemoryRedis, keys: Keys, owner: string): void {
  const held = redis.endLease(keys.fence, owner)
  if (!held) return
  const { isAwaited } = held
  redis.endWait(keys.fence)
  if (isAwaited) redis.waits.wake(keys.value)
}

/** What invalidate.lua drops of one id: the number of values that are gone. */
function dropValues(redis: MemoryRedis, write: WriteId, { entity, id, versions }: Drop): number {
  let dropped = 0
  for (const version of versions) {
    const key = valueKey(entity, version, id)
    if (redis.get(key) === undefined || sees(redis, key, write)) continue
    redis.unlink(key)
    dropped++
  }
  return dropped
}

/** What invalidate.lua leaves of one id after the drop: the nonce of its fence, '' where none is needed. */
function fenceOff(
  redis: MemoryRedis,
  write: WriteId,
  { entity, id, versions, through }: Drop,
  retentionMs: number,
  proposedNonce: string,
): Nonce {
  if (versions.some((version) => sees(redis, valueKey(entity, version, id), write))) {
    return '' as Nonce
  }
  const fence = fenceKey(entity, id)
  const opened = redis.openFence(fence, retentionMs, proposedNonce)
  redis.addTombstone(fence, opened, write)
  if (!through || !versions.includes(through.version)) return opened.nonce as Nonce
  const read = redis.readFence(fence, retentionMs) as ReadFence
  const value = valueKey(entity, through.version, id)
  const bytes = envelopeOf(through, redis.nowMs())
  redis.fillOne({ fence, value }, read, through.lease.nonce, bytes, expireMsOf(through), [])
  if (read.isAwaited) redis.waits.wake(value)
  return read.nonce as Nonce
}

function sees(redis: MemoryRedis, key: string, write: WriteId): boolean {
  const present = redis.headerAt(key)
  return present !== undefined && visible(write, present.snapshot)
}

function envelopeOf({ snapshot, payload, form, ttlMs, ageMs }: Fill, nowMs: number): Buffer {
  const createdAtMs = nowMs - ageMs
  return encodeEnvelope({ snapshot, payload, form, createdAtMs, softExpiryMs: createdAtMs + ttlMs })
}

const expireMsOf = (fill: Fill): number => Math.max(1, Math.ceil(fill.ttlMs + fill.graceMs))

const keysOf = (entity: AnyEntity, id: string): Keys => ({
  fence: fenceKey(entity.name, id),
  value: valueKey(entity.name, entity.version, id),
})
