/**
 * The outbox in PostgreSQL: what the tail reads, what is claimed to tell others of, and what is
 * removed. Rows are found by snapshot difference, never by id or time: a transaction that took its
 * id early may commit late.
 */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import {
  mostIdsAClaim,
  mostIdsAPoll,
  mostOwedCounted,
  mostRowsAPoll,
  outboxBatch,
} from '../model/defaults.ts'
import type {
  Asked,
  Claim,
  Destination,
  Outbox,
  Poll,
  Probe,
  Progress,
  RowPage,
} from '../model/ports.ts'
import {
  formatSnapshot,
  type Incarnation,
  parseIncarnation,
  parseSnapshot,
  type Snapshot,
} from '../model/snapshot.ts'
import { inTransaction, silenceMs } from './in-transaction.ts'
import { lockNotAvailable, type Registration, register } from './namespace.ts'
import {
  claimStatement,
  hasIds,
  listenStatement,
  markStatement,
  notifyStatement,
  outboxRow,
  pageStatement,
  pollStatement,
  type Row,
} from './outbox-statements.ts'
import { OwnConnection } from './own-connection.ts'
import { outboxPlane } from './plane.ts'
import type { Pool } from './pool.ts'
import { prune, pruneOthers } from './prune.ts'
import {
  leadStatement,
  leadStatements,
  type ProgressRow,
  progressOf,
  progressStatement,
  repeatedStatement,
} from './relay.ts'
import { sqlState } from './retryable.ts'
import { beginIncarnation, incarnationOf } from './snapshot.ts'
import { type VersionsRow, versionsOf } from './versions.ts'

/** Often enough for a database that takes whoever is silent for dead. */
const beatMs = silenceMs / 4

interface Head {
  readonly snapshot: string
  readonly incarnation: string | null
}

interface PollRow extends Partial<Row>, Head {
  readonly pruned: string
  readonly is_relay_due: boolean
  readonly is_awaited: boolean
  readonly told_by_writer?: boolean
}

interface ClaimRow extends Row, VersionsRow {
  readonly incarnation: string | null
}

interface PageRow extends Partial<Row>, VersionsRow, Head {
  readonly pruned: string
}

export class PostgresOutbox implements Outbox {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #registration: Registration
  readonly #namespace: string
  /** What trust stands on: it waits for nothing else. */
  readonly #tail: OwnConnection
  readonly #relay: OwnConnection
  /** The relay's connection is in the transaction that holds the lock. */
  #isLeading = false
  #wake = (): void => {}
  #incarnation: Incarnation | undefined
  /** The next claim begins after this row. */
  readonly #claimedUpTo: Record<Destination, string> = { l2: '0', log: '0' }

  constructor(pool: Pool, registration: Registration, clock: Clock) {
    this.#pool = pool
    this.#clock = clock
    this.#registration = registration
    this.#namespace = registration.namespace
    this.#tail = new OwnConnection(pool, (connection) => this.#listenOn(connection))
    this.#relay = new OwnConnection(pool, async () => {
      this.#isLeading = false
    })
  }

  poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll> {
    return this.#tail.run(signal, (connection) => this.#poll(connection, since))
  }

  async probe(signal: AbortSignal): Promise<Probe> {
    return this.poll(undefined, signal)
  }

  listen(wake: () => void): void {
    this.#wake = wake
  }

  async notify(signal: AbortSignal): Promise<void> {
    await this.#inTransaction(signal, (connection) =>
      connection.query(notifyStatement, [this.#namespace]),
    )
  }

  async claim(
    destination: Destination,
    minAgeMs: number,
    tell: (claim: Claim) => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<number> {
    return this.#inTransaction(signal, async (connection) => {
      const found = await this.#claim(connection, destination, minAgeMs)
      const first = found[0]
      if (!first?.incarnation) return 0
      const rows = found.filter(hasIds)
      // As if nothing could be told, which is what a claim that fails has shown.
      this.#claimedUpTo[destination] = rows.at(-1)?.row_id ?? '0'
      const endBeats = this.#beat(connection)
      const told = await tell({
        incarnation: parseIncarnation(first.incarnation),
        rows: rows.map(outboxRow),
        versions: versionsOf(first.versions),
      }).finally(endBeats)
      const marked = told.length > 0 ? await this.#mark(connection, told, [destination]) : 0
      const isAll = found.length < outboxBatch && rows.length === found.length
      const toldIds = new Set(told)
      const last = rows.findLast(({ row_id }) => toldIds.has(row_id))
      if (isAll) this.#claimedUpTo[destination] = '0'
      else if (last) this.#claimedUpTo[destination] = last.row_id
      return marked
    })
  }

  /** Says that this process runs, for as long as it tells somebody of rows that it holds. */
  #beat(connection: Client): () => void {
    let cancel = (): void => {}
    const next = (): void => {
      cancel = this.#clock.after(beatMs, () => {
        // One that fails breaks the transaction, and so the claim.
        connection.query('select').catch(() => {})
        next()
      })
    }
    next()
    return () => cancel()
  }

  async #claim(
    connection: Client,
    destination: Destination,
    minAgeMs: number,
  ): Promise<readonly ClaimRow[]> {
    const ask = async (): Promise<readonly ClaimRow[]> => {
      const after = this.#claimedUpTo[destination]
      const values = [this.#namespace, minAgeMs, outboxBatch, after, mostIdsAClaim]
      return (await connection.query<ClaimRow>(claimStatement(destination), values)).rows
    }
    const rows = await ask()
    if (rows.length > 0 || this.#claimedUpTo[destination] === '0') return rows
    this.#claimedUpTo[destination] = '0'
    return ask()
  }

  async mark(
    rowIds: readonly string[],
    told: readonly Destination[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#inTransaction(signal, (connection) => this.#mark(connection, rowIds, told))
  }

  /** The number of rows. Without a log there is nobody else to publish a row to. */
  async #mark(
    connection: Client,
    rowIds: readonly string[],
    told: readonly Destination[],
  ): Promise<number> {
    const { plane } = this.#registration
    const { rowCount } = await connection.query(markStatement, [
      rowIds,
      told.includes('l2'),
      told.includes('log') || plane === outboxPlane,
      this.#namespace,
      plane,
    ])
    return rowCount ?? 0
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

  lead(_instance: string, signal: AbortSignal): Promise<boolean> {
    return this.#relay.run(signal, async (connection) => {
      try {
        this.#isLeading = false
        await connection.query('rollback')
        await connection.query(leadStatements)
        const { rows } = await connection.query<{ is_ours: boolean }>(leadStatement, [
          this.#namespace,
          this.#registration.hasL2,
        ])
        if (rows[0]?.is_ours !== true) {
          await connection.query('rollback')
          return false
        }
        await connection.query('set local lock_timeout = 0')
        this.#isLeading = true
        return true
      } catch (error) {
        if (sqlState(error) !== lockNotAvailable) throw error
        await connection.query('rollback')
        return false
      }
    })
  }

  resign(): void {
    this.#isLeading = false
    this.#relay.close()
  }

  progress(asked: Asked, signal: AbortSignal): Promise<Progress> {
    return this.#relay.run(signal, async (connection) => {
      if (!this.#isLeading) throw new Error('another instance may relay by now')
      const { rows } = await connection.query<ProgressRow>(progressStatement, [
        this.#namespace,
        mostOwedCounted,
        asked.l2 ? formatSnapshot(asked.l2) : null,
        asked.log ? formatSnapshot(asked.log) : null,
      ])
      if (!rows[0]) throw this.#unregistered()
      return progressOf(rows[0], asked)
    })
  }

  page(
    since: Snapshot | undefined,
    until: Snapshot | undefined,
    after: string | undefined,
    signal: AbortSignal,
  ): Promise<RowPage> {
    const [afterXid, afterRow] = after?.split(':') ?? ['0', '0']
    return this.#inTransaction(signal, async (connection) => {
      const { rows } = await connection.query<PageRow>(pageStatement, [
        this.#namespace,
        String(since?.xmax ?? 0),
        since?.xip.map(String) ?? [],
        until ? formatSnapshot(until) : null,
        afterXid,
        afterRow,
        outboxBatch,
        mostIdsAClaim,
      ])
      const first = rows[0]
      if (!first) throw this.#unregistered()
      const incarnation = incarnationOf(first.incarnation)
      if (!incarnation) throw new Error('the database has begun a new incarnation')
      const found = rows.filter((row): row is PageRow & Row => row.row_id != null)
      const whole = found.filter(hasIds)
      const isLast = whole.length === found.length && found.length < outboxBatch
      const last = whole.at(-1)
      return {
        incarnation,
        rows: whole.map(outboxRow),
        versions: versionsOf(first.versions),
        next: isLast || !last ? undefined : `${last.xid}:${last.row_id}`,
        snapshot: parseSnapshot(first.snapshot, incarnation),
        pruned: parseSnapshot(first.pruned, incarnation),
      }
    })
  }

  async repeated(upTo: Snapshot, signal: AbortSignal): Promise<void> {
    await this.#inTransaction(signal, (connection) =>
      connection.query(repeatedStatement, [
        this.#namespace,
        formatSnapshot(upTo),
        upTo.incarnation,
      ]),
    )
  }

  /** Closes the connections of its own; the pool is not this object's. */
  close(): void {
    this.#tail.close()
    this.#relay.close()
  }

  async #listenOn(connection: Client): Promise<void> {
    connection.on('notification', ({ payload }) => {
      if (payload === this.#namespace) this.#wake()
    })
    await connection.query(listenStatement)
  }

  async #poll(connection: Client, since: Snapshot | undefined): Promise<Poll> {
    const { rows } = await connection.query<PollRow>(pollStatement, [
      this.#namespace,
      // Without a snapshot nothing is new.
      String(since?.xmax ?? Number.MAX_SAFE_INTEGER),
      since?.xip.map(String) ?? [],
      mostRowsAPoll + 1,
      mostIdsAPoll,
    ])
    const first = rows[0]
    if (!first) throw this.#unregistered()
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
    const found = rows.filter((row): row is PollRow & Row => row.row_id != null)
    const whole = found.filter(hasIds)
    return {
      snapshot: parseSnapshot(first.snapshot, incarnation),
      rows: whole.map(outboxRow),
      missed: found.length > Math.min(whole.length, mostRowsAPoll),
      isForeign: found.some((row) => row.told_by_writer === false),
      isRelayDue: first.is_relay_due,
      isAwaited: first.is_awaited,
      pruned: parseSnapshot(first.pruned, incarnation),
    }
  }

  #unregistered(): Error {
    return new Error(`namespace "${this.#namespace}" is not registered`)
  }

  #inTransaction<T>(signal: AbortSignal, run: (connection: Client) => Promise<T>): Promise<T> {
    return inTransaction(this.#pool, signal, run)
  }
}
