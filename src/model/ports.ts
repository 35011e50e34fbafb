/**
 * What the coordinator needs of the places, in the words of DESIGN §2. A place that cannot answer
 * says `unavailable` where the story goes on without it, and throws where it can't.
 */
import type { DeadLetter } from './dead-letter.ts'
import type { AnyEntity } from './entity.ts'
import type { Published } from './event.ts'
import type { Refusal } from './filter-ports.ts'
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
  /** Whether it was let in. */
  fillFromSource(key: L1Key, candidate: Candidate): boolean
  /** Whether it was let in; `barrier`: what lay beside it in L2. */
  fillFromL2(key: L1Key, candidate: Candidate, barrier: Snapshot | undefined): boolean
  /** Does what was read under this snapshot miss a write of the id that this process was told of? */
  isOutdated(key: L1Key, snapshot: Snapshot): boolean
  /**
   * Would what is read under this snapshot be outdated? Then what it returns wants a snapshot that was
   * taken since: a write that this doesn't see either has not committed, and outdates nothing until it
   * is told of again.
   */
  doubt(key: L1Key, snapshot: Snapshot): ((fresh: Snapshot) => void) | undefined
  /**
   * Acts on a write: drops the value if it doesn't see it, and remembers the xid for fills until
   * the floor sees it.
   */
  told(key: L1Key, write: WriteId): void
  /** Drops what is older than the snapshot: a newer value is known, and has no place here. */
  dropOlder(key: L1Key, than: Snapshot): void
  /** Trust moved: values need to cover `floor` from now on, and what it sees is forgotten. */
  settle(floor: Snapshot): void
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

/** An invalidation that came in over the fast plane. */
export interface Told {
  readonly write: WriteId
  readonly keys: readonly { readonly entity: string; readonly id: string }[]
}

/** An id that is read often in one instance. */
export interface HotKey {
  readonly entity: string
  /** As text. */
  readonly id: string
  readonly readsPerSecond: number
  /** Of these, which part L1 answered there: 0 to 1. */
  readonly l1Share: number
}

/** All that are read often in one instance; it stands for the list that came before. */
export interface HotList {
  readonly instance: string
  readonly keys: readonly HotKey[]
}

/** Makes invalidations faster, and hot keys known; nothing relies on it. */
export interface FastPlane {
  listen(told: (message: Told) => void): void
  /** Lists of all instances, the own ones too. */
  listenHot(heard: (list: HotList) => void): void
  /** Tells all instances; rejects when that can't be done in time. */
  announce(list: HotList, signal: AbortSignal): Promise<void>
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
  /** What a failure of the callback is told as, where it may be that of a connection that broke. */
  failureOf?(error: unknown): unknown
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
}

/** A snapshot of the primary that was asked for, with what came along. */
export interface Probe {
  readonly snapshot: Snapshot
  /** Nobody relays now. */
  readonly isRelayDue: boolean
  /** Somebody waits until all instances have acted on a write. */
  readonly isAwaited: boolean
}

export interface Poll extends Probe {
  /** Rows that `since` didn't see; without it, none. */
  readonly rows: readonly OutboxRow[]
  /** There were more of them, or more ids of theirs, than a poll returns. */
  readonly missed: boolean
  /** Some of them have no writer that tells of them: SQL of others, and triggers. */
  readonly isForeign: boolean
  /** What this snapshot sees may have been removed already. */
  readonly pruned: Snapshot
}

/** Who is told of each row, besides those who tail the outbox. */
export type Destination = 'l2' | 'log'

/** Rows of one incarnation, and the schema versions that are live in L2. */
export interface Claim {
  readonly incarnation: Incarnation
  readonly rows: readonly OutboxRow[]
  readonly versions: LiveVersions
}

/** What one destination has not been told of: nothing, where the namespace doesn't have it. */
export interface Owed {
  /** Counted up to `mostOwedCounted`. */
  readonly rows: number
  /** By the database's clock; 0 without any. */
  readonly oldestMs: number
  /** It has been told of every write that `asked` sees; not known while there are more rows than are counted. */
  readonly isTold: boolean
}

/** For each destination a snapshot of before that it may have been told of by now. */
export type Asked = Readonly<Partial<Record<Destination, Snapshot>>>

export interface Progress {
  readonly snapshot: Snapshot
  readonly owed: Readonly<Record<Destination, Owed>>
  /** L2 has been told once more of what this sees. */
  readonly repeated: Snapshot
}

/** Some rows, in the order of their xids. */
export interface RowPage extends Claim {
  /** After what the next page begins; `undefined`: this was the last. */
  readonly next: string | undefined
  readonly snapshot: Snapshot
  readonly pruned: Snapshot
}

export interface Outbox {
  /** One statement on a connection of its own: the rows and the snapshot belong together. */
  poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll>
  /** The same without rows. */
  probe(signal: AbortSignal): Promise<Probe>
  /** Calls `wake` when somebody has said that there are rows; may be lost. */
  listen(wake: () => void): void
  /** Wakes everybody who listens. */
  notify(signal: AbortSignal): Promise<void>
  /**
   * Claims rows that the destination has not been told of, those that their writer tells of only
   * when they are older than `minAgeMs`, and marks those that `tell` returns. In the order in which
   * they were written; where one claim can't have all, the next goes on after the last that was
   * told, or if none was, after the last of all, and begins again at the end: rows that can't be
   * told of hold up no others. The number of rows that were marked.
   */
  claim(
    destination: Destination,
    minAgeMs: number,
    tell: (claim: Claim) => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<number>
  /** These destinations have been told of the rows. */
  mark(rowIds: readonly string[], told: readonly Destination[], signal: AbortSignal): Promise<void>
  /** Removes rows that everybody was told of and that were visible in a snapshot one retention old; the number of rows. */
  prune(retentionMs: number, signal: AbortSignal): Promise<number>

  /** Whether this instance relays from now on, until it resigns or is cut off: nobody else does. */
  lead(instance: string, signal: AbortSignal): Promise<boolean>
  resign(instance: string): void
  /** How far the destinations are, in one statement with the snapshot. Rejects where it doesn't lead. */
  progress(asked: Asked, signal: AbortSignal): Promise<Progress>
  /**
   * Rows that `until` sees and `since` doesn't, told or not; `until` is of now without it. `after`:
   * what the page before had as `next`, and with the same `since` and `until`.
   */
  page(
    since: Snapshot | undefined,
    until: Snapshot | undefined,
    after: string | undefined,
    signal: AbortSignal,
  ): Promise<RowPage>
  /** L2 has been told once more of what this snapshot sees. */
  repeated(upTo: Snapshot, signal: AbortSignal): Promise<void>
}

/** Who runs in the namespace, and what they have acted on. */
export interface Instances {
  /** This one runs; said again every while, or it is forgotten. */
  join(instance: string, signal: AbortSignal): Promise<void>
  leave(instance: string, signal: AbortSignal): Promise<void>
  /** Wakes all instances, and asks them to acknowledge what they have acted on, for the next seconds. */
  askAll(signal: AbortSignal): Promise<void>
  /** This one has acted on all that the snapshot sees. */
  acknowledge(instance: string, snapshot: Snapshot, signal: AbortSignal): Promise<void>
  /** Has every one acknowledged a snapshot that sees the write? */
  isEverywhere(write: WriteId, signal: AbortSignal): Promise<boolean>
}

// ---------------------------------------------------------------- the log

/** A write of one entity, as the log has it. */
export interface LoggedWrite extends EntityIds {
  readonly write: WriteId
}

export type LogRecord =
  | ({ readonly kind: 'write' } & LoggedWrite)
  /** Every write that `snapshot` sees lies before it, in each of `partitions` partitions. */
  | { readonly kind: 'barrier'; readonly snapshot: Snapshot; readonly partitions: number }
  /** Damaged, or of a version to come: it may have been either. */
  | { readonly kind: 'unreadable' }

export interface LogListener {
  /**
   * From here on every record of each partition is heard, in the order of its partition; what lay
   * there before is not. Again after each `lost`.
   */
  positioned(partitions: number): void
  heard(partition: number, record: LogRecord): void
  /** Records may have been missed; nothing is heard until the next `positioned`. */
  lost(reason: 'gap' | 'rebalance' | 'disconnected', error?: unknown): void
}

/** The durable plane with Kafka: an append-only log in partitions, read whole by every instance. */
export interface Log {
  /** Resolves when the log has answered, or with its deadline: it is read as soon as it can be. */
  listen(listener: LogListener): Promise<void>
  /** Resolves when all of them lie in the log for good; rejects when any may not. */
  publish(writes: readonly LoggedWrite[], signal: AbortSignal): Promise<void>
  /** Appends a barrier to every partition; resolves when all of them have it. */
  barrier(snapshot: Snapshot, signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

// ---------------------------------------------------------------- foreign producers

/** Where those publish who can't write SQL. */
export interface EventSource {
  /**
   * Hands on what is published, each at least once and to one instance of the namespace: it counts as
   * applied when `apply` resolves, and the next of its partition comes only then. Goes on until it is
   * closed, whatever fails.
   */
  listen(apply: (events: readonly Published[], signal: AbortSignal) => Promise<void>): void
  /** Resolves when all of them lie with the dead letters for good. */
  bury(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

export type Recording =
  /** For good, but for those entities that the namespace has never had. */
  | { readonly kind: 'recorded'; readonly unknown: ReadonlySet<string> }
  /** The database takes no such text; nothing was recorded. */
  | { readonly kind: 'refused'; readonly why: string }

/** Writes of others, as rows of the outbox with an xid of their own. */
export interface Invalidations {
  /** All in one transaction. Rejects when it may not have committed. */
  record(keys: readonly EntityIds[], signal: AbortSignal): Promise<Recording>
}
