/**
 * What the coordinator needs of the places, in the words of DESIGN §2. A place that cannot answer
 * says `unavailable` where the story goes on without it, and throws where it can't.
 */
import type { AnyEntity } from './entity.ts'
import type { L1Key } from './id.ts'
import type { Incarnation, Snapshot, WriteId, Xid } from './snapshot.ts'

// ---------------------------------------------------------------- L1

/** A value as this process has it, with what proves it. */
export interface Candidate {
  /** `undefined`: the id does not exist. */
  readonly value: unknown
  /** Callers may share `value` (it is frozen, or nobody asked for that); else each gets a copy. */
  readonly isShared: boolean
  readonly snapshot: Snapshot
  /** On the monotonic clock: when it was loaded, and its soft expiry. */
  readonly loadedAtMs: number
  readonly freshUntilMs: number
  readonly weightBytes: number
}

declare const slotBrand: unique symbol
/**
 * Where a value lies in its region: until the next call that fills, tells or resets, and so never
 * over an `await`. Afterwards another value may lie there.
 */
export type Slot = number & { readonly [slotBrand]: 'Slot' }

/** One entity's part of L1. A hit reads what it needs of its slot, and allocates nothing. */
export interface Region {
  find(key: L1Key): Slot | undefined
  /** Somebody was given the value. */
  hit(slot: Slot): void
  valueAt(slot: Slot): unknown
  /** The value already resolved: the same promise for as long as the value lies there. */
  promiseAt(slot: Slot): Promise<unknown>
  isShared(slot: Slot): boolean
  freshUntilMs(slot: Slot): number
  /** All of it, to be kept. */
  candidateAt(slot: Slot): Candidate
  /** Changes whenever xids are forgotten; a value read from L2 enters only under the mark it was read under. */
  readonly mark: number
  /** Whether it was let in. */
  fillFromSource(key: L1Key, candidate: Candidate): boolean
  /** Whether it was let in; `mark` as it was before the value was read. */
  fillFromL2(key: L1Key, candidate: Candidate, mark: number): boolean
  /**
   * Acts on a write: drops the value if it doesn't see it, and remembers the xid for fills until
   * the floor sees it; `unapplied`: and until `settle` says that L2 has been told of it too.
   */
  told(key: L1Key, write: WriteId, unapplied: boolean): void
  /**
   * Trust moved: values need to cover `floor` from now on, and what it sees is forgotten, but for
   * the writes that L2 has not been told of (`undefined`: too many to know; nothing enters from L2).
   */
  settle(floor: Snapshot, unapplied: ReadonlySet<Xid> | undefined): void
  /** Trust is gone: nothing is kept, nothing enters until the next `settle`. */
  reset(): void
  readonly count: number
  readonly weightBytes: number
  /** Since the start: values that were let in, refused, dropped by an invalidation, evicted for room. */
  readonly fills: number
  readonly refusedFills: number
  readonly drops: number
  readonly evictions: number
}

// ---------------------------------------------------------------- L2

/** A value as L2 keeps it. */
export interface Stored {
  readonly snapshot: Snapshot
  /** `undefined`: the id does not exist. */
  readonly payload: Buffer | undefined
  /** By Redis' clock; below 0 it is past its soft expiry. */
  readonly freshForMs: number
  readonly ageMs: number
}

/** What L2 knows about one id. */
export type Lookup =
  | { readonly kind: 'fresh' | 'stale'; readonly stored: Stored }
  /** `isCorrupt`: something lies there that is no value. */
  | { readonly kind: 'miss'; readonly isCorrupt: boolean }
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

/** L2's answer to an invalidation: the nonces by the order of the drops, or why it could not be told. */
export type Dropped =
  | { readonly kind: 'dropped'; readonly nonces: readonly Nonce[] }
  | { readonly kind: 'unavailable'; readonly cause: unknown }

export interface L2 {
  lookup(entity: AnyEntity, ids: readonly string[]): Promise<readonly Lookup[]>
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
  invalidate(write: WriteId, drops: readonly Drop[]): Promise<Dropped>
}

/** An invalidation that came in over the fast plane. */
export interface Told {
  readonly write: WriteId
  readonly keys: readonly { readonly entity: string; readonly id: string }[]
}

/** Makes invalidations faster; nothing relies on it. */
export interface FastPlane {
  listen(told: (message: Told) => void): void
}

// ---------------------------------------------------------------- the source

export interface Loaded {
  readonly rows: readonly unknown[]
  /** Where the load ran in a transaction: its own snapshot. Else the load began after whatever snapshot the reader has. */
  readonly snapshot: Snapshot | undefined
}

/** Copies of the source that may lag behind it. */
export interface Replicas {
  /** May one of them be asked now? */
  readonly isReady: boolean
  /**
   * The rows as they are where everything is seen that `least`, a snapshot of the primary, sees;
   * `undefined`: none was found that does, and the loader has not been called. Whatever it rejects
   * with, the primary may do better.
   */
  load(
    entity: AnyEntity,
    ids: readonly unknown[],
    least: Snapshot,
    signal: AbortSignal,
  ): Promise<readonly unknown[] | undefined>
}

export interface Source<Tx> {
  /** Where loads may go instead. */
  readonly replicas?: Replicas | undefined
  load(entity: AnyEntity, ids: readonly unknown[], signal: AbortSignal): Promise<Loaded>
  begin(signal: AbortSignal): Promise<Transaction<Tx>>
  /** A transaction of the caller's: its `commit` waits for the caller to end it. */
  join(tx: Tx): Transaction<Tx>
  /** May the same work succeed when it is done again? */
  isRetryable(error: unknown): boolean
}

/** One of the rows that a write leaves behind in its own transaction. */
export interface EntityIds {
  readonly entity: string
  readonly ids: readonly string[]
}

export interface Recorded {
  readonly write: WriteId
  readonly rowIds: readonly string[]
  readonly versions: LiveVersions
}

/** Schema versions whose values may lie in L2, by entity. */
export type LiveVersions = ReadonlyMap<string, readonly number[]>

export type CommitOutcome =
  /** `versions`: as of after the COMMIT, so that one that is registered later loads what was written. */
  | { readonly kind: 'committed'; readonly versions: LiveVersions }
  | { readonly kind: 'aborted' }
  /** The connection broke, and nobody could say in time what had happened. */
  | { readonly kind: 'unknown' }

export interface Transaction<Tx> {
  /** What the caller's callback gets. */
  readonly handle: Tx
  /** Writes the outbox rows; the transaction has its xid from here. */
  record(keys: readonly EntityIds[]): Promise<Recorded>
  /** Throws what the database refused the COMMIT for. */
  commit(): Promise<CommitOutcome>
  rollback(): Promise<void>
}

// ---------------------------------------------------------------- the outbox

export interface OutboxRow {
  readonly rowId: string
  readonly xid: Xid
  readonly entity: string
  readonly ids: readonly string[]
  /** Has L2 been told? */
  readonly applied: boolean
}

export interface Poll {
  readonly snapshot: Snapshot
  /** Rows that `since` didn't see, and those that L2 has not been told of. */
  readonly rows: readonly OutboxRow[]
  /** There were more new rows, or more ids of theirs, than a poll returns. */
  readonly missedNew: boolean
  /** There were more rows that L2 has not been told of, or more ids of theirs, than a poll returns. */
  readonly missedUnapplied: boolean
  /** What this snapshot sees may have been removed already. */
  readonly pruned: Snapshot
}

/** Rows that one instance has claimed, to tell L2 of them. */
export interface Claim {
  readonly incarnation: Incarnation
  readonly rows: readonly OutboxRow[]
  readonly versions: ReadonlyMap<string, readonly number[]>
}

export interface Outbox {
  /** One statement on a connection of its own: the rows and the snapshot belong together. */
  poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll>
  /**
   * Claims unapplied rows, those that their writer tells of only when they are older than
   * `minAgeMs`, and marks those that `apply` returns. In the order in which they were written; where
   * one claim can't have all, the next goes on after the last that was applied, or if none was,
   * after the last of all, and begins again at the end: rows that can't be applied hold up no others.
   */
  claim(
    minAgeMs: number,
    apply: (claim: Claim) => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<number>
  mark(rowIds: readonly string[], signal: AbortSignal): Promise<void>
  /** Removes applied rows that were visible in a snapshot one retention old; the number of rows. */
  prune(retentionMs: number, signal: AbortSignal): Promise<number>
}
