/**
 * What the coordinator needs of L2, in the words of DESIGN §2. What can't be had says `unavailable`: the
 * story goes on without it.
 */
import type { AnyEntity } from './entity.ts'
import type { Refusal } from './filter-ports.ts'
import type { Incarnation, Snapshot, WriteId } from './snapshot.ts'

/**
 * How a value lies in L2, where it isn't as the codec wrote it. `too-big`: it doesn't, which is known
 * under its snapshot and obeys the fence as a value does; whoever reads that loads the value, apart from L2.
 */
export type Form = 'compressed' | 'too-big'

/** A value as L2 keeps it. */
export interface Stored {
  readonly snapshot: Snapshot
  /** `undefined`: the id does not exist, or what its `form` says. */
  readonly payload: Buffer | undefined
  readonly form?: Form | undefined
  /** By Redis' clock; below 0 it is past its soft expiry. */
  readonly freshForMs: number
  readonly ageMs: number
  /**
   * The barrier that lay beside it, read with it at one instant: L2 had been told of every write
   * that this snapshot sees. `undefined`: nothing is known.
   */
  readonly barrier: Snapshot | undefined
}

/** What L2 knows about one id. */
export type Lookup =
  | { readonly kind: 'fresh' | 'stale'; readonly stored: Stored }
  /** `corrupt`: what lies there is no value; `outlived`: it is one of a former generation. */
  | { readonly kind: 'miss'; readonly why: 'absent' | 'corrupt' | 'outlived' }
  /** Nothing lies there, and the newest filter doesn't have the id. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'unavailable'; readonly cause: unknown }

declare const nonceBrand: unique symbol
export type Nonce = string & { readonly [nonceBrand]: 'Nonce' }

/** An invalidation that L2 remembers; `merged` stands for all xids up to it. */
export interface Tombstone extends WriteId {
  readonly merged: boolean
}

/** The right to fill one id, while its nonce holds; it is exclusive until the lease lapses. */
export interface Lease {
  readonly id: string
  readonly nonce: Nonce
  readonly tombstones: readonly Tombstone[]
}

/** L2's answer to a reader that missed. */
export type Grant =
  | { readonly kind: 'value'; readonly stored: Stored }
  | ({ readonly kind: 'lease' } & Lease)
  | {
      readonly kind: 'wait'
      readonly pollAfterMs: number
      readonly tombstones: readonly Tombstone[]
    }
  | { readonly kind: 'unavailable'; readonly cause: unknown }

export interface Fill {
  readonly lease: Lease
  readonly snapshot: Snapshot
  readonly payload: Buffer | undefined
  readonly form?: Form | undefined
  /** How long ago the load began: the value's life is counted from there. */
  readonly ageMs: number
  readonly ttlMs: number
  readonly graceMs: number
  /** Incarnations of tombstones that a snapshot taken after `acquire` has shown to be over. */
  readonly over: readonly Incarnation[]
}

export type FillAnswer = 'filled' | 'nonce-changed' | 'tombstone' | 'not-covered' | 'unavailable'

/** `lost`: to somebody else, by a fill, or with the fence. */
export type Renewal = 'held' | 'lost' | 'unavailable'

/** One id to drop: in all schema versions that may lie in L2. */
export interface Drop {
  readonly entity: string
  readonly id: string
  readonly versions: readonly number[]
  /** Write-through: filled in the same call, after the drop. */
  readonly through?: Fill & { readonly version: number }
}

/** L2's answer to an invalidation, or why it could not be told. */
export type Dropped =
  /** `nonces`: by the order of the drops; `values`: how many lay there and are gone. */
  | { readonly kind: 'dropped'; readonly nonces: readonly Nonce[]; readonly values: number }
  | { readonly kind: 'unavailable'; readonly cause: unknown }

export interface L2 extends L2Barriers {
  /** `asked`: the ids, by their places, that the newest filter is to be asked of where no value lies. */
  lookup(
    entity: AnyEntity,
    ids: readonly string[],
    asked?: readonly boolean[],
  ): Promise<readonly Lookup[]>
  /** `insist`: ids whose present value won't do, so that a lease is wanted all the same. */
  acquire(
    entity: AnyEntity,
    ids: readonly string[],
    options: {
      readonly incarnation: Incarnation
      readonly leaseMs: number
      readonly insist: boolean
    },
  ): Promise<readonly Grant[]>
  fill(entity: AnyEntity, fills: readonly Fill[]): Promise<readonly FillAnswer[]>
  /** Puts the end of leases off, to `leaseMs` from now. */
  renew(entity: AnyEntity, leases: readonly Lease[], leaseMs: number): Promise<readonly Renewal[]>
  /** Gives leases back that won't be filled, and wakes who waits for them. */
  release(entity: AnyEntity, leases: readonly Lease[]): Promise<void>
  /** Resolves when the id was filled or released, or after `pollAfterMs`. */
  filled(entity: AnyEntity, id: string, pollAfterMs: number, signal: AbortSignal): Promise<void>
  /**
   * Also adds the ids to the filters of their entities, if there are any. `quiet`: nobody is told over
   * the fast plane, since everybody has heard of it before.
   */
  invalidate(
    write: WriteId,
    drops: readonly Drop[],
    options?: { readonly quiet?: boolean },
  ): Promise<Dropped>
}

/** One node of L2 that may have forgotten what it was told since `found` (`undefined`: since ever). */
export interface NodeChange {
  readonly node: string
  /** Of the server that answers there now: another one, or another life of it, has another. */
  readonly identity: string
  readonly found: Snapshot | undefined
}

/** What came of a barrier at one node of L2. */
export type BarrierAnswer =
  | { readonly kind: 'written' }
  /** Not the server that the last barrier was written to: nothing in it is proven until it is restored. */
  | { readonly kind: 'changed'; readonly change: NodeChange }
  | { readonly kind: 'unavailable'; readonly cause: unknown }

/** Barriers beside the values: what L2 is trusted by. */
export interface L2Barriers {
  /** Says in every node that L2 has been told of all that `snapshot` sees. */
  barrier(snapshot: Snapshot): Promise<readonly BarrierAnswer[]>
  /**
   * The node has been told again of what it may have forgotten, and `snapshot` may be its barrier.
   * `generation`: values there that don't cover it are misses from now on, because what the node
   * may have forgotten is not known any more; `undefined`: those of before remain.
   */
  restore(
    change: NodeChange,
    snapshot: Snapshot,
    generation: Snapshot | undefined,
  ): Promise<BarrierAnswer>
}
