/** What the coordinator needs of the source: it throws what it can't answer. */
import type { AnyEntity } from './entity.ts'
import type { Snapshot, WriteId } from './snapshot.ts'

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
