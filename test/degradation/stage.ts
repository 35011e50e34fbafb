/** The servers of a matrix, started for it alone, each behind a proxy, and the tables in them. */

import { connect, migratedDatabase } from '../support/database.ts'
import { createTopic, type KafkaServer, startKafka } from '../support/kafka.ts'
import { type PrometheusServer, startPrometheus } from '../support/prometheus.ts'
import { freePort, startPostgres, startRedis } from '../support/servers.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import type { Service } from './cells.ts'

export interface Stage {
  readonly postgresUrl: string
  readonly redisUrl: string
  readonly kafka: KafkaServer
  readonly prometheus: PrometheusServer
  readonly proxies: Readonly<Record<Service, TcpProxy>>
  /** Where Prometheus looks for the metrics of each instance. */
  readonly metricsPorts: readonly number[]
  /** Past all proxies. */
  ask(sql: string): Promise<readonly Record<string, unknown>[]>
  /** Rows as they were at first, and a topic that nothing lies in. */
  begin(topic: string): Promise<void>
}

/** Rows that are read and written; one more is only read, to see how an instance is. */
export const ids = 48
export const wellId = ids + 1
export const steadyIds = 200
/** Of each instance: each is read once in a cell. */
export const coldIds = 10_000
const partitions = 3

export async function openStage(instances: number): Promise<Stage> {
  const metricsPorts: number[] = []
  for (let index = 0; index < instances; index++) metricsPorts.push(await freePort())
  const targets = metricsPorts.map((port, index) => [`instance-${index}`, `127.0.0.1:${port}`])
  const [postgres, redis, kafka, prometheus] = await Promise.all([
    startPostgres({ config: { max_connections: '200' } }),
    startRedis(),
    startKafka({ partitions }),
    startPrometheus({ targets: Object.fromEntries(targets) }),
  ])
  await migratedDatabase(postgres)
  const client = await connect(postgres.url)
  await client.query(tables(instances))
  const ask: Stage['ask'] = async (sql) => (await client.query(sql)).rows
  return {
    postgresUrl: postgres.url,
    redisUrl: redis.url,
    ...{ kafka, prometheus, metricsPorts, ask },
    proxies: {
      postgres: await openTcpProxy(postgres.url),
      redis: await openTcpProxy(redis.url),
      kafka: await openTcpProxy(`kafka://${kafka.brokers[0]}`),
      prometheus: await openTcpProxy(prometheus.url),
    },
    begin: async (topic) => {
      await ask(`truncate history_log; update history_item set version = 0, writer = null`)
      await createTopic(kafka.brokers[0] as string, topic, partitions)
    },
  }
}

const tables = (instances: number): string => `
  create table history_item (id int primary key, version int not null default 0, writer text);
  insert into history_item (id) select generate_series(1, ${wellId});
  create table history_log (id int, version int, writer text not null, primary key (id, version));
  create table degradation_steady (id int primary key, name text);
  insert into degradation_steady select id, 'steady ' || id from generate_series(1, ${steadyIds}) id;
  create table degradation_cold (id int primary key, name text);
  insert into degradation_cold select id, 'cold ' || id
    from generate_series(1, ${instances * coldIds}) id`
