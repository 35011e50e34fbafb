/** The statements about outbox rows, and the rows that they return. */
import { isIdText } from '../model/id.ts'
import type { Destination, OutboxRow } from '../model/outbox-port.ts'
import { parseXid } from '../model/snapshot.ts'
import { relayLock } from './relay.ts'
import { selectVersions } from './versions.ts'

export interface Row {
  readonly row_id: string
  readonly xid: string
  readonly entity: string
  /** Null: the rows before it have as many as are wanted. */
  readonly ids: string[] | null
}

type RowWithIds = Row & { readonly ids: string[] }

/** Rows before this one have so many ids. */
const idsBefore = (order: string): string =>
  `sum(cardinality(ids)) over (order by ${order}) - cardinality(ids)`

// Each branch reads one index: with `or`, or with "not visible in" as a filter, all rows would be read.
export const pollStatement = `
  with found as (
    (select row_id, xid, entity, ids, told_by_writer from lockstep.outbox
      where namespace = $1 and xid >= $2::xid8 limit $4)
    union all
    (select row_id, xid, entity, ids, told_by_writer from lockstep.outbox
      where namespace = $1 and xid = any($3::xid8[]) limit $4)
  ), counted as (
    select *, ${idsBefore('row_id')} as ids_before from found
  )
  select pg_current_snapshot()::text as snapshot, (select lockstep.incarnation()) as incarnation,
    n.pruned::text as pruned,
    pg_try_advisory_xact_lock(${relayLock('$1')}) as is_relay_due,
    n.waited_until > clock_timestamp() as is_awaited,
    f.row_id::text, f.xid::text, f.entity, case when f.ids_before < $5 then f.ids end as ids,
    f.told_by_writer
  from lockstep.namespaces n left join counted f on true where n.name = $1`

const toldColumn: Readonly<Record<Destination, string>> = { l2: 'applied', log: 'published' }

export const claimStatement = (destination: Destination): string => `
  with claimed as (
    select row_id, xid, entity, ids from lockstep.outbox
    where namespace = $1 and not ${toldColumn[destination]} and row_id > $4
      and (
        not told_by_writer or created_at <= clock_timestamp() - $2 * interval '1 ms'
        or created_at > clock_timestamp()
      )
    order by row_id limit $3
    for update skip locked
  ), counted as (
    select *, ${idsBefore('row_id')} as ids_before from claimed
  )
  select row_id::text, xid::text, entity, case when ids_before < $5 then ids end as ids,
    (select lockstep.incarnation()) as incarnation, ${selectVersions('$1')}
  from counted order by counted.row_id`

// On another plane than the one that it was published on nobody would hear of it. Without Redis there
// is nobody else to tell of it: unless another instance has brought Redis, or is about to.
export const markStatement = `
  update lockstep.outbox o
  set applied = o.applied or $2 or not n.has_l2, published = o.published or $3
  from lockstep.namespaces n
  where o.row_id = any($1::bigint[]) and n.name = $4 and n.plane = $5`

const pageOf = (xids: string): string => `
  (select row_id, xid, entity, ids from lockstep.outbox
    where namespace = $1 and ${xids} and (xid, row_id) > ($5::xid8, $6::bigint)
      and ($4::pg_snapshot is null or pg_visible_in_snapshot(xid, $4::pg_snapshot))
    order by xid, row_id limit $7)`

// By xid, as the index has them: in the order of their ids all rows after the last page would be read
// to find the few that are new.
export const pageStatement = `
  with found as (
    select * from (
      ${pageOf('xid >= $2::xid8')}
      union all
      ${pageOf('xid = any($3::xid8[])')}
    ) both_of_them order by xid, row_id limit $7
  ), counted as (
    select *, ${idsBefore('xid, row_id')} as ids_before from found
  )
  select pg_current_snapshot()::text as snapshot, (select lockstep.incarnation()) as incarnation,
    n.pruned::text as pruned, ${selectVersions('$1')},
    f.row_id::text, f.xid::text, f.entity, case when f.ids_before < $8 then f.ids end as ids
  from lockstep.namespaces n left join counted f on true where n.name = $1
  order by f.xid, f.row_id`

/** One channel for all: its messages are the names of namespaces. */
export const listenStatement = 'listen lockstep'
export const notifyStatement = "select pg_notify('lockstep', $1)"

export function hasIds<R extends Row>(row: R): row is R & RowWithIds {
  return row.ids !== null
}

export function outboxRow(row: RowWithIds): OutboxRow {
  return {
    rowId: row.row_id,
    xid: parseXid(row.xid),
    entity: row.entity,
    ids: row.ids.filter(isIdText),
  }
}
