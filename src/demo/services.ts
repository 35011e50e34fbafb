/** What the demo runs on: said at the start where it can't, and told with the results. */
import type { Config } from '../config.ts'
import { kafkaVersion } from '../kafka/version.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import type { Pool } from '../postgres/pool.ts'
import { connectRedis, type RedisConnections } from '../redis/connection.ts'

interface Service {
  readonly version: string
  /** Without its password. */
  readonly url: string
}

export interface Services {
  readonly postgres: Service
  readonly redis: Service
  /** Absent: the demo runs on the outbox alone. */
  readonly kafka?: Service
}

export interface Addresses {
  readonly databaseUrl: string
  readonly redisUrl: string
  /** `undefined`: every instance tails the outbox. */
  readonly kafkaBrokers: string | undefined
}

const redisDeadlineMs = 2_000
const kafkaDeadlineMs = 5_000

/** Throws `OPTION_INVALID` when the environment doesn't say where PostgreSQL and Redis are, or Kafka where that is wanted. */
export function addressesOf(config: Config, withKafka: boolean): Addresses {
  const { databaseUrl, redisUrl } = config
  if (databaseUrl === undefined) throw missing('DATABASE_URL', 'postgres://user@host:5432/database')
  if (redisUrl === undefined) throw missing('REDIS_URL', 'redis://host:6379')
  const kafkaBrokers = withKafka ? config.kafkaBrokers : undefined
  if (withKafka && kafkaBrokers === undefined) throw missing('KAFKA_BROKERS', '127.0.0.1:9092')
  return { databaseUrl, redisUrl, kafkaBrokers }
}

export async function findServices(
  pool: Pool,
  { databaseUrl, redisUrl, kafkaBrokers }: Addresses,
  log: Logger,
): Promise<Services> {
  const [postgres, redis, kafka] = await Promise.all([
    postgresVersion(pool),
    redisVersion(redisUrl, log),
    kafkaBrokers === undefined ? undefined : kafkaOf(kafkaBrokers, log),
  ])
  return {
    postgres: { version: postgres, url: maskUrl(databaseUrl) },
    redis: { version: redis, url: maskUrl(redisUrl) },
    ...(kafka && { kafka }),
  }
}

/** Brokers have no secrets in their names: what is none is refused, and not repeated. */
async function kafkaOf(brokers: string, log: Logger): Promise<Service> {
  const signal = AbortSignal.timeout(kafkaDeadlineMs)
  return { version: await kafkaVersion(brokers, log, signal), url: brokers }
}

/** The URL as it may be shown. */
export function maskUrl(url: string): string {
  const masked = new URL(url)
  if (masked.password) masked.password = '***'
  if (masked.searchParams.has('password')) masked.searchParams.set('password', '***')
  return masked.href
}

export async function postgresVersion(pool: Pool): Promise<string> {
  const { rows } = await pool.knex.raw<{ rows: { version: string }[] }>(
    `select current_setting('server_version') as version`,
  )
  return rows[0]?.version ?? 'unknown'
}

async function redisVersion(url: string, log: Logger): Promise<string> {
  const connections = await connectRedis(url, 'lockstep:demo', redisDeadlineMs, log)
  try {
    return await versionOf(connections.commands)
  } catch (error) {
    throw new Error(
      `the demo needs Redis, and ${maskUrl(url)} can't be reached (${messageOf(error)})`,
      { cause: error },
    )
  } finally {
    connections.close()
  }
}

/** Rejects when Redis can't be reached. */
export async function versionOf(redis: RedisConnections['commands']): Promise<string> {
  const info = await redis.info('server')
  return /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown'
}

export function missing(name: string, example: string): LockstepError {
  return new LockstepError('OPTION_INVALID', `${name} is not set; ${example} would do`)
}
