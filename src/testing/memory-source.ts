/** The source over a database in memory. */
import { wrong } from '../model/entity.ts'
import type { CommitOutcome, Recorded, Source, Transaction } from '../model/source-port.ts'
import { deferred } from '../resilience/deadline.ts'
import type { MemoryDatabase } from './memory-database.ts'

/** What a loader gets, and (as `MemoryTx`) a write's callback. */
export interface MemoryDb {
  /** The rows of the ids that exist. */
  rows(entity: string, ids: readonly unknown[]): readonly object[]
}

export interface MemoryTx extends MemoryDb {
  /** Writes a row; `undefined` deletes it. Returns the row, as `returning *` does. */
  put<Row extends object | undefined>(entity: string, id: unknown, row: Row): Row
}

/** An error that says that the same may succeed when it is done again. */
export class RetryableError extends Error {}

export interface MemorySource extends Source<MemoryTx> {
  /** What a COMMIT comes to, one a commit; `committed` when there are no more. */
  readonly outcomes: MemoryOutcome[]
}

/** A transaction in memory; `ended`: what whoever joined it learns of its end. */
export interface MemoryTransaction extends Transaction<MemoryTx> {
  readonly ended: Promise<CommitOutcome>
}

type MemoryOutcome =
  | 'committed'
  | 'aborted'
  /** It has committed, and nobody can say so. */
  | 'unknown, committed'
  | 'unknown, aborted'
  /** PostgreSQL refuses it, with this error. */
  | Error

/** `loads`: where the ids of each call are noted. */
export function memorySource(
  database: MemoryDatabase,
  loads?: (readonly unknown[])[],
): MemorySource {
  const outcomes: MemoryOutcome[] = []
  const begun = new WeakMap<MemoryTx, MemoryTransaction>()
  const check = (): void => {
    if (database.down) throw database.down
  }
  return {
    outcomes,

    load: async (entity, ids, signal) => {
      loads?.push(ids)
      await Promise.resolve()
      check()
      if (entity.isolation === 'read committed') {
        const rows = await entity.load([...ids], { db: database, signal })
        return { rows, snapshot: undefined }
      }
      const snapshot = database.snapshot()
      const db: MemoryDb = { rows: (name, some) => database.rows(name, some, snapshot) }
      return { rows: await entity.load([...ids], { db, signal }), snapshot }
    },

    begin: async (signal) => {
      await Promise.resolve()
      signal.throwIfAborted()
      check()
      const transaction = memoryTransaction(database, () => outcomes.shift() ?? 'committed')
      begun.set(transaction.handle, transaction)
      return transaction
    },

    join: (tx) => {
      const transaction = begun.get(tx)
      if (!transaction) throw wrong('tx', tx, 'an open transaction of this database would do')
      return joined(transaction)
    },

    isRetryable: (error) =>
      error instanceof RetryableError ||
      (error instanceof Error && error.cause instanceof RetryableError),
  }
}

/** The same transaction for somebody who doesn't end it. */
export function joined({ handle, record, ended }: MemoryTransaction): Transaction<MemoryTx> {
  return { handle, record, commit: () => ended, rollback: async () => {} }
}

export function memoryTransaction(
  database: MemoryDatabase,
  nextOutcome: () => MemoryOutcome,
): MemoryTransaction {
  const xid = database.takeXid()
  const { incarnation } = database
  /** The connection of a transaction ends with the life of the database that it began in. */
  const check = (): void => {
    if (incarnation !== database.incarnation) throw new Error('Connection terminated unexpectedly')
  }
  const { promise: ended, resolve: end } = deferred<CommitOutcome>()
  return {
    ended,
    handle: {
      rows: (entity, ids) => database.rows(entity, ids, undefined, xid),
      put: (entity, id, row) => {
        check()
        database.put(xid, entity, id, row)
        return row
      },
    },
    record: async (keys): Promise<Recorded> => {
      await Promise.resolve()
      check()
      return {
        write: { incarnation, xid },
        rowIds: database.record(xid, keys),
        versions: database.versions,
      }
    },
    commit: async () => {
      await Promise.resolve()
      if (incarnation !== database.incarnation) return { kind: 'aborted' }
      const outcome = nextOutcome()
      const hasCommitted = outcome === 'committed' || outcome === 'unknown, committed'
      database.finish(xid, hasCommitted ? 'committed' : 'aborted')
      const committed = { kind: 'committed', versions: database.versions } as const
      end(hasCommitted ? committed : { kind: 'aborted' })
      if (outcome instanceof Error) throw outcome
      if (outcome === 'committed') return committed
      return { kind: outcome === 'aborted' ? 'aborted' : 'unknown' }
    },
    rollback: async () => {
      await Promise.resolve()
      if (incarnation === database.incarnation) database.finish(xid, 'aborted')
      end({ kind: 'aborted' })
    },
  }
}
