/** The statements of whoever relays: one instance of a namespace at a time. */
import { mostOwedCounted } from '../model/defaults.ts'
import type { Asked, Destination, Owed, Progress } from '../model/outbox-port.ts'
import { parseIncarnation, parseSnapshot } from '../model/snapshot.ts'
import { outboxPlane } from './plane.ts'

/**
 * Whoever relays holds this lock in a transaction that stays open: it takes no xid, which replicas
 * would have to wait for, goes with the connection, and passes through PgBouncer. Others see that
 * nobody does by taking it for the length of a statement.
 */
export const relayLock = (namespace: string): string =>
  `hashtextextended('lockstep relay ' || ${namespace}, 0)`

/** A relay that is silent for longer is taken for dead. */
const silenceMs = 2_000
/** Others hold the lock for the length of a statement. */
const lockTimeoutMs = 50

export const leadStatements = `
  begin isolation level read committed read only;
  set local idle_in_transaction_session_timeout = ${silenceMs};
  set local lock_timeout = ${lockTimeoutMs}`

// An instance of before Redis was brought to the namespace could tell it of nothing.
export const leadStatement = `
  select (select pg_advisory_xact_lock(${relayLock('$1')})) is not null
    and not exists (select from lockstep.namespaces where name = $1 and has_l2 and not $2) as is_ours`

export interface ProgressRow {
  readonly snapshot: string
  readonly incarnation: string | null
  readonly repeated: string
  readonly l2: OwedRow
  readonly log: OwedRow
}

interface OwedRow {
  /** Counted to one more than wanted. */
  readonly rows: number
  readonly oldest_ms: number | null
  /** Some of the rows are seen by the snapshot that was asked about. */
  readonly is_owed: boolean | null
}

// Each counts for itself: were the first rows counted that either waits for, the rows of one could hide
// behind those of the other, and it would be taken to have been told of them.
const owedIn = (waiting: string, asked: string): string => `
  (select json_build_object(
    'rows', count(*),
    'oldest_ms', extract(epoch from clock_timestamp() - min(w.created_at)) * 1000,
    'is_owed', bool_or(pg_visible_in_snapshot(w.xid, ${asked}::pg_snapshot))
  ) from (
    select xid, created_at from lockstep.outbox where namespace = $1 and ${waiting}
    order by row_id limit $2::int + 1
  ) w)`

/** A destination that the namespace doesn't have waits for nothing. */
export const progressStatement = `
  select pg_current_snapshot()::text as snapshot, (select lockstep.incarnation()) as incarnation,
    n.repeated::text as repeated, ${owedIn('not applied and n.has_l2', '$3')} as l2,
    ${owedIn(`not published and n.plane <> '${outboxPlane}'`, '$4')} as log
  from lockstep.namespaces n where n.name = $1`

export function progressOf(row: ProgressRow, asked: Asked): Progress {
  if (!row.incarnation) throw new Error('the database has begun a new incarnation')
  const incarnation = parseIncarnation(row.incarnation)
  const owed = (name: Destination): Owed => {
    const { rows, oldest_ms, is_owed } = row[name]
    const isWhole = rows <= mostOwedCounted
    return {
      rows: Math.min(rows, mostOwedCounted),
      oldestMs: Math.max(0, oldest_ms ?? 0),
      isTold: isWhole && asked[name]?.incarnation === incarnation && !is_owed,
    }
  }
  return {
    snapshot: parseSnapshot(row.snapshot, incarnation),
    owed: { l2: owed('l2'), log: owed('log') },
    repeated: parseSnapshot(row.repeated, incarnation),
  }
}

// A snapshot of another life would see what was never repeated in this one.
export const repeatedStatement = `
  update lockstep.namespaces set repeated = $2::pg_snapshot
  where name = $1 and lockstep.incarnation() = $3`
