/** The outbox, and who runs in its namespace: the source's memory of what has to be told. */
import type { Incarnation, Snapshot, WriteId, Xid } from './snapshot.ts'
import type { LiveVersions } from './source-port.ts'

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
