/** What is claimed of the outbox to tell others of, and marked when they have been told. */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import { mostIdsAClaim, outboxBatch } from '../model/defaults.ts'
import type { Claim, Destination } from '../model/outbox-port.ts'
import { parseIncarnation } from '../model/snapshot.ts'
import { inTransaction, silenceMs } from './in-transaction.ts'
import type { Registration } from './namespace.ts'
import { claimStatement, hasIds, markStatement, outboxRow, type Row } from './outbox-statements.ts'
import { outboxPlane } from './plane.ts'
import type { Pool } from './pool.ts'
import { type VersionsRow, versionsOf } from './versions.ts'

/** Often enough for a database that takes whoever is silent for dead. */
const beatMs = silenceMs / 4

interface ClaimRow extends Row, VersionsRow {
  readonly incarnation: string | null
}

export class OutboxClaims {
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #registration: Registration
  readonly #namespace: string
  /** The next claim begins after this row. */
  readonly #claimedUpTo: Record<Destination, string> = { l2: '0', log: '0' }

  constructor(pool: Pool, registration: Registration, clock: Clock) {
    this.#pool = pool
    this.#clock = clock
    this.#registration = registration
    this.#namespace = registration.namespace
  }

  async claim(
    destination: Destination,
    minAgeMs: number,
    tell: (claim: Claim) => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<number> {
    return inTransaction(this.#pool, signal, async (connection) => {
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
    await inTransaction(this.#pool, signal, (connection) => this.#mark(connection, rowIds, told))
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
}
