/**
 * L2: values, fences and leases in Redis. Each act is one Lua call (`scripts/*.lua`), reads are one
 * MGET; what Redis can't answer in time is `unavailable`, never an exception.
 */
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import { decodeEnvelope, type Envelope, encodeEnvelope } from '../model/envelope.ts'
import type {
  Drop,
  Dropped,
  Fill,
  FillAnswer,
  Grant,
  L2,
  Lease,
  Lookup,
  Nonce,
  Stored,
  Tombstone,
} from '../model/ports.ts'
import { type Incarnation, parseXid, type WriteId } from '../model/snapshot.ts'
import type { Hop } from '../resilience/hop.ts'
import { RedisClock } from './clock.ts'
import type { FillWaits } from './fast-plane.ts'
import type { KeySpace } from './keys.ts'
import { readScripts, runScript, type ScriptName } from './scripts.ts'

/** Keys of one Lua call: Redis does nothing else meanwhile. */
const idsPerCall = 256

export interface RedisL2Options {
  readonly redis: Redis
  readonly keys: KeySpace
  readonly hop: Hop
  readonly clock: Clock
  readonly waits: FillWaits
  readonly tombstoneRetentionMs: number
}

export class RedisL2 implements L2 {
  readonly #redis: Redis
  readonly #keys: KeySpace
  readonly #hop: Hop
  readonly #clock: Clock
  readonly #redisClock: RedisClock
  readonly #waits: FillWaits
  readonly #retentionMs: string
  readonly #scripts = readScripts()
  /** This process, as owner of leases and in the nonces that it proposes. */
  readonly #owner = randomBytes(9).toString('base64url')
  #nonces = 0

  constructor(options: RedisL2Options) {
    this.#redis = options.redis
    this.#keys = options.keys
    this.#hop = options.hop
    this.#clock = options.clock
    this.#redisClock = new RedisClock(options.clock)
    this.#waits = options.waits
    this.#retentionMs = String(options.tombstoneRetentionMs)
  }

  async lookup(entity: AnyEntity, ids: readonly string[]): Promise<readonly Lookup[]> {
    const keys = ids.map((id) => this.#valueKey(entity, id))
    try {
      const values = await this.#hop.run(() => this.#redis.mgetBuffer(keys))
      const nowMs = this.#redisClock.nowMs()
      return values.map((bytes) => lookupOf(bytes, nowMs, entity.graceMs))
    } catch (cause) {
      return ids.map(() => ({ kind: 'unavailable', cause }))
    }
  }

  async acquire(
    entity: AnyEntity,
    ids: readonly string[],
    options: { incarnation: Incarnation; leaseMs: number; insist: boolean },
  ): Promise<readonly Grant[]> {
    const head = [
      Buffer.from(options.incarnation, 'hex'),
      this.#owner,
      String(Math.ceil(options.leaseMs)),
      this.#retentionMs,
      options.insist ? '1' : '0',
    ]
    return inChunks(ids, async (some) => {
      const sentAtMs = this.#clock.monotonicMs()
      try {
        const answers = (await this.#run('acquire', this.#pairs(entity, some), [
          ...head,
          ...some.map(() => this.#newNonce()),
        ])) as (readonly Buffer[])[]
        this.#redisClock.sample(Number(String(answers.at(-1))), sentAtMs)
        const nowMs = this.#redisClock.nowMs()
        return some.map((id, index) => {
          const grant = grantOf(id, answers[index] as readonly Buffer[], nowMs)
          if (grant.kind === 'wait') this.#waits.asked(this.#valueKey(entity, id), sentAtMs)
          return grant
        })
      } catch (cause) {
        return some.map((): Grant => ({ kind: 'unavailable', cause }))
      }
    })
  }

  async fill(entity: AnyEntity, fills: readonly Fill[]): Promise<readonly FillAnswer[]> {
    return inChunks(fills, async (some) => {
      const ids = some.map((fill) => fill.lease.id)
      try {
        const answers = (await this.#run('fill', this.#pairs(entity, ids), [
          this.#owner,
          this.#retentionMs,
          this.#keys.bus,
          ...some.flatMap((fill) => [
            ...this.#fillArgs(fill),
            Buffer.concat(fill.over.map((incarnation) => Buffer.from(incarnation, 'hex'))),
          ]),
        ])) as readonly Buffer[]
        return answers.map((answer) => String(answer) as FillAnswer)
      } catch {
        return some.map((): FillAnswer => 'unavailable')
      }
    })
  }

  async release(entity: AnyEntity, leases: readonly Lease[]): Promise<void> {
    await inChunks(leases, async (some) => {
      const ids = some.map((lease) => lease.id)
      try {
        await this.#run('release', this.#pairs(entity, ids), [this.#owner, this.#keys.bus])
      } catch {
        // The leases lapse by themselves.
      }
      return some
    })
  }

  filled(entity: AnyEntity, id: string, pollAfterMs: number, signal: AbortSignal): Promise<void> {
    return this.#waits.wait(this.#valueKey(entity, id), pollAfterMs, signal)
  }

  async invalidate(write: WriteId, drops: readonly Drop[]): Promise<Dropped> {
    let cause: unknown
    const nonces = await inChunks(drops, async (some) => {
      try {
        return await this.#invalidate(write, some)
      } catch (error) {
        cause = error
        return []
      }
    })
    return nonces.length === drops.length
      ? { kind: 'dropped', nonces }
      : { kind: 'unavailable', cause }
  }

  async #invalidate(write: WriteId, drops: readonly Drop[]): Promise<Nonce[]> {
    const keys = drops.flatMap(({ entity, id, versions }) => [
      this.#keys.fence(entity, id),
      ...versions.map((version) => this.#keys.value(entity, version, id)),
    ])
    const message = JSON.stringify({
      i: write.incarnation,
      x: write.xid,
      k: drops.map(({ entity, id }) => [entity, id]),
    })
    const answers = (await this.#run('invalidate', keys, [
      Buffer.from(write.incarnation, 'hex'),
      String(write.xid),
      this.#retentionMs,
      this.#keys.bus,
      message,
      ...drops.flatMap((drop) => [
        String(drop.versions.length),
        this.#newNonce(),
        ...(drop.through
          ? [
              String(drop.versions.indexOf(drop.through.version) + 1),
              ...this.#fillArgs(drop.through),
            ]
          : ['0', '', '', '0']),
      ]),
    ])) as (readonly Buffer[])[]
    return answers.map((answer) => String(answer[0]) as Nonce)
  }

  #run(
    name: ScriptName,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
  ): Promise<unknown> {
    return this.#hop.run(() => runScript(this.#redis, this.#scripts[name], keys, args))
  }

  #pairs(entity: AnyEntity, ids: readonly string[]): string[] {
    return ids.flatMap((id) => [this.#keys.fence(entity.name, id), this.#valueKey(entity, id)])
  }

  #fillArgs(fill: Fill): readonly (string | Buffer)[] {
    const createdAtMs = this.#redisClock.nowMs() - fill.ageMs
    const bytes = encodeEnvelope({
      snapshot: fill.snapshot,
      createdAtMs,
      softExpiryMs: createdAtMs + fill.ttlMs,
      payload: fill.payload,
    })
    return [fill.lease.nonce, bytes, String(Math.max(1, Math.ceil(fill.ttlMs + fill.graceMs)))]
  }

  #valueKey(entity: AnyEntity, id: string): string {
    return this.#keys.value(entity.name, entity.version, id)
  }

  #newNonce(): string {
    return `${this.#owner}${(this.#nonces++).toString(36)}`
  }
}

function lookupOf(bytes: Buffer | null, nowMs: number, graceMs: number): Lookup {
  const envelope = bytes ? decodeEnvelope(bytes) : undefined
  if (!envelope) return { kind: 'miss', isCorrupt: bytes !== null }
  const stored = storedOf(envelope, nowMs)
  if (stored.freshForMs > 0) return { kind: 'fresh', stored }
  return stored.freshForMs + graceMs > 0
    ? { kind: 'stale', stored }
    : { kind: 'miss', isCorrupt: false }
}

function storedOf(envelope: Envelope, nowMs: number): Stored {
  return {
    snapshot: envelope.snapshot,
    payload: envelope.payload,
    freshForMs: envelope.softExpiryMs - nowMs,
    ageMs: Math.max(0, nowMs - envelope.createdAtMs),
  }
}

function grantOf(id: string, answer: readonly Buffer[], nowMs: number): Grant {
  const [kind, second, ...fields] = answer
  switch (String(kind)) {
    case 'value': {
      const envelope = decodeEnvelope(second as Buffer)
      // Corrupt below its header: as good as nothing, and too rare to be worth a second call.
      if (!envelope) return { kind: 'unavailable', cause: new Error('corrupt envelope') }
      return { kind: 'value', stored: storedOf(envelope, nowMs) }
    }
    case 'lease':
      return {
        kind: 'lease',
        id,
        nonce: String(second) as Nonce,
        tombstones: fields.map(tombstoneOf),
      }
    case 'wait':
      return {
        kind: 'wait',
        pollAfterMs: Number(String(second)),
        tombstones: fields.map(tombstoneOf),
      }
    default:
      throw new Error(`acquire.lua answered ${String(kind)}`)
  }
}

function tombstoneOf(field: Buffer): Tombstone {
  return {
    merged: field[0] === 'm'.charCodeAt(0),
    incarnation: field.toString('hex', 1, 9) as Incarnation,
    xid: parseXid(field.toString('latin1', 9)),
  }
}

async function inChunks<T, R>(
  items: readonly T[],
  call: (some: readonly T[]) => Promise<readonly R[]>,
): Promise<readonly R[]> {
  if (items.length <= idsPerCall) return items.length === 0 ? [] : call(items)
  const results: R[] = []
  for (let start = 0; start < items.length; start += idsPerCall) {
    results.push(...(await call(items.slice(start, start + idsPerCall))))
  }
  return results
}
