/**
 * The outbox in PostgreSQL: what the tail reads, what an instance claims to tell Redis of, and what
 * is removed. Rows are found by snapshot difference, never by id or time: a transaction that took
 * its id early may commit late.
 */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import { mostIdsAClaim, mostIdsAPoll, mostRowsAPoll, outboxBatch } from '../model/defaults.ts'
import type { Claim, Outbox, OutboxRow, Poll } from '../model/ports.ts'
import {
  type Incarnation,
  parseIncarnation,
  parseSnapshot,
  parseXid,
  type Snapshot,
} from '../model/snapshot.ts'
import { closeOnAbort, hold } from './abort.ts'
import { type Registration, register } from './namespace.ts'
import { type Pool, type RawClient, unavailable } from './pool.ts'
import { prune, pruneOthers } from './prune.ts'
import { beginIncarnation } from './snapshot.ts'
import { selectVersions, type VersionPairs, versionsOf } from './versions.ts'

interface Row {
  readonly row_id: string
  readonly xid: string
  readonly entity: string
  /** Null: the rows before it have as many as are wanted. */
  readonly ids: string[] | null
  readonly applied: boolean
}

interface PollRow extends Partial<Row> {
  readonly is_new?: boolean
  readonly snapshot: string
  readonly incarnation: string | null
  readonly pruned: string
}

interface ClaimRow extends Row {
  readonly incarnation: string | null
  readonly versions: VersionPairs
}

type FoundRow = PollRow & Row
type RowWithIds = Row & { readonly ids: string[] }

/** Rows before this one have so many ids. */
const idsBefore = (window: string): string =>
  `sum(cardinality(ids)) over (${window} order by row_id) - cardinality(ids)`

// Each branch reads one index: with `or`, or with "not visible in" as a filter, all rows would be
// read. Without L2 there is nothing to apply a row to.
const pollStatement = `
  with namespace as materialized (select * from lockstep.namespaces where name = $1),
  found as (
    (select true as is_new, row_id, xid, entity, ids, applied from lockstep.outbox
      where namespace = $1 and xid >= $2::xid8 limit $4)
    union all
    (select true, row_id, xid, entity, ids, applied from lockstep.outbox
      where namespace = $1 and xid = any($3::xid8[]) limit $4)
    union all
    (select false, row_id, xid, entity, ids, applied from lockstep.outbox
      where namespace = $1 and not applied and (select has_l2 from namespace)
      order by row_id limit 2 * $4)
  ), counted as (
    select *, ${idsBefore('partition by is_new')} as ids_before from found
  )
  select pg_current_snapshot()::text as snapshot, (select lockstep.incarnation()) as incarnation,
    n.pruned::text as pruned, f.is_new, f.row_id::text, f.xid::text, f.entity,
    case when f.ids_before < case when f.is_new then $5 else 2 * $5 end then f.ids end as ids,
    f.applied or not n.has_l2 as applied
  from namespace n left join counted f on true`

const claimStatement = `
  with claimed as (
    select row_id, xid, entity, ids, applied from lockstep.outbox
    where namespace = $1 and not applied and row_id > $4
      and (not told_by_writer or created_at <= clock_timestamp() - $2 * interval '1 ms')
    order by row_id limit $3
    for update skip locked
  ), counted as (
    select *, ${idsBefore('')} as ids_before from claimed
  )
  select row_id::text, xid::text, entity, applied, case when ids_before < $5 then ids end as ids,
    (select lockstep.incarnation()) as incarnation, ${selectVersions('$1')}
  from counted order by counted.row_id`

const markStatement = 'update lockstep.outbox set applied = true where row_id = any($1::bigint[])'

export class PostgresOutbox implements Outbox {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #registration: Registration
  readonly #namespace: string
  #connection: Client | undefined
  #incarnation: Incarnation | undefined
  /** The next claim begins after this row. */
  #claimedUpTo = '0'

  constructor(pool: Pool, registration: Registration, clock: Clock) {
    this.#pool = pool
    this.#clock = clock
    this.#registration = registration
    this.#namespace = registration.namespace
  }

  async poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll> {
    let connection: Client | undefined
    let endWatch = (): void => {}
    try {
      connection = await this.#connected(signal)
      endWatch = closeOnAbort(connection, signal)
      return await this.#poll(connection, since)
    } catch (error) {
      if (connection) this.#letGo(connection)
      throw unavailable(error)
    } finally {
      endWatch()
    }
  }

  async claim(
    minAgeMs: number,
    apply: (claim: Claim) => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<number> {
    return this.#inTransaction(signal, async (connection) => {
      const found = await this.#claim(connection, minAgeMs)
      const first = found[0]
      if (!first?.incarnation) return 0
      const rows = found.filter(hasIds)
      // As if nothing could be applied, which is what a claim that fails has shown.
      this.#claimedUpTo = rows.at(-1)?.row_id ?? '0'
      const applied = await apply({
        incarnation: parseIncarnation(first.incarnation),
        rows: rows.map(outboxRow),
        versions: versionsOf(first.versions),
      })
      if (applied.length > 0) await connection.query(markStatement, [applied])
      const isAll = found.length < outboxBatch && rows.length === found.length
      const told = new Set(applied)
      const last = rows.findLast(({ row_id }) => told.has(row_id))
      if (isAll) this.#claimedUpTo = '0'
      else if (last) this.#claimedUpTo = last.row_id
      return applied.length
    })
  }

  async #claim(connection: Client, minAgeMs: number): Promise<readonly ClaimRow[]> {
    const ask = async (): Promise<readonly ClaimRow[]> => {
      const after = this.#claimedUpTo
      const values = [this.#namespace, minAgeMs, outboxBatch, after, mostIdsAClaim]
      return (await connection.query<ClaimRow>(claimStatement, values)).rows
    }
    const rows = await ask()
    if (rows.length > 0 || this.#claimedUpTo === '0') return rows
    this.#claimedUpTo = '0'
    return ask()
  }

  async mark(rowIds: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#inTransaction(signal, (connection) => connection.query(markStatement, [rowIds]))
  }

  async prune(retentionMs: number, signal: AbortSignal): Promise<number> {
    const own = await this.#inTransaction(signal, (connection) =>
      prune(connection, this.#namespace, retentionMs),
    )
    // In a transaction of its own: whatever the others have, this namespace is pruned.
    const ofOthers = await this.#inTransaction(signal, (connection) =>
      pruneOthers(connection, this.#namespace, retentionMs),
    )
    return own + ofOthers
  }

  /** Closes the tail's connection; the pool is not this object's. */
  close(): void {
    if (this.#connection) this.#letGo(this.#connection)
  }

  async #poll(connection: Client, since: Snapshot | undefined): Promise<Poll> {
    const { rows } = await connection.query<PollRow>(pollStatement, [
      this.#namespace,
      // Without a snapshot nothing is new: only what Redis has not been told of.
      String(since?.xmax ?? Number.MAX_SAFE_INTEGER),
      since?.xip.map(String) ?? [],
      mostRowsAPoll + 1,
      mostIdsAPoll,
    ])
    const first = rows[0]
    if (!first) throw new Error(`namespace "${this.#namespace}" is not registered`)
    if (!first.incarnation) {
      await beginIncarnation(connection)
      return this.#poll(connection, since)
    }
    const incarnation = parseIncarnation(first.incarnation)
    if (incarnation !== this.#incarnation) {
      // A failover may have lost the registration; nothing is filled under the new incarnation before.
      if (this.#incarnation) await register(this.#pool, this.#registration, this.#clock)
      this.#incarnation = incarnation
    }
    const found = rows.filter((row): row is FoundRow => row.row_id != null)
    const isNew = found.filter((row) => row.is_new)
    const newRows = isNew.filter(hasIds)
    const newIds = new Set(newRows.map((row) => row.row_id))
    // New ones lie among them: with room for as many of both, none is cut off unnoticed.
    const unapplied = found.filter((row) => !row.is_new && !newIds.has(row.row_id))
    const unappliedRows = unapplied.filter(hasIds)
    return {
      snapshot: parseSnapshot(first.snapshot, incarnation),
      rows: [...newRows, ...unappliedRows].map(outboxRow),
      missedNew: isNew.length > Math.min(newRows.length, mostRowsAPoll),
      missedUnapplied: unapplied.length > Math.min(unappliedRows.length, mostRowsAPoll),
      pruned: parseSnapshot(first.pruned, incarnation),
    }
  }

  async #connected(signal: AbortSignal): Promise<Client> {
    signal.throwIfAborted()
    if (this.#connection) return this.#connection
    const connection = await this.#pool.connect()
    // Given up while it was being opened: somebody else may have opened the next one meanwhile.
    if (signal.aborted) this.#letGo(connection)
    signal.throwIfAborted()
    connection.on('end', () => this.#letGo(connection))
    this.#connection = connection
    return connection
  }

  #letGo(connection: Client): void {
    if (this.#connection === connection) this.#connection = undefined
    connection.end().catch(() => {})
  }

  async #inTransaction<T>(
    signal: AbortSignal,
    run: (connection: Client) => Promise<T>,
  ): Promise<T> {
    try {
      const { connection, release } = await hold(this.#pool.knex.client as RawClient, signal)
      try {
        // A mark or a prune that a crash takes back is only done again, so nobody waits for the disk.
        await connection.query(
          'begin isolation level read committed; set local synchronous_commit = off',
        )
        const result = await run(connection)
        await connection.query('commit')
        return result
      } catch (error) {
        await connection.query('rollback').catch(() => {})
        throw error
      } finally {
        await release()
      }
    } catch (error) {
      throw unavailable(error)
    }
  }
}

function hasIds<R extends Row>(row: R): row is R & RowWithIds {
  return row.ids !== null
}

function outboxRow(row: RowWithIds): OutboxRow {
  return {
    rowId: row.row_id,
    xid: parseXid(row.xid),
    entity: row.entity,
    ids: row.ids,
    applied: row.applied,
  }
}
