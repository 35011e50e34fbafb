/**
 * Removes outbox rows that everybody could have read (I8). A namespace's mark moves before rows go
 * that it sees, so that whoever finds rows missing finds the mark too.
 */
import type { Client } from 'pg'
import { outboxPlane } from './plane.ts'

/** Rows of other namespaces that one prune removes, each. */
const mostOfOthers = 20_000
const mostOthers = 10
/** Whoever runs in a namespace has pruned it by then. */
const untilGone = { retentions: 10, leastMs: 3_600_000 }

const moveMark =
  'pruned = prune_next, prune_next = pg_current_snapshot(), prune_next_at = clock_timestamp()'

// The row lock on the namespace lets one instance prune at a time.
const moveMarkStatement = `
  with due as (
    select name from lockstep.namespaces
    where name = $1 and prune_next_at <= clock_timestamp() - $2 * interval '1 ms'
    for update skip locked
  )
  update lockstep.namespaces n set ${moveMark} from due where n.name = due.name
  returning n.pruned::text as pruned`

const isFinished = `
  (o.applied or not n.has_l2) and (o.published or coalesce(n.plane, '${outboxPlane}') = '${outboxPlane}')`

const isOld = `
  n.name = $1 and o.namespace = $1 and o.xid < pg_snapshot_xmax($2::pg_snapshot)
  and pg_visible_in_snapshot(o.xid, $2::pg_snapshot)`

const pruneStatement = `
  delete from lockstep.outbox o using lockstep.namespaces n
  where ${isOld} and ${isFinished} and (not n.has_l2 or pg_visible_in_snapshot(o.xid, n.repeated))`

const othersStatement = `
  select name, pruned::text as pruned from lockstep.namespaces
  where name <> $1 and prune_next_at <= clock_timestamp() - $2 * interval '1 ms'
  order by prune_next_at limit ${mostOthers}
  for update skip locked`

const pruneOtherStatement = `
  delete from lockstep.outbox where row_id in (
    select o.row_id from lockstep.outbox o, lockstep.namespaces n
    where ${isOld} and ${isFinished} limit ${mostOfOthers}
  )`

/** The number of rows; it removes none before `retentionMs` has passed since the last time. */
export async function prune(
  connection: Client,
  namespace: string,
  retentionMs: number,
): Promise<number> {
  const { rows } = await connection.query<{ pruned: string }>(moveMarkStatement, [
    namespace,
    retentionMs,
  ])
  if (!rows[0]) return 0
  return (await connection.query(pruneStatement, [namespace, rows[0].pruned])).rowCount ?? 0
}

/**
 * `lockstep.invalidate` goes on writing rows for namespaces that no instance runs in any more. What
 * Redis has not been told of stays: the values that it is about may still lie there.
 */
export async function pruneOthers(
  connection: Client,
  namespace: string,
  retentionMs: number,
): Promise<number> {
  const idleMs = Math.max(untilGone.retentions * retentionMs, untilGone.leastMs)
  const { rows } = await connection.query<{ name: string; pruned: string }>(othersStatement, [
    namespace,
    idleMs,
  ])
  let removed = 0
  for (const { name, pruned } of rows) {
    const { rowCount } = await connection.query(pruneOtherStatement, [name, pruned])
    removed += rowCount ?? 0
    if (rowCount === mostOfOthers) continue
    await connection.query(`update lockstep.namespaces set ${moveMark} where name = $1`, [name])
  }
  return removed
}
