/** The log when Kafka restarts, hangs, forgets, refuses, or isn't there: it says so, and goes on. */
import { connect } from 'node:net'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { openLog } from '../../src/kafka/log.ts'
import type { KafkaOptions } from '../../src/kafka/options.ts'
import { settleKafka } from '../../src/kafka/options.ts'
import type { Log, LoggedWrite } from '../../src/model/bus-ports.ts'
import { systemClock } from '../../src/model/clock.ts'
import type { Logger } from '../../src/model/log.ts'
import type { Incarnation, Xid } from '../../src/model/snapshot.ts'
import { Ear } from '../support/ear.ts'
import {
  createTopic,
  type KafkaServer,
  ownTopic,
  sharedKafka,
  startKafka,
} from '../support/kafka.ts'
import { ownNamespace } from '../support/namespace.ts'
import { freePort } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/world.ts'

const writeOf = (xid: number): LoggedWrite => ({
  write: { incarnation: '00112233445566ff' as Incarnation, xid: xid as Xid },
  entity: 'city',
  ids: [`${xid}`],
})
const soon = (ms = 10_000): AbortSignal => AbortSignal.timeout(ms)

interface Line {
  readonly level: string
  readonly text: string
}

function open(options: KafkaOptions, namespace = ownNamespace()): { log: Log; lines: Line[] } {
  const lines: Line[] = []
  const at = (level: string) => (details: object, message: string) => {
    const { err } = details as { err?: unknown }
    const error = err instanceof Error ? `${err.stack} ${JSON.stringify(err)}` : ''
    lines.push({ level, text: `${message} ${JSON.stringify(details)} ${error}` })
  }
  const logger: Logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
  }
  const log = openLog(settleKafka(options, namespace), { clock: systemClock, log: logger })
  onTestFinished(() => log.close())
  return { log, lines }
}

async function withAdmin<T>(
  brokers: readonly string[],
  act: (admin: ReturnType<Kafka['admin']>) => Promise<T>,
): Promise<T> {
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    return await act(admin)
  } finally {
    await admin.disconnect()
  }
}

/** A group whose last member has gone. */
async function leaveGroup(
  brokers: readonly string[],
  groupId: string,
  topic: string,
): Promise<void> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 10 })
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve))
  await consumer.connect()
  await consumer.subscribe({ topic })
  await consumer.run({ eachMessage: async () => {} })
  await joined
  await consumer.disconnect()
}

const groupsOf = (brokers: readonly string[], namespace: string): Promise<readonly string[]> =>
  withAdmin(brokers, async (admin) =>
    (await admin.listGroups()).groups
      .map(({ groupId }) => groupId)
      .filter((id) => id.startsWith(`lockstep.${namespace}.`)),
  )

async function untilPublished(log: Log, write: LoggedWrite): Promise<void> {
  const attempt = (): Promise<boolean> =>
    log.publish([write], soon(2_000)).then(
      () => true,
      () => false,
    )
  await until('it is published', attempt, 15_000)
}

// The two share a broker: to start one takes longest.
let server: KafkaServer
const ends: (() => Promise<void> | void)[] = []
beforeAll(async () => {
  server = await startKafka({ atEnd: (end) => ends.push(end) })
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
})

test('a broker that hangs: lost, publishing obeys its signal, and all goes on when it goes on', async () => {
  const proxy = await openTcpProxy(`kafka://127.0.0.1:${server.port}`)
  const { log } = open({
    brokers: server.brokers,
    socketFactory: ({ onConnect }) => connect(proxy.port, '127.0.0.1', onConnect),
  })
  const ear = new Ear()
  await log.listen(ear)
  await ear.positionedTimes(1)
  await log.publish([writeOf(1)], soon())
  proxy.hang()
  const begunAtMs = performance.now()
  await expect(log.publish([writeOf(2)], soon(100))).rejects.toMatchObject({ name: 'TimeoutError' })
  expect(performance.now() - begunAtMs).toBeLessThan(400)
  await ear.until('it is lost', () => ear.count('lost') === 1, 10_000)
  await proxy.pass()
  await ear.positionedTimes(2, 20_000)
  await untilPublished(log, writeOf(3))
  await ear.until('it is heard', () => ear.writes.some(({ write }) => write.xid === 3))
}, 60_000)

test('a restart of the broker: lost, then positioned, and publishing meanwhile fails in time', async () => {
  const { log, lines } = open(server.brokers)
  const ear = new Ear()
  await log.listen(ear)
  await ear.positionedTimes(1)
  await log.publish([writeOf(1)], soon())
  await ear.until('it is heard', () => ear.writes.length === 1)

  await server.kill()
  await ear.until('it is lost', () => ear.count('lost') === 1, 2_000)
  const begunAtMs = performance.now()
  for (let tries = 0; tries < 3; tries++) {
    const attempt = log.publish([writeOf(2)], soon(200))
    await expect(attempt).rejects.toThrow()
  }
  expect(performance.now() - begunAtMs).toBeLessThan(1_500)
  const linesBefore = lines.length
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  // Each attempt to connect leaves a few lines.
  expect(lines.length - linesBefore).toBeLessThan(40)

  await server.start()
  await ear.positionedTimes(2, 20_000)
  await untilPublished(log, writeOf(3))
  await ear.until('it is heard', () => ear.writes.some(({ write }) => write.xid === 3))
  expect(ear.told.map(({ kind }) => kind).filter((kind) => kind !== 'heard')).toEqual([
    'positioned',
    'lost',
    'positioned',
  ])
  expect(lines.filter(({ level }) => level === 'warn').length).toBeLessThan(10)
}, 60_000)

test('a topic that is deleted: lost, and positioned on the new one', async () => {
  const topic = ownTopic()
  const { log } = open({ brokers: sharedKafka(), topic })
  const ear = new Ear()
  await log.listen(ear)
  await ear.positionedTimes(1)
  for (let xid = 1; xid <= 20; xid++) await log.publish([writeOf(xid)], soon())
  await ear.until('all are heard', () => ear.writes.length === 20)
  await withAdmin(sharedKafka(), (admin) => admin.deleteTopics({ topics: [topic] }))
  await ear.until('it is lost', () => ear.count('lost') === 1)
  await ear.positionedTimes(2)
  await untilPublished(log, writeOf(30))
  await ear.until('it is heard', () => ear.writes.some(({ write }) => write.xid === 30))
})

test('an offset that no record has is a gap', async () => {
  const topic = ownTopic()
  const { log } = open({ brokers: sharedKafka(), topic, partitions: 1 })
  const ear = new Ear()
  await log.listen(ear)
  await ear.positionedTimes(1)
  // What a transaction leaves takes an offset that no record has.
  const kafka = new Kafka({ brokers: [...sharedKafka()], logLevel: logLevel.NOTHING })
  const producer = kafka.producer({
    transactionalId: topic,
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  const transaction = await producer.transaction()
  await transaction.send({ topic, messages: [{ partition: 0, value: 'x' }] })
  await transaction.commit()
  await producer.disconnect()
  // The broker answers the commit before it has written the mark that ends the transaction.
  await until('the mark is written', () =>
    withAdmin(
      sharedKafka(),
      async (admin) => (await admin.fetchTopicOffsets(topic))[0]?.high === '2',
    ),
  )
  await log.publish([writeOf(1)], soon())
  await ear.until('it is lost', () => ear.count('lost') === 1)
  expect(ear.told.find(({ kind }) => kind === 'lost')).toMatchObject({ reason: 'gap' })
  expect(ear.writes).toEqual([])
  await ear.positionedTimes(2)
  await log.publish([writeOf(2)], soon())
  await ear.until('it is heard', () => ear.writes.length === 1)
})

test('close leaves no group, and a start removes those of instances that were killed', async () => {
  const [namespace, topic] = [ownNamespace(), ownTopic()]
  const brokers = sharedKafka()
  const left = `lockstep.${namespace}.0123456789abcdef`
  const foreign = `lockstep.${namespace}.others.0123456789abcdef`
  await createTopic(brokers[0] as string, topic, 3)
  for (const groupId of [left, foreign]) await leaveGroup(brokers, groupId, topic)
  onTestFinished(() =>
    withAdmin(brokers, async (admin) => void (await admin.deleteGroups([foreign]))),
  )
  const { log } = open({ brokers, topic }, namespace)
  const ear = new Ear()
  await log.listen(ear)
  await ear.positionedTimes(1)
  expect((await groupsOf(brokers, namespace)).length).toBeGreaterThan(1)
  await until(
    'what was left is gone',
    async () => !(await groupsOf(brokers, namespace)).includes(left),
  )
  await log.close()
  expect(await groupsOf(brokers, namespace)).toEqual([foreign])
})

test('a broker that is not there at the start is no error, and is used once it is', async () => {
  const port = await freePort()
  const { log, lines } = open(`127.0.0.1:${port}`)
  const ear = new Ear()
  const begunAtMs = performance.now()
  await log.listen(ear)
  expect(performance.now() - begunAtMs).toBeLessThan(5_000)
  expect(ear.told).toEqual([])
  await expect(log.publish([writeOf(1)], soon())).rejects.toMatchObject({
    code: 'KAFKA_UNAVAILABLE',
  })
  expect(lines.filter(({ level }) => level === 'warn').length).toBeGreaterThan(0)
})

test('a topic with another number of partitions, or that is compacted, is refused at the start', async () => {
  const [topic, compacted] = [ownTopic(), ownTopic('compacted')]
  const [address] = sharedKafka() as [string]
  await createTopic(address, topic, 5)
  await createTopic(address, compacted, 3, { 'cleanup.policy': 'compact' })
  const { log } = open({ brokers: address, topic })
  await expect(log.listen(new Ear())).rejects.toMatchObject({
    code: 'KAFKA_TOPIC_INVALID',
    message: expect.stringContaining('has 5 partitions, and 3 partitions are wanted'),
  })
  await expect(log.publish([writeOf(1)], soon())).rejects.toMatchObject({
    code: 'KAFKA_TOPIC_INVALID',
  })
  await expect(
    open({ brokers: address, topic: compacted }).log.listen(new Ear()),
  ).rejects.toMatchObject({
    code: 'KAFKA_TOPIC_INVALID',
    message: expect.stringContaining('cleanup.policy'),
  })
  await expect(
    open({ brokers: address, topic, partitions: 5 }).log.listen(new Ear()),
  ).resolves.toBe(undefined)
})

test('a broker that wants a password and TLS: the right ones do, wrong ones are refused, and none is told', async () => {
  const server = await startKafka({ users: { lockstep: 'right-secret' }, tls: true })
  const ssl = { ca: [server.ca as string] }
  const sasl = (password: string) =>
    ({ mechanism: 'plain', username: 'lockstep', password }) as const
  const right = open({ brokers: server.brokers, ssl, sasl: sasl('right-secret') })
  const ear = new Ear()
  await right.log.listen(ear)
  await ear.positionedTimes(1)
  await right.log.publish([writeOf(1)], soon())
  await ear.until('it is heard', () => ear.writes.length === 1)

  const wrong = open({ brokers: server.brokers, ssl, sasl: sasl('wrong-secret') })
  const refusal: unknown = await wrong.log.listen(new Ear()).catch((error: unknown) => error)
  expect(refusal).toMatchObject({ code: 'KAFKA_REFUSED' })
  const attempt: unknown = await wrong.log
    .publish([writeOf(1)], soon())
    .catch((error: unknown) => error)
  expect(attempt).toMatchObject({ code: 'KAFKA_REFUSED' })
  const untrusting = open({ brokers: server.brokers, ssl: true, sasl: sasl('right-secret') })
  await expect(untrusting.log.listen(new Ear())).rejects.toMatchObject({ code: 'KAFKA_REFUSED' })

  const said = JSON.stringify([right.lines, wrong.lines, untrusting.lines])
  const { inspect } = await import('node:util')
  for (const text of [said, inspect([refusal, attempt], { depth: 10 })]) {
    expect(text).not.toMatch(/(right|wrong)-secret/)
  }
}, 60_000)
