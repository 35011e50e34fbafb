import knex, { type Knex } from 'knex'
import type { Client } from 'pg'
import { isPlainObject, wrong } from '../model/entity.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import { type Logger, silent } from '../model/log.ts'
import { sqlState } from './retryable.ts'

export type Db = Knex
export type Tx = Knex.Transaction

/** The primary alone, or with replicas. */
export type PostgresOptions = PostgresPlace | PostgresPlaces

export interface PostgresPlaces {
  /** Takes all writes, and every load that no replica may answer. */
  readonly primary: PostgresPlace
  /**
   * Hot standbys that follow the primary, in the same database. Loads go to them in turn, as far as
   * they are known to miss nothing that the primary had shown before the load; strong reads never do.
   */
  readonly replicas?: readonly PostgresPlace[]
}

/** One server: a URL, a Knex connection object, or a Knex instance of one's own (which stays open). */
export type PostgresPlace =
  | string
  | (Knex.PgConnectionConfig & { readonly pool?: { readonly max?: number } })
  | Knex

/** One connection as a Knex; whoever gives the connection back ends its turns before. */
interface Bound {
  readonly db: Db
  readonly turns: Turns
}

export interface Pool {
  readonly knex: Knex
  /** Runs everything on one connection of the pool, so that it can be broken when it takes too long. */
  on(connection: Client): Bound
  /** A connection of its own beside the pool; who opens it closes it. Rejects with `SOURCE_UNAVAILABLE`. */
  connect(): Promise<Client>
  /** Closes what was opened here. */
  close(): Promise<void>
}

const defaultPoolSize = 10
const connectTimeoutMs = 2_000

/** `option`: what it is called in errors. */
export function openPool(options: PostgresPlace, log: Logger = silent, option = 'postgres'): Pool {
  const isOwn = typeof options !== 'function'
  const isUsable = isOwn
    ? typeof options === 'string' || isPlainObject(options)
    : 'client' in options
  // Anything else would be taken for a connection without a host, which is this machine.
  if (!isUsable) {
    throw wrong(option, options, 'a URL, a connection object or a Knex instance would do')
  }
  const db = isOwn ? knex(settingsOf(options, log, option)) : options
  const client = db.client as RawClient
  if (client.dialect !== 'postgresql') {
    throw new LockstepError(
      'OPTION_INVALID',
      `option "${option}" is a Knex instance for ${client.dialect}; one with client 'pg' would do`,
    )
  }
  const bound = new WeakMap<Client, Bound>()
  return {
    knex: db,
    on: (connection) => {
      let one = bound.get(connection)
      if (!one) {
        one = boundTo(db, connection)
        bound.set(connection, one)
      }
      return one
    },
    connect: async () => {
      const connection = await client.acquireRawConnection().catch((error: unknown) => {
        throw unavailable(error)
      })
      // Without a listener a connection that breaks while idle would end the process.
      connection.on('error', () => {})
      return connection
    },
    close: async () => {
      if (isOwn) await db.destroy()
    },
  }
}

function boundTo(db: Knex, connection: Client): Bound {
  const one = db.withUserParams({})
  const client = one.client as RawClient
  client.acquireConnection = async () => connection
  client.releaseConnection = async () => {}
  return { db: one, turns: inTurn(one) }
}

const over = 'the transaction or the load of this statement is over'

/** Statements of one connection, one after the other: pg takes no second one while one is under way. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve()
  #round = 0
  #isOver = false

  take<T>(send: () => Promise<T>): Promise<T> {
    if (this.#isOver) return Promise.reject(new Error(over))
    const round = this.#round
    const next = this.#last.then(() => {
      if (round !== this.#round) throw new Error(over)
      return send()
    })
    this.#last = next.catch(() => {})
    return next
  }

  /** Resolves when every statement that was given until now has been answered. */
  async quiet(): Promise<void> {
    await this.#last
  }

  /**
   * Those that still wait are never sent: they would run after the end of their transaction, each on
   * its own, or in the next one's. Resolves when the one that is under way has been answered.
   */
  async end(): Promise<void> {
    this.#round++
    await this.#last
  }

  /** As `end`, and none is taken any more. */
  close(): void {
    this.#isOver = true
    this.#round++
  }
}

/** From now on the statements of this Knex take turns. */
export function inTurn(db: Knex): Turns {
  const client = db.client as RawClient
  const query = client._query.bind(client)
  const turns = new Turns()
  client._query = (connection, one) => {
    const { sql = '' } = one as { readonly sql?: string }
    // A ROLLBACK is how Knex learns that its transaction is over.
    if (/^rollback\b/i.test(sql)) return query(connection, one)
    return turns.take(() => query(connection, one))
  }
  return turns
}

/** The parts of Knex' client that are used here. */
export interface RawClient {
  readonly dialect: string
  acquireRawConnection(): Promise<Client>
  acquireConnection: () => Promise<Client>
  releaseConnection: (connection: Client) => Promise<void>
  _query: (connection: Client, query: unknown) => Promise<unknown>
}

function settingsOf(
  options: string | Knex.PgConnectionConfig,
  log: Logger,
  option: string,
): Knex.Config {
  const { pool, ...connection } =
    typeof options === 'string'
      ? { connectionString: checkUrl(options, option), pool: undefined }
      : { pool: undefined, ...options }
  return {
    client: 'pg',
    connection: {
      application_name: 'lockstep',
      connectionTimeoutMillis: connectTimeoutMs,
      keepAlive: true,
      ...connection,
    },
    // A pool that keeps none open is empty after an outage, instead of full of dead connections.
    pool: { min: 0, max: defaultPoolSize, ...(pool as object | undefined) },
    acquireConnectionTimeout: connectTimeoutMs,
    // Knex prints to the console otherwise.
    log: {
      debug: (message) => log.debug({}, String(message)),
      // That a connection has ended while nobody used it, or was broken here, costs a new one.
      warn: (message) =>
        log[String(message).startsWith('Connection Error:') ? 'debug' : 'warn'](
          {},
          String(message),
        ),
      error: (message) => log.error({}, String(message)),
      deprecate: (message) => log.warn({}, String(message)),
    },
  }
}

function checkUrl(url: string, option: string): string {
  if (URL.canParse(url) && /^postgres(ql)?:$/.test(new URL(url).protocol)) return url
  throw new LockstepError(
    'OPTION_INVALID',
    `option "${option}" is no URL of PostgreSQL; postgres://user:password@host:5432/database would do`,
  )
}

/** read_only_sql_transaction: its default is read-only, or it is a standby. */
const readOnly = '25006'

/** An error of the database or the way to it, as the library tells it; never with the URL. */
export function unavailable(error: unknown): LockstepError {
  if (error instanceof LockstepError) return error
  const code = sqlState(error) === readOnly ? 'SOURCE_READONLY' : 'SOURCE_UNAVAILABLE'
  return new LockstepError(code, `PostgreSQL: ${messageOf(error)}`, { cause: error })
}
