/**
 * What the tail reads of the outbox: the rows that are visible now and were not in the last snapshot,
 * and the snapshot that sees them.
 */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import { mostIdsAPoll, mostRowsAPoll } from '../model/defaults.ts'
import type { Poll } from '../model/outbox-port.ts'
import {
  type Incarnation,
  parseIncarnation,
  parseSnapshot,
  type Snapshot,
} from '../model/snapshot.ts'
import { type Registration, register, unregistered } from './namespace.ts'
import { hasIds, listenStatement, outboxRow, pollStatement, type Row } from './outbox-statements.ts'
import { OwnConnection } from './own-connection.ts'
import type { Pool } from './pool.ts'
import { beginIncarnation } from './snapshot.ts'

interface PollRow extends Partial<Row> {
  readonly snapshot: string
  readonly incarnation: string | null
  readonly pruned: string
  readonly is_relay_due: boolean
  readonly is_awaited: boolean
  readonly told_by_writer?: boolean
}

export class OutboxTail {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #registration: Registration
  readonly #namespace: string
  /** What trust stands on: it waits for nothing else. */
  readonly #connection: OwnConnection
  #wake = (): void => {}
  #incarnation: Incarnation | undefined

  constructor(pool: Pool, registration: Registration, clock: Clock) {
    this.#pool = pool
    this.#clock = clock
    this.#registration = registration
    this.#namespace = registration.namespace
    this.#connection = new OwnConnection(pool, (connection) => this.#listenOn(connection))
  }

  poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll> {
    return this.#connection.run(signal, (connection) => this.#poll(connection, since))
  }

  listen(wake: () => void): void {
    this.#wake = wake
  }

  close(): void {
    this.#connection.close()
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
    if (!first) throw unregistered(this.#namespace)
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
}
