import type { ClientBase } from 'pg'
import {
  type Incarnation,
  parseIncarnation,
  parseSnapshot,
  type Snapshot,
} from '../model/snapshot.ts'

interface Row {
  readonly snapshot: string
  readonly incarnation: string | null
}

const select =
  'select pg_current_snapshot()::text as snapshot, lockstep.incarnation() as incarnation'

/** The snapshot of this statement; in a REPEATABLE READ transaction, that of the transaction. */
export async function takeSnapshot(connection: ClientBase): Promise<Snapshot | undefined> {
  const { rows } = await connection.query<Row>(select)
  return snapshotOf(rows[0])
}

/** `undefined`: this life of the database has no incarnation yet. */
function snapshotOf(row: Row | undefined): Snapshot | undefined {
  if (!row?.incarnation) return undefined
  return parseSnapshot(row.snapshot, parseIncarnation(row.incarnation))
}

/** Gives the present life of the database its incarnation, unless somebody was faster. */
export async function beginIncarnation(connection: ClientBase): Promise<void> {
  await connection.query('select lockstep.begin_incarnation()')
}

export function incarnationOf(text: string | null | undefined): Incarnation | undefined {
  return text ? parseIncarnation(text) : undefined
}
