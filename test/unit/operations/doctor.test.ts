/** `lockstep doctor`: each broken configuration is told by its check. */
import { describe, expect, test } from 'vitest'
import type {
  Answers,
  DoctorRow,
  Inspection,
  KafkaFacts,
  NamespaceFacts,
  PostgresFacts,
  PrometheusFacts,
  RedisFacts,
  RedisServerFacts,
  ServerFacts,
} from '../../../src/model/doctor.ts'
import type { FailureKind } from '../../../src/model/failure.ts'
import {
  judgeFacts,
  judgePlace,
  type PlaceChecks,
  type Surroundings,
  stateOf,
} from '../../../src/operations/doctor.ts'
import { doctorCatalogue } from '../../../src/operations/doctor-catalogue.ts'
import { type ConfigFacts, configChecks, urlFacts } from '../../../src/operations/doctor-config.ts'
import { kafkaChecks } from '../../../src/operations/doctor-kafka.ts'
import { type LockstepFacts, lockstepChecks } from '../../../src/operations/doctor-lockstep.ts'
import { postgresChecks } from '../../../src/operations/doctor-postgres.ts'
import { prometheusChecks } from '../../../src/operations/doctor-prometheus.ts'
import { redisChecks } from '../../../src/operations/doctor-redis.ts'

const around: Surroundings = {
  namespace: 'shop',
  hasRedis: true,
  plane: 'kafka:lockstep.shop:3',
  overrides: [],
  outboxRetentionMs: 300_000,
}

// ---------------------------------------------------------------- what is well

const clock = { offsetMs: 3, roundTripMs: 2 }
const server: ServerFacts = {
  versionNumber: 150_020,
  version: '15.20',
  isStandby: false,
  isReadOnly: false,
  offInCrash: [],
  connections: 20,
  mostConnections: 97,
}
const nothingOwed = { rows: 0, oldestSeconds: 0 }
const namespace: NamespaceFacts = {
  isKnown: true,
  others: [],
  hasL2: true,
  plane: 'kafka:lockstep.shop:3',
  instances: [{ name: 'one', silentSeconds: 3, overrides: [] }],
  isRelayed: true,
  owedToRedis: nothingOwed,
  owedToKafka: nothingOwed,
}
const postgres: PostgresFacts = {
  server,
  pooler: { isThere: false, refusal: undefined },
  schema: { present: 8, newest: 8 },
  rights: { role: 'me', grants: [] },
  transactions: { old: [], hidden: 0 },
  prepared: [],
  clock,
  triggers: [{ table: 'cities', entity: 'city', id: 'id', lacking: [], notAlways: [] }],
  namespace,
  flags: [],
  database: '7/5',
}
const megabyte = 1024 ** 2
const redisServer: RedisServerFacts = {
  version: '7.0.15',
  mode: 'standalone',
  isReplica: false,
  replicas: 1,
  needsReplicas: true,
  isLoading: false,
  usedBytes: 10 * megabyte,
  mostBytes: 100 * megabyte,
  policy: 'allkeys-lru',
  residentBytes: 12 * megabyte,
  clients: 10,
  mostClients: 10_000,
}
const redis: RedisFacts = {
  server: redisServer,
  clock,
  rights: { denied: [] },
  write: { refusal: undefined },
  cluster: { state: 'ok' },
  pubsub: { hardBytes: 32 * megabyte, softBytes: 8 * megabyte, softSeconds: 60 },
  claim: '7/5',
}
const partition = { hasLeader: true, copies: 3, inSync: 3 }
const kafka: KafkaFacts = {
  brokers: { count: 3, hasController: true },
  log: { topic: 'lockstep.shop', isBarred: false, partitions: [partition, partition, partition] },
  settings: {
    'cleanup.policy': 'delete',
    'retention.ms': '604800000',
    'min.insync.replicas': '2',
    'unclean.leader.election.enable': 'false',
  },
  deadLetters: { topic: 'lockstep.shop.dead-letters', isBarred: false, partitions: [partition] },
}
const prometheus: PrometheusFacts = {
  clock,
  query: { reason: 'empty', detail: 'no series' },
  scraped: { instances: 3, ageSeconds: 4, renamed: 0 },
}
const config: ConfigFacts = {
  wrong: [],
  unknown: [],
  known: ['LOCKSTEP_NAMESPACE', 'LOCKSTEP_FLAGS', 'REDIS_URL'],
  idle: [],
  databaseUrl: urlFacts('postgres://u:p@h/d'),
  redisUrl: urlFacts('rediss://h'),
  prometheusUrl: urlFacts('http://h:9090'),
  kafka: '',
}
const lockstep: LockstepFacts = { namespace, flags: [], database: '7/5', claim: '7/5' }

function answers<Facts extends object>(facts: Facts): Answers<Facts> {
  const known = Object.entries(facts).map(([fact, value]) => [fact, { isKnown: true, value }])
  return Object.fromEntries(known) as Answers<Facts>
}

const reached = <Facts extends object>(facts: Facts): Inspection<Facts> => ({
  kind: 'reached',
  found: 'it answers',
  facts: answers(facts),
})

/** What each place says when some of its facts are others; and how it is around. */
const say = {
  config: (change: Partial<ConfigFacts>) =>
    judgeFacts('config', configChecks, answers({ ...config, ...change }), around),
  postgres: (change: Partial<PostgresFacts>, other: Partial<Surroundings> = {}) =>
    judgePlace(postgresChecks, reached({ ...postgres, ...change }), { ...around, ...other }),
  redis: (change: Partial<RedisFacts>) =>
    judgePlace(redisChecks, reached({ ...redis, ...change }), around),
  kafka: (change: Partial<KafkaFacts>, other: Partial<Surroundings> = {}) =>
    judgePlace(kafkaChecks, reached({ ...kafka, ...change }), { ...around, ...other }),
  prometheus: (change: Partial<PrometheusFacts>) =>
    judgePlace(prometheusChecks, reached({ ...prometheus, ...change }), around),
  lockstep: (change: Partial<LockstepFacts>, other: Partial<Surroundings> = {}) =>
    judgeFacts('lockstep', lockstepChecks, answers({ ...lockstep, ...change }), {
      ...around,
      ...other,
    }),
}

const ofServer = (change: Partial<ServerFacts>) =>
  say.postgres({ server: { ...server, ...change } })
const ofRedis = (change: Partial<RedisServerFacts>) =>
  say.redis({ server: { ...redisServer, ...change } })
const ofTopic = (change: Record<string, string>, brokers = 3) =>
  say.kafka({
    settings: { ...kafka.settings, ...change },
    brokers: { count: brokers, hasController: true },
  })
const ofPartitions = (change: Partial<typeof partition>) =>
  say.kafka({
    log: {
      topic: 'lockstep.shop',
      isBarred: false,
      partitions: [partition, partition, { ...partition, ...change }],
    },
  })
const ofNamespace = (change: Partial<NamespaceFacts>, other: Partial<Surroundings> = {}) =>
  say.lockstep({ namespace: { ...namespace, ...change } }, other)
const down = <Facts>(checks: PlaceChecks<Facts>, kind: FailureKind) =>
  judgePlace(
    checks,
    { kind: 'unreachable', at: 'host:1', failure: { kind, detail: 'ESAID' } },
    around,
  )

// ---------------------------------------------------------------- what isn't

type Case = readonly [
  check: string,
  state: 'warning' | 'broken',
  rows: readonly DoctorRow[],
  found: RegExp,
  remedy?: RegExp,
]

const old = {
  pid: 7,
  user: 'ann',
  application: 'psql',
  state: 'idle in transaction',
  seconds: 7_300,
}
const trigger = { table: 'public.cities', entity: 'city', id: 'id', lacking: [], notAlways: [] }
const flag = {
  flag: 'l2.bypass',
  scope: 'for all entities',
  reason: 'it is\u001b[2J slow',
  author: 'anna',
  by: 'operator',
  until: '2026-01-01T00:00:00Z',
}

const cases: readonly Case[] = [
  ['config-values', 'broken', say.config({ wrong: ['X is "y"; z would do'] }), /X is "y"/],
  [
    'config-names',
    'warning',
    say.config({ unknown: ['LOCKSTEP_NAMESPCE'] }),
    /NAMESPCE is not known; did you mean LOCKSTEP_NAMESPACE\?/,
    /set LOCKSTEP_NAMESPACE/,
  ],
  [
    'config-names',
    'warning',
    say.config({ unknown: ['LOCKSTEP_OF_ANOTHER_KIND'] }),
    /KIND is not known$/,
  ],
  ['config-idle', 'warning', say.config({ idle: ['LOCKSTEP_KAFKA_TLS'] }), /LOCKSTEP_KAFKA_TLS/],
  [
    'config-database-url',
    'broken',
    say.config({ databaseUrl: undefined }),
    /not set/,
    /postgres:\/\//,
  ],
  [
    'config-database-url',
    'broken',
    say.config({ databaseUrl: urlFacts('mysql://u:p@h/d') }),
    /"mysql:"/,
  ],
  [
    'config-redis-url',
    'broken',
    say.config({ redisUrl: urlFacts('10.0.0.1:6379') }),
    /no URL/,
    /%XX/,
  ],
  [
    'config-redis-url',
    'broken',
    say.config({ redisUrl: urlFacts('redis://u:%zz@h') }),
    /can’t be read/,
  ],
  ['config-kafka', 'broken', say.config({ kafka: 'LOCKSTEP_KAFKA_PARTITIONS is 0' }), /PARTITIONS/],
  ['config-prometheus-url', 'broken', say.config({ prometheusUrl: urlFacts('ftp://h') }), /"ftp:"/],

  [
    'postgres-reachable',
    'broken',
    down(postgresChecks, 'refused'),
    /nobody listens at host:1 \(ESAID\)/,
    /DATABASE_URL/,
  ],
  [
    'postgres-reachable',
    'broken',
    down(postgresChecks, 'database'),
    /no such database/,
    /createdb/,
  ],
  ['postgres-version', 'broken', ofServer({ versionNumber: 120_000, version: '12.0' }), /12\.0/],
  ['postgres-primary', 'broken', ofServer({ isStandby: true }), /standby/],
  ['postgres-primary', 'broken', ofServer({ isReadOnly: true }), /default_transaction_read_only/],
  [
    'postgres-schema',
    'broken',
    say.postgres({ schema: { present: 0, newest: 8 } }),
    /no schema/,
    /lockstep migrate/,
  ],
  [
    'postgres-schema',
    'broken',
    say.postgres({ schema: { present: 7, newest: 8 } }),
    /version 7/,
    /lockstep migrate/,
  ],
  [
    'postgres-schema',
    'broken',
    say.postgres({ schema: { present: 9, newest: 8 } }),
    /version 9/,
    /newer lockstep/,
  ],
  [
    'postgres-rights',
    'broken',
    say.postgres({ rights: { role: 'me', grants: ['grant x to me', 'grant y to me'] } }),
    /2 rights/,
    /grant x to me; grant y/,
  ],
  [
    'postgres-pooler',
    'broken',
    say.postgres({ pooler: { isThere: true, refusal: 'statement mode' } }),
    /no transactions: statement mode/,
  ],
  [
    'postgres-pooler',
    'warning',
    say.postgres({ pooler: { isThere: true, refusal: undefined } }, { hasRedis: false }),
    /next poll/,
  ],
  ['postgres-connections', 'warning', ofServer({ connections: 90 }), /90 of 97/],
  [
    'postgres-transactions',
    'warning',
    say.postgres({ transactions: { old: [old], hidden: 0 } }),
    /process 7 .* idle in transaction .* 2 h/,
    /pg_terminate_backend\(7\)/,
  ],
  [
    'postgres-prepared',
    'warning',
    say.postgres({ prepared: [{ name: "it's", seconds: 90 }] }),
    /90 s/,
    /rollback prepared 'it''s'/,
  ],
  [
    'postgres-durability',
    'warning',
    ofServer({ offInCrash: ['fsync', 'synchronous_commit'] }),
    /fsync and synchronous_commit are off/,
    /alter system set fsync = on/,
  ],
  [
    'postgres-clock',
    'warning',
    say.postgres({ clock: { offsetMs: -90_000, roundTripMs: 2 } }),
    /90 s behind/,
  ],
  [
    'postgres-triggers',
    'broken',
    say.postgres({ triggers: [{ ...trigger, lacking: ['public.cities_2'] }] }),
    /lacking on public\.cities_2/,
    /triggers install 'public\.cities' --entity city/,
  ],
  [
    'postgres-triggers',
    'broken',
    say.postgres({
      triggers: [{ ...trigger, notAlways: ['public.cities'], problem: 'no column' }],
    }),
    /not enabled .*; writes of public\.cities fail: no column/,
  ],

  [
    'redis-reachable',
    'broken',
    down(redisChecks, 'password'),
    /neither this user nor this password/,
    /REDIS_URL/,
  ],
  ['redis-version', 'broken', ofRedis({ version: '6.2.7' }), /6\.2\.7/],
  ['redis-mode', 'broken', ofRedis({ mode: 'cluster' }), /node of a cluster/, /cluster: \[/],
  ['redis-mode', 'broken', ofRedis({ mode: 'sentinel' }), /sentinel/],
  ['redis-cluster', 'broken', say.redis({ cluster: { state: 'fail' } }), /fail/],
  ['redis-primary', 'broken', ofRedis({ isReplica: true }), /replica/],
  ['redis-primary', 'broken', ofRedis({ isLoading: true }), /loading/, /wait/],
  [
    'redis-rights',
    'broken',
    say.redis({ rights: { denied: ['EVAL', 'BITOP'] } }),
    /EVAL, BITOP/,
    /~shop:\* &shop:bus \+eval \+bitop/,
  ],
  [
    'redis-writable',
    'broken',
    say.redis({ write: { refusal: 'NOREPLICAS Not enough' } }),
    /NOREPLICAS/,
    /min-replicas-to-write 0/,
  ],
  ['redis-writable', 'broken', say.redis({ write: { refusal: 'ERR odd' } }), /ERR odd/],
  ['redis-limit', 'warning', ofRedis({ mostBytes: 0 }), /not set/, /maxmemory 1gb/],
  [
    'redis-full',
    'broken',
    ofRedis({ policy: 'noeviction', usedBytes: 100 * megabyte }),
    /100 MiB of 100 MiB/,
  ],
  [
    'redis-full',
    'warning',
    ofRedis({ policy: 'noeviction', usedBytes: 95 * megabyte }),
    /95\.0 MiB of 100 MiB/,
  ],
  [
    'redis-fragmentation',
    'warning',
    ofRedis({ residentBytes: 1_000 * megabyte }),
    /1000 MiB of memory for 10\.0 MiB/,
  ],
  ['redis-clients', 'warning', ofRedis({ clients: 9_500 }), /9500 of 10000/],
  [
    'redis-min-replicas',
    'warning',
    ofRedis({ needsReplicas: false }),
    /1 replica, and a write needs none/,
  ],
  [
    'redis-pubsub',
    'warning',
    say.redis({ pubsub: { hardBytes: 4_096, softBytes: 0, softSeconds: 0 } }),
    /4\.0 KiB at once/,
  ],
  [
    'redis-clock',
    'warning',
    say.redis({ clock: { offsetMs: 7_200_000, roundTripMs: 2 } }),
    /2 h ahead/,
  ],

  [
    'kafka-reachable',
    'broken',
    down(kafkaChecks, 'tls'),
    /TLS with host:1 fails/,
    /LOCKSTEP_KAFKA_TLS/,
  ],
  [
    'kafka-brokers',
    'broken',
    say.kafka({ brokers: { count: 1, hasController: false } }),
    /controller/,
  ],
  [
    'kafka-topic',
    'warning',
    say.kafka({ log: { topic: 'lockstep.shop', isBarred: false, partitions: undefined } }),
    /not there yet/,
  ],
  ['kafka-topic', 'broken', ofPartitions({ hasLeader: false }), /1 partition without a leader/],
  [
    'kafka-topic',
    'broken',
    say.kafka({ log: { topic: 'lockstep.shop', isBarred: true, partitions: undefined } }),
    /may not use topic "lockstep\.shop"/,
    /docs\/kafka\.md/,
  ],
  [
    'kafka-dead-letters',
    'warning',
    say.kafka({ deadLetters: { topic: 'd', isBarred: true, partitions: undefined } }),
    /may not use topic "d"/,
  ],
  [
    'kafka-partitions',
    'broken',
    say.kafka({}, { plane: 'kafka:lockstep.shop:6' }),
    /3 partitions, and 6 are wanted/,
    /PARTITIONS=3/,
  ],
  [
    'kafka-cleanup-policy',
    'broken',
    ofTopic({ 'cleanup.policy': 'compact,delete' }),
    /compact/,
    /--topic lockstep\.shop --add-config cleanup\.policy=delete/,
  ],
  ['kafka-retention', 'broken', ofTopic({ 'retention.ms': '60000' }), /60 s, .* 5 min/],
  [
    'kafka-unclean-election',
    'broken',
    ofTopic({ 'unclean.leader.election.enable': 'true' }),
    /lacks records/,
  ],
  [
    'kafka-unclean-election',
    'warning',
    ofTopic({ 'unclean.leader.election.enable': 'true' }, 1),
    /lacks records/,
  ],
  ['kafka-min-insync', 'broken', ofTopic({ 'min.insync.replicas': '1' }), /1 copy/, /replicas=2/],
  ['kafka-replication', 'warning', ofPartitions({ copies: 1, inSync: 1 }), /1 copy of each/],
  ['kafka-replication', 'warning', ofPartitions({ inSync: 1 }), /not in sync/],
  [
    'kafka-dead-letters',
    'broken',
    say.kafka({
      deadLetters: {
        topic: 'd',
        isBarred: false,
        partitions: [{ ...partition, hasLeader: false }],
      },
    }),
    /no leader/,
  ],

  [
    'prometheus-reachable',
    'broken',
    down(prometheusChecks, 'stranger'),
    /something else/,
    /PROMETHEUS_URL/,
  ],
  [
    'prometheus-query',
    'broken',
    say.prometheus({ query: { reason: 'too-big', detail: '70 series' } }),
    /too-big.*70 series/,
  ],
  [
    'prometheus-scraped',
    'warning',
    say.prometheus({ scraped: { instances: 0, ageSeconds: undefined, renamed: 0 } }),
    /no instance/,
    /scrape/,
  ],
  [
    'prometheus-scraped',
    'warning',
    say.prometheus({ scraped: { instances: 2, ageSeconds: 70, renamed: 0 } }),
    /70 s ago/,
  ],
  [
    'prometheus-labels',
    'broken',
    say.prometheus({ scraped: { instances: 0, ageSeconds: undefined, renamed: 2 } }),
    /2 instances .*exported_namespace/,
    /honor_labels/,
  ],
  [
    'prometheus-clock',
    'warning',
    say.prometheus({ clock: { offsetMs: 5_000, roundTripMs: 2 } }),
    /5 s ahead/,
  ],

  [
    'lockstep-namespace',
    'warning',
    ofNamespace({ isKnown: false, others: ['shopp'] }),
    /"shopp"/,
    /LOCKSTEP_NAMESPACE=shopp/,
  ],
  [
    'lockstep-redis-required',
    'broken',
    ofNamespace({}, { hasRedis: false }),
    /REDIS_URL is not set/,
  ],
  [
    'lockstep-plane',
    'broken',
    ofNamespace({}, { plane: 'outbox' }),
    /topic "lockstep\.shop" .* outbox plane/,
    /set KAFKA_BROKERS/,
  ],
  [
    'lockstep-plane',
    'broken',
    ofNamespace({ plane: 'outbox' }),
    /outbox plane .* topic/,
    /unset KAFKA_BROKERS/,
  ],
  ['lockstep-database', 'broken', say.lockstep({ claim: '8/8' }), /another database/],
  [
    'lockstep-instances',
    'warning',
    ofNamespace({ instances: [{ name: 'gone', silentSeconds: 200, overrides: [] }] }),
    /"gone" for 3 min/,
  ],
  ['lockstep-relay', 'broken', ofNamespace({ isRelayed: false }), /none relays/],
  [
    'lockstep-outbox',
    'warning',
    ofNamespace({ owedToRedis: { rows: 1, oldestSeconds: 20 } }),
    /1 write that Redis/,
  ],
  [
    'lockstep-outbox',
    'broken',
    ofNamespace({ owedToKafka: { rows: 9, oldestSeconds: 200 } }),
    /9 writes that Kafka .* 3 min/,
  ],
  [
    'lockstep-flags',
    'warning',
    say.lockstep({ flags: [flag] }),
    /l2\.bypass for all entities, until .* by operator "anna": "it is\\u001b/,
  ],
  [
    'lockstep-overrides',
    'warning',
    ofNamespace({}, { overrides: ['serve.stale'] }),
    /LOCKSTEP_FLAGS here: serve\.stale/,
  ],
  [
    'lockstep-overrides',
    'warning',
    ofNamespace({ instances: [{ name: 'one', silentSeconds: 1, overrides: ['bloom.off'] }] }),
    /"one": bloom\.off/,
  ],
]

for (const [check, state, rows, found, remedy = /\w{3}/] of cases) {
  test(`${check} is ${state}: ${found.source}`, () => {
    const told = rows.filter((row) => row.check === check)
    expect(told).toHaveLength(1)
    expect(told[0]).toMatchObject({ state, because: expect.stringMatching(/\w{3}/) })
    expect(told[0]?.found).toMatch(found)
    expect(told[0]?.remedy).toMatch(remedy)
    const isBroken = rows.some((row) => row.state === 'broken')
    expect(stateOf(rows)).toBe(isBroken ? 'broken' : 'warning')
  })
}

test('every check of the catalogue has a case in which it isn’t well', () => {
  const all = Object.values(doctorCatalogue).flatMap((checks) => Object.keys(checks))
  expect([...new Set(cases.map(([check]) => check))].sort()).toEqual(all.sort())
  for (const id of all) expect(id).toMatch(/^[a-z]+(-[a-z]+)+$/)
})

describe('what is well', () => {
  test('has no reason, no remedy, and a row for each check', () => {
    const rows = [
      ...say.config({}),
      ...say.postgres({}),
      ...say.redis({}),
      ...say.kafka({}),
      ...say.prometheus({}),
      ...say.lockstep({}),
    ]
    expect(rows.filter(({ state }) => state !== 'ok')).toEqual([])
    expect(rows.filter(({ because, remedy }) => because ?? remedy)).toEqual([])
    const told = rows.map(({ place, check }) => `${place} ${check}`)
    const wanted = Object.entries(doctorCatalogue).flatMap(([place, checks]) =>
      Object.keys(checks).map((check) => `${place} ${check}`),
    )
    expect(told).toEqual(wanted)
    expect(stateOf(rows)).toBe('ok')
  })

  test('one broker is no cluster that loses what one of several confirmed', () => {
    expect(ofTopic({ 'min.insync.replicas': '1' }, 1)).toContainEqual(
      expect.objectContaining({ check: 'kafka-min-insync', state: 'ok' }),
    )
  })

  test('nobody has to relay where there is neither Redis nor Kafka, or nobody runs', () => {
    const alone = { isRelayed: false, hasL2: false, plane: 'outbox' }
    for (const change of [alone, { isRelayed: false, instances: [] }]) {
      const row = ofNamespace(change).find(({ check }) => check === 'lockstep-relay')
      expect(row?.state).toBe('ok')
    }
  })
})

describe('what can’t be told', () => {
  test('is skipped with the reason, and the others of the place are not', () => {
    const facts = { ...answers(postgres), server: { isKnown: false, why: 'no right' } as const }
    const rows = judgePlace(postgresChecks, { kind: 'reached', found: 'it', facts }, around)
    expect(rows.find(({ check }) => check === 'postgres-version')).toEqual({
      place: 'postgres',
      check: 'postgres-version',
      state: 'skipped',
      found: "it can't be told: no right",
    })
    expect(rows.find(({ check }) => check === 'postgres-schema')?.state).toBe('ok')
  })

  test('a place that is not reached, or not given, is one that the rest is skipped for', () => {
    const [first, ...rest] = down(redisChecks, 'silent')
    expect(first?.state).toBe('broken')
    expect(new Set(rest.map(({ state }) => state))).toEqual(new Set(['skipped']))
    const absent = judgePlace(kafkaChecks, { kind: 'not asked', why: 'none' }, around)
    expect(new Set(absent.map(({ state, found }) => `${state} ${found}`))).toEqual(
      new Set(['skipped none']),
    )
    expect(stateOf(absent)).toBe('ok')
  })
})
