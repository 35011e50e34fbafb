/**
 * What the bench runs on, from its first table to the last key removed: a schema and a namespace of
 * its own, one bench at a time, nothing left behind however it ends. What a killed one has left, the
 * next one removes.
 */
import { arch, cpus, loadavg } from 'node:os'
import type { Config } from '../config.ts'
import { missing, postgresVersion, versionOf } from '../demo/services.ts'
import { lockstep } from '../lockstep.ts'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { closeOnAbort } from '../postgres/abort.ts'
import { migrate } from '../postgres/migrations.ts'
import { openPool, type Pool } from '../postgres/pool.ts'
import { connectRedis, type RedisConnections } from '../redis/connection.ts'
import { allIds, type City, chunksOf, cityOf, type Size } from './data.ts'
import { fillIds } from './ids.ts'
import { type FoundKafka, findKafka, removeTopic } from './kafka.ts'
import {
  type CityCache,
  cityEntity,
  type EntityName,
  namespacesOf,
  type Place,
  schema,
  tableOf,
} from './places.ts'
import { dropKeys } from './sweep.ts'

export type Redis = RedisConnections['commands']

/** No host, no path: a document that may be shown. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly node: string
  readonly postgres: string
  /** `null`: the bench runs without. */
  readonly redis: string | null
  readonly kafka: string | null
  /** Mean number of running processes in the minute before. */
  readonly load: number
}

export interface Stage {
  readonly place: Place
  readonly pool: Pool
  /** Both sides send over this one connection. */
  readonly redis: Redis | undefined
  /** Why there is no Redis. */
  readonly withoutRedis: string | undefined
  /** Why there is no Kafka. */
  readonly withoutKafka: string | undefined
  readonly machine: Machine
  readonly log: Logger
  /** Rows of that size are in PostgreSQL. */
  withTable(size: Size): Promise<void>
  /** And in the table of ids just 1 to `count`. */
  withIds(count: number): Promise<void>
  /** Runs when everything has been measured. */
  atEnd(close: () => Promise<void>): void
  /** A cache over the stage's connections; who opens it closes it. */
  openCache(options: CacheChoice): Promise<CityCache>
}

interface CacheChoice {
  readonly name: EntityName
  readonly size: Size
  readonly maxEntries: number
}

/** Everything runs on one machine, often a busy one: slow is no failure here. */
export const timing = {
  redisDeadline: '2s',
  loadDeadline: '3s',
  readDeadline: '10s',
  writeDeadline: '3s',
} as const

/** An arbitrary number that is the same everywhere: `bench` in ASCII. */
const lock = '422608528232'
const redisDeadlineMs = 2_000
const rowsPerInsert = 2_000

/** Rejects when PostgreSQL can't be reached, with what `run` rejects with, or with the signal's reason. */
export async function onStage<T>(
  config: Config,
  log: Logger,
  signal: AbortSignal,
  run: (stage: Stage) => Promise<T>,
): Promise<T> {
  const { databaseUrl } = config
  if (databaseUrl === undefined) throw missing('DATABASE_URL', 'postgres://user@host:5432/database')
  const namespaces = namespacesOf(config.namespace)
  const pool = openPool(databaseUrl, log)
  try {
    await migrate(pool)
    const redis = await openRedis(config.redisUrl, namespaces.namespace, log)
    const kafka = await findKafka(config.kafkaBrokers, log)
    try {
      const redisUrl = redis.commands && config.redisUrl
      const place = { databaseUrl, redisUrl, kafkaBrokers: kafka.brokers, ...namespaces }
      const found = { place, pool, redis, kafka, log }
      return await alone(pool, signal, log, () => staged(found, signal, run))
    } finally {
      redis.close()
    }
  } finally {
    await pool.close()
  }
}

interface OpenedRedis {
  readonly commands: Redis | undefined
  readonly version: string | null
  readonly why: string | undefined
  close(): void
}

async function openRedis(
  url: string | undefined,
  namespace: string,
  log: Logger,
): Promise<OpenedRedis> {
  const without = (why: string): OpenedRedis => {
    return { commands: undefined, version: null, why, close: () => {} }
  }
  if (url === undefined) return without('REDIS_URL is not set')
  const connections = await connectRedis(url, `${namespace}:bus`, redisDeadlineMs, log)
  try {
    const version = await versionOf(connections.commands)
    const close = (): void => connections.close()
    return { commands: connections.commands, version, why: undefined, close }
  } catch (error) {
    connections.close()
    return without(`the Redis of REDIS_URL can't be reached: ${messageOf(error)}`)
  }
}

/** Two benches at once would measure each other. */
async function alone<T>(
  pool: Pool,
  signal: AbortSignal,
  log: Logger,
  run: () => Promise<T>,
): Promise<T> {
  const connection = await pool.connect()
  const endWatch = closeOnAbort(connection, signal)
  try {
    const { rows } = await connection.query<{ taken: boolean }>(
      `select pg_try_advisory_lock(${lock}) as taken`,
    )
    if (!rows[0]?.taken) {
      log.warn({}, 'another bench is running; waiting for it')
      await connection.query(`select pg_advisory_lock(${lock})`)
    }
    // From here on the lock is kept until everything has been removed.
    endWatch()
    return await run()
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    endWatch()
    connection.end().catch(() => {})
  }
}

interface Found {
  readonly place: Place
  readonly pool: Pool
  readonly redis: OpenedRedis
  readonly kafka: FoundKafka
  readonly log: Logger
}

async function staged<T>(
  { place, pool, redis, kafka, log }: Found,
  signal: AbortSignal,
  run: (stage: Stage) => Promise<T>,
): Promise<T> {
  const [cpu] = cpus()
  const tables = new Map<Size, Promise<void>>()
  const closers: (() => Promise<void>)[] = []
  const stage: Stage = {
    place,
    pool,
    redis: redis.commands,
    withoutRedis: redis.why,
    withoutKafka: kafka.why,
    machine: {
      cpu: cpu?.model.trim() || arch(),
      cores: cpus().length,
      node: process.versions.node,
      postgres: await postgresVersion(pool),
      redis: redis.version,
      kafka: kafka.version,
      load: loadavg()[0] ?? 0,
    },
    log,
    withTable: (size) => {
      const table = tables.get(size) ?? build(pool, size, signal)
      tables.set(size, table)
      return table
    },
    withIds: (count) => fillIds(pool, count, signal),
    atEnd: (close) => void closers.push(close),
    openCache: async ({ name, size, maxEntries }) => {
      await stage.withTable(size)
      return lockstep({
        namespace: place.namespace,
        postgres: pool.knex,
        redis: redis.commands,
        entities: { city: cityEntity(name, size, { l1: { maxEntries } }) },
        timing,
        logger: log,
      })
    },
  }
  try {
    if (await hasLeftovers(pool)) await strike(stage)
    await pool.knex.raw(`create schema ${schema}`)
    return await run(stage)
  } finally {
    for (const close of closers) await close()
    await strike(stage)
  }
}

/** Of a bench that was killed: what it had begun with is the last that is removed. */
async function hasLeftovers({ knex }: Pool): Promise<boolean> {
  const { rows } = await knex.raw<{ rows: { found: boolean }[] }>(
    'select exists (select from pg_namespace where nspname = ?) as found',
    [schema],
  )
  return rows[0]?.found ?? false
}

async function build({ knex }: Pool, size: Size, signal: AbortSignal): Promise<void> {
  await knex.raw(`
    create table ${tableOf(size)} (
      id integer primary key,
      name text not null,
      country text not null,
      lat double precision not null,
      lng double precision not null,
      version integer not null,
      note text not null
    ) with (fillfactor = 70)`)
  for (const ids of chunksOf(allIds(), rowsPerInsert)) {
    signal.throwIfAborted()
    const cities: readonly City[] = ids.map((id) => cityOf(id, size))
    await knex.raw(
      `insert into ${tableOf(size)}
       select * from jsonb_populate_recordset(null::${tableOf(size)}, ?::jsonb)`,
      [JSON.stringify(cities)],
    )
  }
  await knex.raw(`analyze ${tableOf(size)}`)
}

/** Removes whatever is there. */
async function strike({
  pool,
  redis,
  place,
  log,
}: Pick<Stage, 'pool' | 'redis' | 'place' | 'log'>): Promise<void> {
  const namespaces = [place.namespace, ...Object.values(place.others)]
  if (redis) for (const namespace of outermost(namespaces)) await dropKeys(redis, namespace)
  for (const table of ['outbox', 'instances']) {
    await pool.knex.raw(`delete from lockstep.${table} where namespace = any(?)`, [namespaces])
  }
  await pool.knex.raw('delete from lockstep.namespaces where name = any(?)', [namespaces])
  await removeTopic(place, log)
  await pool.knex.raw(`drop schema if exists ${schema} cascade`)
}

/** Those that the keys of all begin with. */
function outermost(namespaces: readonly string[]): readonly string[] {
  return namespaces.filter((one) => !namespaces.some((other) => one.startsWith(`${other}:`)))
}
