/**
 * The outbox in PostgreSQL: what the tail reads, what is claimed to tell others of, and what is
 * removed. Rows are found by snapshot difference, never by id or time: a transaction that took its
 * id early may commit late.
 */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import { mostIdsAClaim, mostOwedCounted, outboxBatch } from '../model/defaults.ts'
import type {
  Asked,
  Claim,
  Destination,
  Outbox,
  Poll,
  Probe,
  Progress,
  RowPage,
} from '../model/outbox-port.ts'
import { formatSnapshot, parseSnapshot, type Snapshot } from '../model/snapshot.ts'
import { inTransaction } from './in-transaction.ts'
import { lockNotAvailable, type Registration, unregistered } from './namespace.ts'
import { OutboxClaims } from './outbox-claims.ts'
import { hasIds, notifyStatement, outboxRow, pageStatement, type Row } from './outbox-statements.ts'
import { OutboxTail } from './outbox-tail.ts'
import { OwnConnection } from './own-connection.ts'
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
import { incarnationOf } from './snapshot.ts'
import { type VersionsRow, versionsOf } from './versions.ts'

interface PageRow extends Partial<Row>, VersionsRow {
  readonly snapshot: string
  readonly incarnation: string | null
  readonly pruned: string
}

export class PostgresOutbox implements Outbox {
  readonly #pool: Pool
  readonly #registration: Registration
  readonly #namespace: string
  readonly #tail: OutboxTail
  readonly #claims: OutboxClaims
  readonly #relay: OwnConnection
  /** The relay's connection is in the transaction that holds the lock. */
  #isLeading = false

  constructor(pool: Pool, registration: Registration, clock: Clock) {
    this.#pool = pool
    this.#registration = registration
    this.#namespace = registration.namespace
    this.#tail = new OutboxTail(pool, registration, clock)
    this.#claims = new OutboxClaims(pool, registration, clock)
    this.#relay = new OwnConnection(pool, async () => {
      this.#isLeading = false
    })
  }

  poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll> {
    return this.#tail.poll(since, signal)
  }

  async probe(signal: AbortSignal): Promise<Probe> {
    return this.poll(undefined, signal)
  }

  listen(wake: () => void): void {
    this.#tail.listen(wake)
  }

  async notify(signal: AbortSignal): Promise<void> {
    await this.#inTransaction(signal, (connection) =>
      connection.query(notifyStatement, [this.#namespace]),
    )
  }

  claim(
    destination: Destination,
    minAgeMs: number,
    tell: (claim: Claim) => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<number> {
    return this.#claims.claim(destination, minAgeMs, tell, signal)
  }

  mark(
    rowIds: readonly string[],
    told: readonly Destination[],
    signal: AbortSignal,
  ): Promise<void> {
    return this.#claims.mark(rowIds, told, signal)
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
      if (!rows[0]) throw unregistered(this.#namespace)
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
      if (!first) throw unregistered(this.#namespace)
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

  #inTransaction<T>(signal: AbortSignal, run: (connection: Client) => Promise<T>): Promise<T> {
    return inTransaction(this.#pool, signal, run)
  }
}
