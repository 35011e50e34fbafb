/** `lockstep doctor`: what it says of the environment and of what Lockstep keeps, and that it changes nothing. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { openPool } from '../../src/postgres/pool.ts'
import { installTriggers } from '../../src/postgres/triggers.ts'
import { cli } from '../support/cli.ts'
import { connect, emptyDatabase, ownDatabase, sharedDatabase } from '../support/database.ts'
import { diagnosed, doctor, secret } from '../support/doctor.ts'
import { createTopic, ownTopic, sharedKafka } from '../support/kafka.ts'
import { ownNamespace } from '../support/namespace.ts'
import {
  serveHttp,
  serveMetrics,
  serveSilence,
  startPrometheus,
  valueAt,
} from '../support/prometheus.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { openWorld, required, until, untilProven } from '../support/world.ts'

const kafkaOf = (topic: string) => ({
  KAFKA_BROKERS: sharedKafka().join(),
  LOCKSTEP_KAFKA_TOPIC: topic,
})

test('where instances run as they should, nothing is broken: exit code 0', async () => {
  const world = await openWorld({ plane: 'kafka', databaseUrl: await sharedDatabase() })
  const cache = await world.open()
  await untilProven(cache)
  const settings = {
    ...kafkaOf(world.kafka?.topic ?? ''),
    PROMETHEUS_URL: process.env.PROMETHEUS_URL,
  }
  const well = await doctor(settings)
  expect(well.all('broken')).toEqual([])
  expect(well.row('postgres-reachable').found).toMatch(/^PostgreSQL \d+.* at \S+:\d+$/)
  expect(well.row('redis-reachable').found).toMatch(/^Redis [\d.]+ at \S+:\d+$/)
  expect(well.row('lockstep-plane').found).toContain(world.kafka?.topic)
  expect(well.row('lockstep-instances').found).toBe('1 instance run')
  expect(well.row('lockstep-relay').found).toBe('an instance relays')
  expect(well.row('lockstep-database').state).toBe('ok')
  expect(well.all('ok')).toEqual(
    expect.arrayContaining([
      'redis-rights',
      'redis-writable',
      'kafka-partitions',
      'kafka-retention',
    ]),
  )

  await cache.flags.set('refresh.off', { for: '5m', reason: 'a test', author: 'anna' })
  const [flagged, mismatched, human] = await Promise.all([
    doctor({ ...settings, LOCKSTEP_FLAGS: 'bloom.off' }),
    diagnosed({}),
    cli(['doctor'], settings).ended,
  ])
  expect(flagged.row('lockstep-flags')).toMatchObject({
    state: 'warning',
    found: expect.stringMatching(
      /refresh\.off for all entities, until .* by operator "anna": "a test"/,
    ),
  })
  expect(flagged.row('lockstep-overrides').found).toContain('bloom.off')
  expect(flagged.state).toBe('warning')
  expect(mismatched.row('lockstep-plane')).toMatchObject({
    state: 'broken',
    remedy: expect.stringContaining(`LOCKSTEP_KAFKA_TOPIC=${world.kafka?.topic}`),
  })
  expect(human).toMatchObject({ code: 0, stderr: '' })
  expect(human.stdout).toMatch(/^check +state +found\n/)
  expect(human.stdout).toMatch(/warning: lockstep-flags: .*\n {2}why: .*\n {2}do: {2}.*unset/)
})

test('nothing is left behind in any service', async () => {
  const databaseUrl = await emptyDatabase()
  const topic = ownTopic()
  const namespace = ownNamespace()
  const world = await openWorld()
  const found = await doctor({ ...kafkaOf(topic), DATABASE_URL: databaseUrl })
  expect(found.row('postgres-schema')).toMatchObject({
    state: 'broken',
    remedy: expect.stringContaining('lockstep migrate'),
  })
  expect(found.all('broken')).toEqual(['postgres-schema'])
  expect(found.row('kafka-topic').found).toContain('not there yet')

  expect(await world.redis.keys(`${namespace}*`)).toEqual([])
  const client = await connect(databaseUrl)
  const { rows } = await client.query(`select from pg_namespace where nspname = 'lockstep'`)
  expect(rows).toEqual([])
  // It rejects where the topic is there.
  await createTopic(sharedKafka()[0] as string, topic, 1, { 'cleanup.policy': 'compact' })
  const compacted = await diagnosed({ ...kafkaOf(topic), DATABASE_URL: databaseUrl })
  expect(compacted.row('kafka-cleanup-policy').state).toBe('broken')
  expect(compacted.row('kafka-partitions')).toMatchObject({
    state: 'broken',
    found: '1 partition, and 3 are wanted',
  })
})

test('all that is wrong in the environment is told, and no service that can be asked is left out', async () => {
  const found = await doctor({
    DATABASE_URL: `mysql://me:${secret}@127.0.0.1/shop`,
    PROMETHEUS_URL: `prometheus:${secret}@9090`,
    KAFKA_BROKERS: sharedKafka().join(),
    LOCKSTEP_NAMESPCE: 'shop',
    LOCKSTEP_LOG_LEVEL: 'loud',
    LOCKSTEP_SERVE_PORT: '70000',
    LOCKSTEP_KAFKA_PASSWORD: secret,
  })
  const wrong = found.checks.filter(({ check }) => check === 'config-values')
  expect(wrong.map((row) => row.found.split(' ')[0])).toEqual([
    'LOCKSTEP_LOG_LEVEL',
    'LOCKSTEP_SERVE_PORT',
  ])
  expect(found.row('config-names').found).toBe(
    'LOCKSTEP_NAMESPCE is not known; did you mean LOCKSTEP_NAMESPACE?',
  )
  expect(found.row('config-kafka').found).toContain('LOCKSTEP_KAFKA_SASL is not set')
  expect(found.all('broken')).toEqual(
    expect.arrayContaining(['config-database-url', 'config-prometheus-url']),
  )
  expect(found.row('postgres-reachable')).toMatchObject({
    state: 'skipped',
    found: 'DATABASE_URL will not do',
  })
  expect(found.row('redis-reachable').state).toBe('ok')
})

test('used wrongly: exit code 2', async () => {
  const runs = [['--jsno'], ['--namespace', 'a b']].map((args) => cli(['doctor', ...args]).ended)
  for (const { code, stdout, stderr } of await Promise.all(runs)) {
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/jsno|namespace/)
  }
})

describe('services that are down, hang, or are others', () => {
  test('all of them refused', async () => {
    const found = await doctor({
      DATABASE_URL: `postgres://me:${secret}@127.0.0.1:1/shop`,
      REDIS_URL: `redis://:${secret}@127.0.0.1:1`,
      KAFKA_BROKERS: '127.0.0.1:1',
      PROMETHEUS_URL: `http://ops:${secret}@127.0.0.1:1`,
    })
    for (const place of ['postgres', 'redis', 'kafka', 'prometheus']) {
      expect(found.row(`${place}-reachable`)).toMatchObject({
        state: 'broken',
        found: 'nobody listens at 127.0.0.1:1 (ECONNREFUSED)',
      })
    }
    expect(found.row('postgres-schema').found).toBe('postgres-reachable has the reason')
    expect(found.row('lockstep-plane').state).toBe('skipped')
  })

  test('all of them hang: told within the deadlines', async () => {
    const silent = new URL(await serveSilence())
    const beganAtMs = performance.now()
    const found = await diagnosed({
      DATABASE_URL: `postgres://me:${secret}@${silent.host}/shop`,
      REDIS_URL: `redis://:${secret}@${silent.host}`,
      KAFKA_BROKERS: silent.host,
      PROMETHEUS_URL: silent.href,
    })
    expect(performance.now() - beganAtMs).toBeLessThan(15_000)
    for (const place of ['postgres', 'redis', 'kafka', 'prometheus']) {
      const { state, found: words } = found.row(`${place}-reachable`)
      expect(`${state}: ${words}`).toMatch(`broken: ${silent.host} does not answer (`)
    }
  })

  test('no user, no such database, TLS where there is none', async () => {
    const postgres = new URL(required('DATABASE_URL'))
    postgres.pathname = '/nobody_has_made_it'
    const redis = new URL(required('REDIS_URL'))
    redis.username = 'nobody'
    redis.password = secret
    const found = await diagnosed({
      DATABASE_URL: postgres.href,
      REDIS_URL: redis.href,
      KAFKA_BROKERS: sharedKafka().join(),
      LOCKSTEP_KAFKA_TLS: 'true',
    })
    expect(found.row('postgres-reachable').found).toContain('no such database')
    expect(found.row('redis-reachable').found).toContain('neither this user nor this password')
    expect(found.row('kafka-reachable')).toMatchObject({
      state: 'broken',
      remedy: expect.stringContaining('LOCKSTEP_KAFKA_TLS'),
    })
  })

  test('PostgreSQL hangs between two answers: what it has said counts, and the command ends', async () => {
    const proxy = await openTcpProxy(required('DATABASE_URL'))
    void proxy.at('pg_advisory_xact_lock', 'hang reply')
    const found = await doctor({ DATABASE_URL: proxy.through(await sharedDatabase()) })
    expect(found.row('postgres-triggers')).toMatchObject({ state: 'skipped' })
    expect(found.row('postgres-schema').state).toBe('ok')
    expect(found.all('broken')).toEqual([])
  })

  test('a signal ends it, whatever it waits for', async () => {
    const proxy = await openTcpProxy(required('REDIS_URL'))
    proxy.hang()
    const { child, ended } = cli(['doctor'], {
      REDIS_URL: proxy.through(required('REDIS_URL')),
      DATABASE_URL: 'postgres://127.0.0.1:1/shop',
    })
    await until('it waits for Redis', () => proxy.open > 0)
    const beganAtMs = performance.now()
    child.kill('SIGINT')
    expect(await ended).toEqual({ code: 1, stdout: '', stderr: 'lockstep: stopped by SIGINT\n' })
    expect(performance.now() - beganAtMs).toBeLessThan(2_000)
  })
})

test('Prometheus that wants another password, is something else, or has renamed the labels', async () => {
  const namespace = ownNamespace()
  const instance = await serveMetrics(
    () =>
      `lockstep_breaker_calls_total{exported_namespace="${namespace}",hop="l2",node="",outcome="failed"} 1\n`,
  )
  const server = await startPrometheus({ targets: { one: instance } })
  const barred = await serveHttp((_, response) => void response.writeHead(401).end())
  const stranger = await serveHttp((_, response) => void response.end(`<html>${secret}</html>`))
  await until('it has scraped', async () => {
    return (await valueAt(server, 'count(lockstep_breaker_calls_total)')) === 1
  })
  const found = (PROMETHEUS_URL: string) => diagnosed({ PROMETHEUS_URL })
  const [one, two, three] = await Promise.all([
    found(barred.replace('//', `//ops:${secret}@`)),
    found(stranger),
    found(server.url),
  ])
  expect(one.row('prometheus-reachable')).toMatchObject({
    state: 'broken',
    found: expect.stringMatching(/neither this user nor this password \(HTTP 401\)/),
  })
  expect(two.row('prometheus-reachable').found).toContain('something else answers')
  expect(three.row('prometheus-labels')).toMatchObject({ state: 'broken' })
})

test('a table whose partition lacks its triggers is told, with the command that mends it', async () => {
  const databaseUrl = await ownDatabase()
  const client = await connect(databaseUrl)
  await client.query('create table cities (id int primary key) partition by range (id)')
  const pool = openPool(databaseUrl)
  onTestFinished(() => pool.close())
  await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
  await client.query('create table cities_1 partition of cities for values from (0) to (9)')
  await client.query(`insert into lockstep.namespaces (name) values ('shop')`)

  const found = await doctor({ DATABASE_URL: databaseUrl }, '--namespace', 'shpo')
  expect(found.row('postgres-triggers')).toMatchObject({
    state: 'broken',
    found: 'lacking on public.cities_1',
    remedy: "lockstep triggers install 'public.cities' --entity city --id 'id'",
  })
  expect(found.row('lockstep-namespace').found).toContain('"shop"')
})
