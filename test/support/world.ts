/** One table and one namespace of a test's own, and as many caches over them as it wants. */
import { createHash } from 'node:crypto'
import { Redis } from 'ioredis'
import { expect, onTestFinished } from 'vitest'
import { assemble } from '../../src/lockstep.ts'
import type { BloomOptions } from '../../src/model/bloom-option.ts'
import type { Timing } from '../../src/model/defaults.ts'
import { type Db, openPool, type Tx } from '../../src/postgres/pool.ts'
import type { Parts } from '../../src/running-cache.ts'
import { type Cache, entity, type LockstepOptions } from '../../src/types.ts'
import { until } from './until.ts'

export { until }

export interface Item {
  readonly id: number
  readonly version: number
}

export type ItemWorldCache = Cache<{ item: ReturnType<typeof itemEntity> }>

/** A place where a load can be held: it has read its rows, and has not returned them yet. */
export interface Gate {
  /** Resolves when somebody is held. */
  readonly held: Promise<void>
  readonly open: () => void
  readonly pass: () => Promise<void>
}

export function gate(): Gate {
  let open!: () => void
  let hold!: () => void
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const held = new Promise<void>((resolve) => {
    hold = resolve
  })
  return {
    held,
    open,
    pass: () => {
      hold()
      return opened
    },
  }
}

export interface OpenOptions {
  readonly replace?: (parts: Parts) => Parts
  readonly timing?: Timing
  /** Runs after the rows were read, before they are returned. */
  readonly afterRead?: (ids: readonly number[]) => Promise<void>
  readonly entity?: Partial<Parameters<typeof itemEntity>[0]>
  readonly options?: Partial<LockstepOptions<never>>
  readonly redisUrl?: string | undefined
}

interface ItemEntityOptions {
  readonly table: string
  readonly afterRead: (ids: readonly number[]) => Promise<void>
  readonly isolation?: 'read committed' | 'repeatable read'
  readonly writeThrough?: boolean
  readonly foreignWrites?: boolean
  readonly version?: number
  readonly ttl?: string
  readonly grace?: string
  readonly negativeTtl?: string
  readonly l1?: { maxEntries?: number }
  readonly hotKeys?: false | { threshold?: number }
  readonly bloom?: BloomOptions<number, Db>
}

function itemEntity({ table, afterRead, ...options }: ItemEntityOptions) {
  return entity('item', {
    load: async (ids: number[], { db }) => {
      const rows = await db<Item>(table).whereIn('id', ids)
      await afterRead(ids)
      return rows
    },
    id: (row: Item) => row.id,
    ...options,
  })
}

interface WorldKafka {
  readonly brokers: readonly string[]
  readonly topic: string
}

export interface World {
  readonly namespace: string
  readonly table: string
  readonly databaseUrl: string
  readonly redisUrl: string
  readonly kafka: WorldKafka | undefined
  readonly redis: Redis
  readonly valueKey: (id: number, version?: number) => string
  readonly fenceKey: (id: number) => string
  open(options?: OpenOptions): Promise<ItemWorldCache>
  /** A write as anybody would do it, with the version that the row has then. */
  write(
    cache: ItemWorldCache,
    id: number,
  ): Promise<{ ticket: string; version: number; fenced: boolean }>
  /** The version in PostgreSQL. */
  truth(id: number): Promise<number | undefined>
  sql(text: string): Promise<readonly Record<string, unknown>[]>
}

export function required(name: 'DATABASE_URL' | 'REDIS_URL'): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: run the tests with \`npm test\``)
  return value
}

export type PlaneName = 'outbox' | 'kafka'
/** For `describe.each`: what is promised is promised on both durable planes. */
export const planes: readonly PlaneName[] = ['outbox', 'kafka']

export interface WorldOptions {
  readonly databaseUrl?: string
  readonly redisUrl?: string
  /** `kafka`: over a topic of its own of the shared broker, or of these brokers. */
  readonly plane?: PlaneName
  readonly brokers?: readonly string[]
}

export async function openWorld(options: WorldOptions = {}): Promise<World> {
  const { databaseUrl = required('DATABASE_URL'), redisUrl = required('REDIS_URL') } = options
  const name = `${expect.getState().testPath} ${expect.getState().currentTestName} ${process.pid}`
  const mark = createHash('sha256').update(name).digest('hex').slice(0, 12)
  const namespace = `test-${mark}`
  const table = `test_${mark}`
  const pool = openPool({ connectionString: databaseUrl, pool: { max: 4 } } as never)
  const redis = new Redis(redisUrl)
  // Without a listener ioredis prints each failed attempt, and some tests stop their server.
  redis.on('error', () => {})
  onTestFinished(async () => {
    await pool.knex.schema.dropTableIfExists(table).catch(() => {})
    await pool.close()
    redis.disconnect()
  })
  const kafka = options.plane === 'kafka' ? await ownLog(options.brokers) : undefined
  await pool.knex.schema.dropTableIfExists(table)
  await pool.knex.raw(`create table ${table} (id int primary key, version int not null default 0)`)
  await pool.knex.raw(`insert into ${table} (id) select generate_series(1, 50)`)
  const open = async (wanted: OpenOptions = {}): Promise<ItemWorldCache> => {
    const item = itemEntity({ table, afterRead: async () => {}, ...pick(wanted), ...wanted.entity })
    const cache = await assemble(
      {
        namespace,
        postgres: databaseUrl,
        redis: 'redisUrl' in wanted ? wanted.redisUrl : redisUrl,
        ...(kafka ? { kafka } : {}),
        entities: { item },
        // Long, so that a busy machine breaks no promise; what is about deadlines sets its own.
        timing: {
          redisDeadline: '2s',
          loadDeadline: '20s',
          readDeadline: '25s',
          writeDeadline: '3s',
          ...wanted.timing,
        },
        ...wanted.options,
      },
      wanted.replace ?? ((parts) => parts),
    )
    onTestFinished(() => cache.close({ timeout: 0 }))
    return cache
  }
  return {
    namespace,
    table,
    databaseUrl,
    redisUrl,
    kafka,
    redis,
    valueKey: (id, version = 1) => `${namespace}:{item:${id}}:v${version}`,
    fenceKey: (id) => `${namespace}:{item:${id}}:f`,
    open,
    write: async (cache, id) => {
      const { ticket, value, fenced } = await cache.item.write(id, (tx) => bump(tx, table, id))
      return { ticket, fenced, version: value[0]?.version ?? -1 }
    },
    truth: async (id) => (await pool.knex<Item>(table).where({ id }).first())?.version,
    sql: async (text) => (await pool.knex.raw(text)).rows,
  }
}

async function ownLog(brokers: readonly string[] | undefined): Promise<WorldKafka> {
  // Only where it is needed: it looks for Kafka's jars.
  const { ownTopic, sharedKafka } = await import('./kafka.ts')
  return brokers ? { brokers, topic: 'world' } : { brokers: sharedKafka(), topic: ownTopic() }
}

function pick({ afterRead }: OpenOptions): { afterRead?: NonNullable<OpenOptions['afterRead']> } {
  return afterRead ? { afterRead } : {}
}

export function bump(tx: Tx, table: string, id: number): PromiseLike<Item[]> {
  return tx<Item>(table).where({ id }).increment('version', 1).returning('*') as PromiseLike<Item[]>
}

/** An id that no test writes. */
const untouchedId = 50

/** What lies in Redis is proven to this cache: strong reads find it there. */
export async function untilProven(cache: {
  readonly item: {
    getEntry(id: number, options?: { consistency: 'strong' }): Promise<{ tier: string }>
  }
}): Promise<void> {
  await until('what lies in Redis is proven', async () => {
    // While a breaker closes it still refuses some.
    await cache.item.getEntry(untouchedId).catch(() => undefined)
    const strong = await cache.item
      .getEntry(untouchedId, { consistency: 'strong' })
      .catch(() => undefined)
    return strong?.tier === 'l2'
  })
}

/** The writers have said what they had told: whoever relays does none of it again. */
export async function untilMarked(world: World): Promise<void> {
  const isFinished = world.kafka ? 'applied and published' : 'applied'
  await until('all rows are marked', async () => {
    const [row] = await world.sql(
      `select count(*)::int as count from lockstep.outbox
       where namespace = '${world.namespace}' and not (${isFinished})`,
    )
    return row?.count === 0
  })
}
