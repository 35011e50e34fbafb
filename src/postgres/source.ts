/**
 * PostgreSQL as the source of truth: loads, and the transaction of a write (DESIGN §4.5, §5.1–5.3).
 * Each wait ends with its signal, by breaking the connection it waits on: the transaction of a
 * broken connection is rolled back unless its COMMIT had arrived.
 */
import type { Client } from 'pg'
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { Loaded, Replicas, Source, Transaction } from '../model/source-port.ts'
import { abortable } from '../resilience/deadline.ts'
import type { Hop } from '../resilience/hop.ts'
import { hold } from './abort.ts'
import { failureOver } from './broken-connection.ts'
import { type Db, inTurn, type RawClient, type Tx, unavailable } from './pool.ts'
import type { WriteOptions } from './record.ts'
import { isRetryableFailure, sqlState } from './retryable.ts'
import { runLoader } from './run-loader.ts'
import { takeSnapshot } from './snapshot.ts'
import { JoinedTransaction, OwnTransaction } from './transaction.ts'

export interface SourceOptions extends WriteOptions {
  readonly replicas?: Replicas | undefined
  /** What loads and the beginnings of transactions go through; what comes after a beginning is its caller's. */
  readonly hop?: Pick<Hop, 'run'>
}

export class PostgresSource implements Source<Tx> {
  readonly replicas: Replicas | undefined
  readonly #options: SourceOptions
  readonly #db: Db
  readonly #client: RawClient

  constructor(options: SourceOptions) {
    this.replicas = options.replicas
    this.#options = options
    this.#db = options.pool.knex
    this.#client = this.#db.client as RawClient
  }

  async load(entity: AnyEntity, ids: readonly unknown[], signal: AbortSignal): Promise<Loaded> {
    const { hop } = this.#options
    const load = (): Promise<Loaded> => this.#load(entity, ids, signal)
    try {
      return await (hop ? hop.run(load, signal) : load())
    } catch (error) {
      throw error instanceof OwnFailure ? error.cause : error
    }
  }

  async begin(signal: AbortSignal): Promise<Transaction<Tx>> {
    const { hop } = this.#options
    if (!hop) return this.#begin(signal)
    let beginning: Promise<Transaction<Tx>> | undefined
    try {
      return await hop.run(() => {
        beginning = this.#begin(signal)
        return beginning
      }, signal)
    } catch (error) {
      // Nobody waits for it any more; what begins all the same gives its connection back.
      beginning?.then((late) => late.rollback()).catch(() => {})
      throw unavailable(error)
    }
  }

  async #load(entity: AnyEntity, ids: readonly unknown[], signal: AbortSignal): Promise<Loaded> {
    const { pool } = this.#options
    return this.#withConnection(signal, async (connection) => {
      let snapshot: Snapshot | undefined
      const rows = await runLoader({ pool, connection, entity, ids, signal }, async () => {
        snapshot = await takeSnapshot(connection)
      })
      return { rows, snapshot }
    })
  }

  async #begin(signal: AbortSignal): Promise<Transaction<Tx>> {
    try {
      signal.throwIfAborted()
      const { connection, release } = await hold(this.#client, signal)
      try {
        const tx = await this.#db.transaction({ connection })
        return new OwnTransaction({ tx, turns: inTurn(tx), connection, release }, this.#options)
      } catch (error) {
        await release()
        throw error
      }
    } catch (error) {
      throw unavailable(error)
    }
  }

  join(tx: Tx): Transaction<Tx> {
    return new JoinedTransaction(tx, this.#options)
  }

  isRetryable(error: unknown): boolean {
    return isRetryableFailure(error)
  }

  async #withConnection<T>(
    signal: AbortSignal,
    run: (connection: Client) => Promise<T>,
  ): Promise<T> {
    const { connection, release } = await hold(this.#client, signal)
    try {
      // A loader that heeds no signal must not keep the connection from the others.
      return await abortable(run(connection), signal)
    } catch (error) {
      throw signal.aborted ? error : failureOfLoader(connection, error)
    } finally {
      await release()
    }
  }
}

/**
 * What a loader has failed with over a connection that is well, as when another service that it asks is
 * away: to the breaker this is an answer, whatever it is called.
 */
class OwnFailure extends Error {}

function failureOfLoader(connection: Client, error: unknown): unknown {
  const failure = failureOver(connection, error)
  const isOwn = failure === error && sqlState(error) === undefined
  return isOwn && !(error instanceof LockstepError) ? new OwnFailure('', { cause: error }) : failure
}
