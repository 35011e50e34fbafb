import type { Client } from 'pg'
import type { CommitOutcome } from '../model/source-port.ts'
import { deadlineIn, sleep } from '../resilience/deadline.ts'
import { closeOnAbort, hold } from './abort.ts'
import type { RawClient } from './pool.ts'
import type { RecordedRows, WriteOptions } from './record.ts'
import { selectVersions, type VersionsRow, versionsOf } from './versions.ts'

const askAgainMs = 25

/** Asks over a connection that it is given; it may be broken when the signal aborts. */
type Ask = <T>(signal: AbortSignal, question: (connection: Client) => Promise<T>) => Promise<T>

/**
 * What became of a transaction whose COMMIT nobody here has seen answered: PostgreSQL knows, within
 * the incarnation.
 */
export async function outcomeOf(
  recorded: RecordedRows,
  options: WriteOptions,
  // The pool's may be as broken as the one that has just been.
  ask: Ask = overOwn(options),
): Promise<CommitOutcome> {
  const { clock, outcomeDeadlineMs } = options
  const deadline = deadlineIn(outcomeDeadlineMs, clock)
  const { signal } = deadline
  try {
    while (!signal.aborted) {
      const row = await statusOf(recorded, options, ask, signal).catch(() => undefined)
      if (row?.status === 'committed') {
        return { kind: 'committed', versions: versionsOf(row.versions) }
      }
      if (row?.status === 'aborted') return { kind: 'aborted' }
      if (row?.status === 'another incarnation') {
        return await survived(recorded, options, ask, signal)
      }
      await sleep(askAgainMs, signal, clock)
    }
    return { kind: 'unknown' }
  } finally {
    deadline.end()
  }
}

interface StatusRow extends VersionsRow {
  readonly status: string | null
}

function statusOf(
  { write }: RecordedRows,
  { namespace }: WriteOptions,
  ask: Ask,
  signal: AbortSignal,
): Promise<StatusRow | undefined> {
  return ask(signal, async (connection) => {
    const { rows } = await connection.query<StatusRow>(
      `select case when lockstep.incarnation() = $1 then pg_xact_status($2::xid8)
         else 'another incarnation' end as status, ${selectVersions('$3')}`,
      [write.incarnation, String(write.xid), namespace],
    )
    return rows[0]
  })
}

/** After a crash nothing is in progress: the outbox row is there if and only if the COMMIT was durable. */
async function survived(
  { rowIds, write, recordedAt }: RecordedRows,
  { namespace }: WriteOptions,
  ask: Ask,
  signal: AbortSignal,
): Promise<CommitOutcome> {
  const row = await ask(signal, async (connection) => {
    const { rows } = await connection.query<VersionsRow & { found: boolean }>(
      `select exists (select from lockstep.outbox
         where row_id = any($1::bigint[]) and namespace = $2 and xid = $3::xid8
           and extract(epoch from created_at) = $4::numeric) as found,
         ${selectVersions('$2')}`,
      [rowIds, namespace, String(write.xid), recordedAt],
    )
    return rows[0]
  }).catch(() => undefined)
  if (!row || rowIds.length === 0) return { kind: 'unknown' }
  if (!row.found) return { kind: 'aborted' }
  return { kind: 'committed', versions: versionsOf(row.versions) }
}

/** Is the transaction still open? */
export async function isInProgress(
  recorded: RecordedRows,
  options: WriteOptions,
  signal: AbortSignal,
): Promise<boolean> {
  const row = await statusOf(recorded, options, overPool(options), signal)
  return row?.status === 'in progress'
}

export function overPool({ pool }: WriteOptions): Ask {
  return async (signal, question) => {
    const { connection, release } = await hold(pool.knex.client as RawClient, signal)
    try {
      return await question(connection)
    } finally {
      await release()
    }
  }
}

function overOwn({ pool }: WriteOptions): Ask {
  return async (signal, question) => {
    const connection = await pool.connect()
    const endWatch = closeOnAbort(connection, signal)
    try {
      return await question(connection)
    } finally {
      endWatch()
      connection.end().catch(() => {})
    }
  }
}
