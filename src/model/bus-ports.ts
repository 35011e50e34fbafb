/** The ways by which instances hear of writes: the fast plane, the log, and what foreign producers publish. */
import type { DeadLetter } from './dead-letter.ts'
import type { Published } from './event.ts'
import type { Snapshot, WriteId } from './snapshot.ts'
import type { EntityIds } from './source-port.ts'

// ---------------------------------------------------------------- the fast plane

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
