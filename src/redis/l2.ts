/**
 * L2: values, fences and leases in Redis. Each act is one Lua call (`scripts/*.lua`), on a cluster one
 * per slot, in one pipeline per node; a call that writes names every key that it touches
 * (docs/decisions/0006). What Redis can't answer in time is `unavailable`, never an exception.
 */
import { randomBytes } from 'node:crypto'
import type { Seed } from '../model/bloom.ts'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import { encodeEnvelope } from '../model/envelope.ts'
import type {
  BarrierAnswer,
  Drop,
  Dropped,
  Fill,
  FillAnswer,
  Grant,
  L2,
  Lease,
  Lookup,
  NodeChange,
  Nonce,
  Renewal,
} from '../model/l2-port.ts'
import type { Incarnation, Snapshot, WriteId } from '../model/snapshot.ts'
import { grantOf } from './answers.ts'
import { RedisBarriers } from './barriers.ts'
import type { Call, RedisClient } from './call.ts'
import type { RedisClock } from './clock.ts'
import type { FillWaits } from './fast-plane.ts'
import { RedisFilterAdds } from './filter-adds.ts'
import type { KeySpace } from './keys.ts'
import { RedisLookups } from './lookups.ts'
import type { RedisNodes } from './nodes.ts'
import { type Act, onEach } from './on-each.ts'
import { readScripts } from './scripts.ts'

export interface RedisL2Options {
  readonly redis: RedisClient
  readonly nodes: RedisNodes
  readonly keys: KeySpace
  readonly clock: Clock
  readonly waits: FillWaits
  readonly tombstoneRetentionMs: number
  /** What the ids of filters are hashed with. */
  readonly seedOf: (entity: string) => Seed
}

export class RedisL2 implements L2 {
  readonly #redis: RedisClient
  readonly #nodes: RedisNodes
  readonly #keys: KeySpace
  readonly #clock: Clock
  readonly #waits: FillWaits
  readonly #adds: RedisFilterAdds
  readonly #retentionMs: string
  readonly #scripts = readScripts()
  readonly #barriers: RedisBarriers
  readonly #lookups: RedisLookups
  /** This process, as owner of leases (12 bytes) and in the nonces that it proposes (20). */
  readonly #owner = randomBytes(9).toString('base64url')
  #nonces = 0

  constructor(options: RedisL2Options) {
    this.#redis = options.redis
    this.#nodes = options.nodes
    this.#keys = options.keys
    this.#clock = options.clock
    this.#barriers = new RedisBarriers(options.redis, options.nodes, options.keys)
    this.#lookups = new RedisLookups(options)
    this.#waits = options.waits
    this.#adds = new RedisFilterAdds(options)
    this.#retentionMs = String(options.tombstoneRetentionMs)
  }

  lookup(
    entity: AnyEntity,
    ids: readonly string[],
    asked?: readonly boolean[],
  ): Promise<readonly Lookup[]> {
    const keys = ids.map((id) => this.#valueKey(entity, id))
    if (!asked?.includes(true)) return this.#lookups.lookup(keys, entity.graceMs)
    return this.#lookups.ask(keys, entity.graceMs, { entity: entity.name, ids, asked })
  }

  acquire(
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
    return this.#each<string, Grant>(ids, {
      keyOf: (id) => this.#valueKey(entity, id),
      call: (some, node) => {
        const keys = this.#pairs(entity, some)
        const isOne = this.#nodes.only !== undefined
        if (isOne) keys.push(this.#keys.barrier(''))
        const barrier = isOne ? '' : this.#lookups.barrierAt(node)
        const nonces = some.map(() => this.#newNonce())
        return { script: this.#scripts.acquire, keys, args: [...head, barrier, ...nonces] }
      },
      read: (answer, some, { clock, besides }, sentAtMs) => {
        const answers = answer as (readonly Buffer[])[]
        clock.sample(Number(String(answers.at(-1))), sentAtMs)
        const nowMs = clock.nowMs()
        return some.map((id, index) => {
          const grant = grantOf(id, answers[index] as readonly Buffer[], besides, nowMs)
          if (grant.kind === 'wait') this.#waits.asked(this.#valueKey(entity, id), sentAtMs)
          return grant
        })
      },
      unavailable: (cause) => ({ kind: 'unavailable', cause }),
    })
  }

  fill(entity: AnyEntity, fills: readonly Fill[]): Promise<readonly FillAnswer[]> {
    return this.#each<Fill, FillAnswer>(fills, {
      keyOf: (fill) => this.#valueKey(entity, fill.lease.id),
      call: (some, { clock }) => ({
        script: this.#scripts.fill,
        keys: this.#pairs(
          entity,
          some.map((fill) => fill.lease.id),
        ),
        args: [
          `${this.#owner}${this.#retentionMs} ${this.#keys.bus}`,
          ...some.flatMap((fill) => {
            const [nonce, ...rest] = fillArgs(fill, clock)
            return [claimOf(nonce, fill.over), ...rest]
          }),
        ],
      }),
      read: (answers) => (answers as readonly Buffer[]).map(String) as FillAnswer[],
      unavailable: () => 'unavailable',
    })
  }

  renew(entity: AnyEntity, leases: readonly Lease[], leaseMs: number): Promise<readonly Renewal[]> {
    return this.#each<Lease, Renewal>(leases, {
      keyOf: (lease) => this.#keys.fence(entity.name, lease.id),
      call: (some) => ({
        script: this.#scripts.renew,
        keys: some.map((lease) => this.#keys.fence(entity.name, lease.id)),
        args: [this.#owner, String(Math.ceil(leaseMs)), ...some.map(({ nonce }) => nonce)],
      }),
      read: (answers) => (answers as readonly Buffer[]).map(String) as Renewal[],
      unavailable: () => 'unavailable',
    })
  }

  /** What can't be given back lapses by itself. */
  async release(entity: AnyEntity, leases: readonly Lease[]): Promise<void> {
    await this.#each<Lease, void>(leases, {
      keyOf: (lease) => this.#valueKey(entity, lease.id),
      call: (some) => ({
        script: this.#scripts.release,
        keys: this.#pairs(
          entity,
          some.map((lease) => lease.id),
        ),
        args: [this.#owner, this.#keys.bus],
      }),
      read: () => [],
      unavailable: () => {},
    })
  }

  filled(entity: AnyEntity, id: string, pollAfterMs: number, signal: AbortSignal): Promise<void> {
    return this.#waits.wait(this.#valueKey(entity, id), pollAfterMs, signal)
  }

  async invalidate(
    write: WriteId,
    drops: readonly Drop[],
    { quiet = false }: { readonly quiet?: boolean } = {},
  ): Promise<Dropped> {
    let lost: { readonly cause: unknown } | undefined
    let values = 0
    const noteLost = (cause: unknown): void => {
      lost ??= { cause }
    }
    const added = this.#adds.apart(drops, noteLost)
    const nonces = await this.#each<Drop, Nonce>(drops, {
      keyOf: ({ entity, id }) => this.#keys.fence(entity, id),
      call: (some, { clock }) =>
        this.#invalidateCall(write, some, clock, quiet ? '' : messageOf(write, some)),
      read: (answers) =>
        (answers as [Buffer, Buffer, number][]).map(([nonce, _filled, dropped]) => {
          values += dropped
          return String(nonce) as Nonce
        }),
      unavailable: (cause) => {
        noteLost(cause)
        return '' as Nonce
      },
    })
    await added
    return lost ? { kind: 'unavailable', ...lost } : { kind: 'dropped', nonces, values }
  }

  #invalidateCall(
    write: WriteId,
    drops: readonly Drop[],
    clock: RedisClock,
    message: string,
  ): Call {
    const filters = this.#adds.inCall(drops)
    const keys = drops.flatMap(({ entity, id, versions }) => [
      this.#keys.fence(entity, id),
      ...versions.map((version) => this.#keys.value(entity, version, id)),
    ])
    const args = [
      Buffer.from(write.incarnation, 'hex'),
      String(write.xid),
      this.#retentionMs,
      this.#keys.bus,
      message,
      String(filters.args.length),
      ...drops.flatMap(({ versions, through }) => [
        String(versions.length),
        this.#newNonce(),
        ...(through
          ? [String(versions.indexOf(through.version) + 1), ...fillArgs(through, clock)]
          : ['0', '', '', '0']),
      ]),
      ...filters.args,
    ]
    return { script: this.#scripts.invalidate, keys: [...keys, ...filters.keys], args }
  }

  barrier(snapshot: Snapshot): Promise<readonly BarrierAnswer[]> {
    return this.#barriers.barrier(snapshot)
  }

  restore(
    change: NodeChange,
    snapshot: Snapshot,
    generation: Snapshot | undefined,
  ): Promise<BarrierAnswer> {
    return this.#barriers.restore(change, snapshot, generation)
  }

  #each<T, R>(items: readonly T[], act: Act<T, R>): Promise<readonly R[]> {
    return onEach(this.#redis, this.#nodes, this.#clock, items, act)
  }

  #pairs(entity: AnyEntity, ids: readonly string[]): string[] {
    return ids.flatMap((id) => [this.#keys.fence(entity.name, id), this.#valueKey(entity, id)])
  }

  #valueKey(entity: AnyEntity, id: string): string {
    return this.#keys.value(entity.name, entity.version, id)
  }

  #newNonce(): string {
    return `${this.#owner}${(this.#nonces++).toString(36).padStart(8, '0')}`
  }
}

/** As the fast plane tells it. */
function messageOf({ incarnation, xid }: WriteId, drops: readonly Drop[]): string {
  return JSON.stringify({ i: incarnation, x: xid, k: drops.map(({ entity, id }) => [entity, id]) })
}

/** A nonce, and the incarnations whose tombstones are over. */
function claimOf(nonce: Nonce, over: readonly Incarnation[]): string | Buffer {
  if (over.length === 0) return nonce
  return Buffer.concat([Buffer.from(nonce), Buffer.from(over.join(''), 'hex')])
}

function fillArgs(fill: Fill, clock: RedisClock): readonly [Nonce, Buffer, string] {
  const createdAtMs = clock.nowMs() - fill.ageMs
  const bytes = encodeEnvelope({
    snapshot: fill.snapshot,
    createdAtMs,
    softExpiryMs: createdAtMs + fill.ttlMs,
    payload: fill.payload,
    form: fill.form,
  })
  return [fill.lease.nonce, bytes, String(Math.max(1, Math.ceil(fill.ttlMs + fill.graceMs)))]
}
