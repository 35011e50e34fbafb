import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import { idsPerOutboxRow } from '../model/defaults.ts'
import { LockstepError } from '../model/errors.ts'
import { parseXid } from '../model/snapshot.ts'
import type { EntityIds, Recorded } from '../model/source-port.ts'
import type { Pool } from './pool.ts'
import { beginIncarnation, incarnationOf } from './snapshot.ts'
import { type VersionsRow, versionsOf } from './versions.ts'

export interface WriteOptions {
  readonly pool: Pool
  readonly namespace: string
  /** A transaction that says nothing for longer is ended by PostgreSQL: before its tombstones are forgotten. */
  readonly idleInTransactionMs: number
  /** How long to wait for the answer to a COMMIT, and then to ask what became of it. */
  readonly outcomeDeadlineMs: number
  readonly clock: Clock
}

export interface RecordedRows extends Recorded {
  /** PostgreSQL's clock: with the ids, which may come again after a crash, it names the rows for good. */
  readonly recordedAt: string | null
}

interface RecordRow extends VersionsRow {
  readonly xid: string
  readonly incarnation: string | null
  readonly row_ids: string[] | null
  /** Seconds since the epoch, to the microsecond, as text: the server's DateStyle doesn't matter. */
  readonly recorded_at: string | null
}

/**
 * Writes the outbox rows of a write in the transaction of the connection. One round trip: the xid too,
 * and the limit on how long the transaction may stay open between here and its COMMIT.
 */
export async function recordIn(
  connection: Client,
  { pool, namespace, idleInTransactionMs }: WriteOptions,
  keys: readonly EntityIds[],
): Promise<RecordedRows> {
  const rows = keys.flatMap(rowsOf)
  const { rows: answer } = await connection.query<RecordRow>(
    'select * from lockstep.record($1, $2, $3, $4, $5, $6)',
    [
      namespace,
      rows.map(({ entity }) => entity),
      rows.flatMap(({ ids }) => ids),
      ...boundsOf(rows),
      idleInTransactionMs,
    ],
  )
  const row = answer[0] as RecordRow
  const incarnation = incarnationOf(row.incarnation)
  if (!incarnation) {
    await pool.connect().then(async (own) => {
      await beginIncarnation(own).finally(() => own.end())
    })
    throw new LockstepError('WRITE_ABORTED', 'the database has begun a new incarnation')
  }
  if (!row.row_ids) {
    throw new LockstepError(
      'SCHEMA_MISSING',
      `namespace "${namespace}" is not registered in the database any more: start anew, after \`lockstep migrate\` if need be`,
    )
  }
  return {
    write: { incarnation, xid: parseXid(row.xid) },
    rowIds: row.row_ids,
    versions: versionsOf(row.versions),
    recordedAt: row.recorded_at,
  }
}

function rowsOf({ entity, ids }: EntityIds): readonly EntityIds[] {
  return Array.from({ length: Math.ceil(ids.length / idsPerOutboxRow) }, (_, index) => ({
    entity,
    ids: ids.slice(index * idsPerOutboxRow, (index + 1) * idsPerOutboxRow),
  }))
}

/** Where the ids of each row begin and end in all of them, counted from 1. */
function boundsOf(rows: readonly EntityIds[]): readonly [firsts: number[], lasts: number[]] {
  const firsts: number[] = []
  const lasts: number[] = []
  let last = 0
  for (const { ids } of rows) {
    firsts.push(last + 1)
    last += ids.length
    lasts.push(last)
  }
  return [firsts, lasts]
}
