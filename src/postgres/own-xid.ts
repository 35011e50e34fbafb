/**
 * When every write below an xid has ended (DESIGN §8): the xid is one's own, so that all that were
 * given out before are smaller. `xmax` of a snapshot wouldn't do: it is one past the last that has
 * *ended*, and open ones may be larger.
 */
import type { Client } from 'pg'
import type { ScanStart } from '../model/filter-ports.ts'
import { parseXid } from '../model/snapshot.ts'
import { beginIncarnation, incarnationOf } from './snapshot.ts'

interface Row {
  readonly xid: string
  readonly incarnation: string | null
}

export async function takeXid(connection: Client): Promise<ScanStart> {
  for (let isFirst = true; ; isFirst = false) {
    const { rows } = await connection.query<Row>(
      'select pg_current_xact_id()::text as xid, lockstep.incarnation() as incarnation',
    )
    const incarnation = incarnationOf(rows[0]?.incarnation)
    if (incarnation) return { incarnation, xid: parseXid((rows[0] as Row).xid) }
    if (!isFirst) throw new Error('the database has no incarnation')
    await beginIncarnation(connection)
  }
}

export async function stateOf(
  connection: Client,
  start: ScanStart,
): Promise<'ended' | 'open' | 'outlived'> {
  const { rows } = await connection.query<Row>(
    'select pg_snapshot_xmin(pg_current_snapshot())::text as xid, lockstep.incarnation() as incarnation',
  )
  const [row] = rows
  if (row === undefined || incarnationOf(row.incarnation) !== start.incarnation) return 'outlived'
  return parseXid(row.xid) >= start.xid ? 'ended' : 'open'
}
