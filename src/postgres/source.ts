/**
 * PostgreSQL as the source of truth: loads, and the transaction of a write (DESIGN §4.5, §5.1–5.3).
 * Each wait ends with its signal, by breaking the connection it waits on: the transaction of a
 * broken connection is rolled back unless its COMMIT had arrived.
 */
import type { Client } from 'pg'
import { systemClock } from '../model/clock.ts'
import { idsPerOutboxRow } from '../model/defaults.ts'
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { EntityIds, Loaded, Recorded, Replicas, Source, Transaction } from '../model/ports.ts'
import { parseXid, type WriteId } from '../model/snapshot.ts'
import { abortable, sleep } from '../resilience/deadline.ts'
import { closeOnAbort, hold } from './abort.ts'
import {
  type Db,
  inTurn,
  isBroken,
  isRetryable,
  type Pool,
  type RawClient,
  type Tx,
  unavailable,
} from './pool.ts'
import { beginIncarnation, incarnationOf, takeSnapshot } from './snapshot.ts'
import { type VersionPairs, versionsOf } from './versions.ts'

export interface PostgresSourceOptions {
  readonly pool: Pool
  readonly namespace: string
  readonly replicas?: Replicas | undefined
  /** A transaction that says nothing for longer is ended by PostgreSQL: before its tombstones are forgotten. */
  readonly idleInTransactionMs: number
  /** How long to wait for the answer to a COMMIT, and then to ask what became of it. */
  readonly outcomeDeadlineMs: number
}

export class PostgresSource implements Source<Tx> {
  readonly replicas: Replicas | undefined
  readonly #options: PostgresSourceOptions
  readonly #db: Db
  readonly #client: RawClient

  constructor(options: PostgresSourceOptions) {
    this.replicas = options.replicas
    this.#options = options
    this.#db = options.pool.knex
    this.#client = this.#db.client as RawClient
  }

  async load(entity: AnyEntity, ids: readonly unknown[], signal: AbortSignal): Promise<Loaded> {
    return this.#withConnection(signal, async (connection) => {
      if (entity.isolation === 'read committed') {
        const db = this.#options.pool.on(connection)
        return { rows: await entity.load([...ids], { db, signal }), snapshot: undefined }
      }
      const tx = await this.#db.transaction({
        connection,
        isolationLevel: 'repeatable read',
        readOnly: true,
      })
      inTurn(tx)
      try {
        const snapshot = await takeSnapshot(connection)
        const rows = await entity.load([...ids], { db: tx, signal })
        return { rows, snapshot }
      } finally {
        await tx.rollback().catch(() => {})
      }
    })
  }

  async begin(signal: AbortSignal): Promise<Transaction<Tx>> {
    try {
      signal.throwIfAborted()
      const { connection, release } = await hold(this.#client, signal)
      try {
        const tx = await this.#db.transaction({ connection })
        inTurn(tx)
        return new PostgresTransaction(tx, connection, release, this.#options)
      } catch (error) {
        await release()
        throw error
      }
    } catch (error) {
      throw unavailable(error)
    }
  }

  isRetryable(error: unknown): boolean {
    if (!(error instanceof LockstepError)) return isRetryable(error)
    return error.code === 'WRITE_ABORTED' || (error.cause !== undefined && isRetryable(error.cause))
  }

  async #withConnection<T>(
    signal: AbortSignal,
    run: (connection: Client) => Promise<T>,
  ): Promise<T> {
    const { connection, release } = await hold(this.#client, signal)
    try {
      // A loader that heeds no signal must not keep the connection from the others.
      return await abortable(run(connection), signal)
    } finally {
      await release()
    }
  }
}

const askAgainMs = 25

// One round trip: the xid, what must be known to drop the values, and the limit on how long the
// transaction may stay open between here and its COMMIT.
const recordStatement = `
  with recorded as (
    insert into lockstep.outbox (namespace, entity, ids, applied)
    select n.name, k.entity, k.ids, not n.has_l2
    from lockstep.namespaces n,
      jsonb_to_recordset($2::jsonb) as k (entity text, ids text[])
    where n.name = $1
    returning row_id, created_at
  )
  select pg_current_xact_id()::text as xid, lockstep.incarnation() as incarnation,
    (select array_agg(row_id::text) from recorded) as row_ids,
    (select min(created_at)::text from recorded) as recorded_at,
    (select json_agg(json_build_array(entity, version)) from lockstep.schema_versions
      where namespace = $1) as versions,
    set_config('idle_in_transaction_session_timeout', $3, true)`

interface RecordRow {
  readonly xid: string
  readonly incarnation: string | null
  readonly row_ids: string[] | null
  readonly recorded_at: string | null
  readonly versions: VersionPairs
}

class PostgresTransaction implements Transaction<Tx> {
  readonly handle: Tx
  readonly #connection: Client
  readonly #release: () => Promise<void>
  readonly #options: PostgresSourceOptions
  #recorded: Recorded | undefined
  /** PostgreSQL's clock: with the ids, which may come again after a crash, it names the row for good. */
  #recordedAt: string | null = null
  #finished: Promise<void> | undefined

  constructor(
    tx: Tx,
    connection: Client,
    release: () => Promise<void>,
    options: PostgresSourceOptions,
  ) {
    this.handle = tx
    this.#connection = connection
    this.#release = release
    this.#options = options
  }

  async record(keys: readonly EntityIds[]): Promise<Recorded> {
    this.#checkOpen()
    const rows = keys.flatMap(({ entity, ids }) =>
      Array.from({ length: Math.ceil(ids.length / idsPerOutboxRow) }, (_, index) => ({
        entity,
        ids: ids.slice(index * idsPerOutboxRow, (index + 1) * idsPerOutboxRow),
      })),
    )
    const { rows: answer } = await this.#connection.query<RecordRow>(recordStatement, [
      this.#options.namespace,
      JSON.stringify(rows),
      String(this.#options.idleInTransactionMs),
    ])
    const row = answer[0] as RecordRow
    const incarnation = incarnationOf(row.incarnation)
    if (!incarnation) {
      await this.#options.pool.connect().then(async (connection) => {
        await beginIncarnation(connection).finally(() => connection.end())
      })
      throw new LockstepError('WRITE_ABORTED', 'the database has begun a new incarnation')
    }
    if (!row.row_ids) {
      throw new LockstepError(
        'SCHEMA_MISSING',
        `namespace "${this.#options.namespace}" is not registered in the database any more: start anew, after \`lockstep migrate\` if need be`,
      )
    }
    this.#recordedAt = row.recorded_at
    this.#recorded = {
      write: { incarnation, xid: parseXid(row.xid) },
      rowIds: row.row_ids,
      versions: versionsOf(row.versions),
    }
    return this.#recorded
  }

  async commit(): Promise<'committed' | 'aborted' | 'unknown'> {
    const deadline = AbortSignal.timeout(this.#options.outcomeDeadlineMs)
    const endWatch = closeOnAbort(this.#connection, deadline, 'leave')
    try {
      const { command } = await this.#connection.query('commit')
      return command === 'ROLLBACK' ? 'aborted' : 'committed'
    } catch (error) {
      if (!isBroken(error) || !this.#recorded) throw error
      return await this.#outcome(this.#recorded.write)
    } finally {
      endWatch()
      await this.#finish()
    }
  }

  async rollback(): Promise<void> {
    if (this.#finished !== undefined) return this.#finished
    const endWatch = closeOnAbort(
      this.#connection,
      AbortSignal.timeout(this.#options.outcomeDeadlineMs),
    )
    await this.#connection.query('rollback').catch(() => {})
    endWatch()
    await this.#finish()
  }

  /** Outside a transaction the outbox row would not stand and fall with the caller's statements. */
  #checkOpen(): void {
    // Tells what PostgreSQL said with its last answer: I for idle, outside a transaction.
    const { getTransactionStatus } = this.#connection as { getTransactionStatus?: () => string }
    const status = getTransactionStatus?.call(this.#connection)
    if (!this.handle.isCompleted() && status !== 'I') return
    throw new LockstepError(
      'WRITE_ENDED_EARLY',
      'the callback ended the transaction itself; return instead, and lockstep commits, or throw, and it rolls back',
    )
  }

  /** Once: a callback that fails late must not give the connection back a second time. */
  #finish(): Promise<void> {
    this.#finished ??= this.#end()
    return this.#finished
  }

  async #end(): Promise<void> {
    // Knex has to know that its transaction is over; PostgreSQL takes a second ROLLBACK as a no-op.
    if (!this.handle.isCompleted()) await this.handle.rollback().catch(() => {})
    await this.#release()
  }

  /** The answer to COMMIT was lost: PostgreSQL knows what became of it, within the incarnation. */
  async #outcome(write: WriteId): Promise<'committed' | 'aborted' | 'unknown'> {
    const deadline = AbortSignal.timeout(this.#options.outcomeDeadlineMs)
    while (!deadline.aborted) {
      const status = await this.#status(write, deadline).catch(() => undefined)
      if (status === 'committed' || status === 'aborted') return status
      if (status === 'another incarnation') return this.#survived(deadline)
      await sleep(askAgainMs, deadline, systemClock)
    }
    return 'unknown'
  }

  async #status(write: WriteId, signal: AbortSignal): Promise<string | null> {
    return this.#ask(signal, async (connection) => {
      const { rows } = await connection.query<{ status: string | null }>(
        `select case when lockstep.incarnation() = $1 then pg_xact_status($2::xid8)
           else 'another incarnation' end as status`,
        [write.incarnation, String(write.xid)],
      )
      return rows[0]?.status ?? null
    })
  }

  /** After a crash nothing is in progress: the outbox row is there if and only if the COMMIT was durable. */
  async #survived(signal: AbortSignal): Promise<'committed' | 'aborted' | 'unknown'> {
    const rowIds = this.#recorded?.rowIds ?? []
    const found = await this.#ask(signal, async (connection) => {
      const { rows } = await connection.query<{ found: boolean }>(
        `select exists (select from lockstep.outbox
           where row_id = any($1::bigint[]) and namespace = $2 and xid = $3::xid8
             and created_at = $4::timestamptz) as found`,
        [rowIds, this.#options.namespace, String(this.#recorded?.write.xid), this.#recordedAt],
      )
      return rows[0]?.found ?? false
    }).catch(() => undefined)
    if (found === undefined || rowIds.length === 0) return 'unknown'
    return found ? 'committed' : 'aborted'
  }

  async #ask<T>(signal: AbortSignal, ask: (connection: Client) => Promise<T>): Promise<T> {
    const connection = await this.#options.pool.connect()
    const endWatch = closeOnAbort(connection, signal)
    try {
      return await ask(connection)
    } finally {
      endWatch()
      connection.end().catch(() => {})
    }
  }
}
