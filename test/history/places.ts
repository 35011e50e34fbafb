/** The servers of a history, started for it alone, and the tables in them. */
import { openPool } from '../../src/postgres/pool.ts'
import { installTriggers } from '../../src/postgres/triggers.ts'
import { connect, migratedDatabase } from '../support/database.ts'
import type { KafkaServer } from '../support/kafka.ts'
import { type ReplicatedServer, startReplicatedRedis } from '../support/redis-replicas.ts'
import { type PostgresServer, startPostgres } from '../support/servers.ts'

export type PlaneName = 'outbox' | 'kafka'

export interface Places {
  readonly namespace: string
  readonly ids: number
  readonly postgres: PostgresServer
  /** The first is the primary; a failover turns them round. */
  readonly redis: [ReplicatedServer, ReplicatedServer]
  readonly kafka: { readonly server: KafkaServer; readonly topic: string } | undefined
  /** A connection past all proxies; a new one each time, since the server crashes now and then. */
  ask(sql: string): Promise<readonly Record<string, unknown>[]>
}

const ids = 48
/** No process writes it, so that nothing but a fault takes it out of L1. */
export const wellId = ids + 1
const kinds = ['item', 'through', 'foreign'] as const
const partitions = 3

export async function openPlaces(plane: PlaneName): Promise<Places> {
  const [postgres, primary, replica, kafka] = await Promise.all([
    startPostgres({ config: { max_connections: '300' } }),
    startReplicatedRedis(),
    startReplicatedRedis(),
    plane === 'kafka' ? startBroker() : undefined,
  ])
  await migratedDatabase(postgres)
  await replica.follow(primary)
  await layOut(postgres.url)
  return {
    namespace: 'history',
    ids,
    postgres,
    redis: [primary, replica],
    kafka: kafka && { server: kafka, topic: 'history' },
    ask: async (sql) => {
      const client = await connect(postgres.url)
      try {
        return (await client.query(sql)).rows
      } finally {
        await client.end().catch(() => {})
      }
    },
  }
}

async function startBroker(): Promise<KafkaServer> {
  // Only where it is needed: it looks for Kafka's jars.
  const { startKafka } = await import('../support/kafka.ts')
  return startKafka({ partitions })
}

async function layOut(url: string): Promise<void> {
  const client = await connect(url)
  for (const kind of kinds) await client.query(tableOf(kind))
  await client.query(
    `create table history_log (id int, version int, writer text not null, primary key (id, version))`,
  )
  await client.end()
  const pool = openPool(url)
  try {
    await installTriggers(pool, { table: 'history_foreign', entity: 'foreign', id: 'id' })
  } finally {
    await pool.close()
  }
}

function tableOf(kind: string): string {
  return `
    create table history_${kind} (id int primary key, version int not null default 0, writer text);
    insert into history_${kind} (id) select generate_series(1, ${wellId})`
}
