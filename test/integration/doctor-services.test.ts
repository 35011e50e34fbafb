/** `lockstep doctor`, before servers that are set up in ways in which no cache works. */
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { askPrepared, askTransactions } from '../../src/postgres/inspect-questions.ts'
import { connect, migratedDatabase, sharedDatabase } from '../support/database.ts'
import { diagnosed, secret } from '../support/doctor.ts'
import { startKafka } from '../support/kafka.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startPgBouncer } from '../support/pgbouncer.ts'
import { startPostgres, startRedis, startReplicated } from '../support/servers.ts'
import { until } from '../support/until.ts'
import { required } from '../support/world.ts'

const kilobyte = 'x'.repeat(1_024)

test('Redis: a wrong password, missing rights, a replica, a node of a cluster', async () => {
  const DATABASE_URL = await sharedDatabase()
  const [primary, replica, node] = await Promise.all([
    startRedis({ config: { requirepass: 'right', maxmemory: '100mb' } }),
    startRedis({ config: { masterauth: 'right' } }),
    startRedis({ config: { 'cluster-enabled': 'yes' } }),
  ])
  const url = primary.url.replace('//', '//:right@')
  const admin = new Redis(url)
  onTestFinished(() => admin.disconnect())
  const namespace = ownNamespace()
  const found = (REDIS_URL: string) => diagnosed({ DATABASE_URL, REDIS_URL })

  const least = `+info +get +evalsha +time +mget ~${namespace}:* -@dangerous`
  await admin.call('ACL', 'SETUSER', 'reader', 'on', '>word', ...least.split(' '), '+info')
  await admin.call('ACL', 'SETUSER', 'half', 'on', '>word', ...least.split(' '), '+eval', '+info')
  const follower = new Redis(replica.url)
  onTestFinished(() => follower.disconnect())
  await follower.replicaof('127.0.0.1', primary.port)
  await until('it follows', async () =>
    (await follower.info('replication')).includes('master_link_status:up'),
  )
  const as = (user: string): string => primary.url.replace('//', `//${user}@`)
  const [well, wrong, none, reader, half, copy, clustered] = await Promise.all([
    found(url),
    found(as(`:${secret}`)),
    found(primary.url),
    found(as('reader:word')),
    found(as('half:word')),
    found(replica.url),
    found(node.url),
  ])
  expect(well.all('broken')).toEqual([])
  expect(well.all('skipped', 'redis')).toEqual(['redis-cluster'])
  expect(well.row('redis-min-replicas').state).toBe('warning')
  for (const one of [wrong, none]) {
    expect(one.row('redis-reachable').found).toContain('neither this user nor this password')
  }
  expect(reader.row('redis-rights').found).toContain('EVAL')
  expect(half.row('redis-rights').found).toMatch(/may not use .*PUBLISH, SUBSCRIBE.*BITOP.*HMGET/)
  expect(half.row('redis-rights').found).not.toMatch(/INFO|MGET,/)
  expect(half.row('redis-pubsub').state).toBe('skipped')
  expect(copy.row('redis-primary')).toMatchObject({ state: 'broken', found: 'it is a replica' })
  expect(copy.row('redis-writable').found).toContain('READONLY')

  expect(clustered.row('redis-mode').found).toBe('it is a node of a cluster')
  expect(clustered.row('redis-cluster').found).toBe('cluster_state is fail')
})

test('Redis: too few replicas, and full', async () => {
  const server = await startRedis({
    config: { maxmemory: '4mb', 'maxmemory-policy': 'noeviction' },
  })
  const admin = new Redis(server.url)
  onTestFinished(() => admin.disconnect())
  await admin.config('SET', 'min-replicas-to-write', '3')
  const lonely = await diagnosed({ REDIS_URL: server.url })
  expect(lonely.row('redis-writable').remedy).toContain('min-replicas-to-write 0')
  await admin.config('SET', 'min-replicas-to-write', '0')
  await until('it is full', async () => {
    const put = admin.rpush('filler', ...Array.from({ length: 500 }, () => kilobyte))
    return put.then(
      () => false,
      (error: Error) => error.message.startsWith('OOM'),
    )
  })
  await admin.config('SET', 'maxmemory', '1mb')
  const full = await diagnosed({ REDIS_URL: server.url })
  expect(full.all('broken', 'redis').toSorted()).toEqual(['redis-full', 'redis-writable'])
  expect(full.row('redis-writable').found).toContain('OOM')
  expect(await admin.keys('*')).toEqual(['filler'])
})

test('PostgreSQL: a wrong password, a standby, read-only, missing rights, a pooler', async () => {
  const [{ primary, standbys }, bouncer] = await Promise.all([
    startReplicated(1),
    startPgBouncer(required('DATABASE_URL')),
  ])
  const databaseUrl = await migratedDatabase(primary)
  const owner = await connect(databaseUrl)
  await owner.query(`
    create role weak login password 'word';
    grant usage on schema lockstep to weak;
    grant select on lockstep.migrations, lockstep.outbox to weak;
    create role reader login superuser password 'word';
    alter role reader set default_transaction_read_only = on`)
  const as = (user: string, password: string): string => {
    const url = new URL(databaseUrl)
    url.username = user
    url.password = password
    return url.href
  }
  const found = (DATABASE_URL: string) => diagnosed({ DATABASE_URL })
  const [standby] = standbys
  await until('the standby has the roles', async () => {
    const client = await connect(standby?.url ?? '')
    const { rows } = await client.query(`select from pg_roles where rolname = 'reader'`)
    return rows.length === 1
  })
  const [well, wrong, weak, reader, copy, pooled] = await Promise.all([
    found(databaseUrl),
    found(as('postgres', secret)),
    found(as('weak', 'word')),
    found(as('reader', 'word')),
    found(standby?.url ?? ''),
    found(bouncer),
  ])
  expect(well.all('broken')).toEqual([])
  for (const place of ['postgres', 'lockstep'] as const) {
    expect(well.all('skipped', place)).toEqual([])
  }
  expect(well.row('postgres-durability').found).toBe('fsync is off')
  expect(wrong.row('postgres-reachable').found).toMatch(/neither this user nor this password/)
  expect(weak.row('postgres-rights').remedy).toMatch(
    /grant select, insert, update on lockstep\.namespaces to "weak"; .*grant insert, update, delete on lockstep\.outbox to "weak"; .*lockstep\.record\(/,
  )
  expect(weak.row('lockstep-namespace').found).toContain('permission denied')
  expect(reader.row('postgres-primary').found).toContain('default_transaction_read_only')
  expect(copy.row('postgres-primary')).toMatchObject({
    state: 'broken',
    found: 'it is a standby, which takes no writes',
  })
  expect(copy.row('postgres-schema').state).toBe('ok')
  expect(pooled.row('postgres-pooler')).toMatchObject({
    state: 'ok',
    found: 'a pooler stands in between, and takes transactions',
  })
})

test('PostgreSQL: transactions that hold snapshots back are found', async () => {
  const server = await startPostgres({ config: { max_prepared_transactions: '5' } })
  const owner = await connect(server.url)
  await owner.query('begin; create table held (id int)')
  await owner.query("prepare transaction 'forgotten'")
  await owner.query('begin; select pg_current_xact_id()')
  const witness = await connect(server.url)
  await until('it is idle in a transaction', async () => {
    const { old } = await askTransactions(witness, 0)
    return old.some(({ application, state }) => {
      return application === 'lockstep test' && state === 'idle in transaction'
    })
  })
  expect(await askPrepared(witness, 0)).toMatchObject([{ name: 'forgotten' }])
  expect((await askTransactions(witness, 60)).old).toEqual([])
})

test('Kafka: a password that it wants', async () => {
  const server = await startKafka({ users: { me: 'right' } })
  const DATABASE_URL = await sharedDatabase()
  const found = (settings: NodeJS.ProcessEnv) =>
    diagnosed({ DATABASE_URL, KAFKA_BROKERS: server.brokers.join(), ...settings })
  const login = { LOCKSTEP_KAFKA_SASL: 'plain', LOCKSTEP_KAFKA_USERNAME: 'me' }
  const [well, wrong, none] = await Promise.all([
    found({ ...login, LOCKSTEP_KAFKA_PASSWORD: 'right' }),
    found({ ...login, LOCKSTEP_KAFKA_PASSWORD: secret }),
    found({}),
  ])
  expect(well.all('broken')).toEqual([])
  expect(wrong.row('kafka-reachable').found).toContain('neither this user nor this password')
  expect(none.row('kafka-reachable')).toMatchObject({
    state: 'broken',
    remedy: expect.stringContaining('LOCKSTEP_KAFKA_SASL'),
  })
})
