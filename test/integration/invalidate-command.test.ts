/** `lockstep invalidate` and `lockstep dead-letters`: what they do, print, and end with. */
import { expect, test } from 'vitest'
import { readGraves } from '../../src/kafka/dead-letters.ts'
import { settleKafka } from '../../src/kafka/options.ts'
import { systemClock } from '../../src/model/clock.ts'
import { silent } from '../../src/model/log.ts'
import { type Cli, cli } from '../support/cli.ts'
import { ownDatabase } from '../support/database.ts'
import { openProducer } from '../support/foreign-producer.ts'
import { createTopic, ownTopic, sharedKafka } from '../support/kafka.ts'
import { openWorld, until } from '../support/world.ts'

function run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Cli['ended'] {
  return cli(args, environment).ended
}

test('invalidate drops ids from every tier, and says how many namespaces were told', async () => {
  const world = await openWorld({ databaseUrl: await ownDatabase() })
  const DATABASE_URL = world.databaseUrl
  expect(await run(['invalidate', 'item', '1'], { DATABASE_URL })).toMatchObject({
    code: 0,
    stdout: 'told 0 namespaces of 1 id of "item"\n',
  })
  const cache = await world.open()
  expect((await cache.item.get(1))?.version).toBe(0)
  await world.sql(`update ${world.table} set version = 7 where id in (1, 2)`)
  const told = await run(['invalidate', 'item', '1', '2', '--json'], { DATABASE_URL })
  expect(JSON.parse(told.stdout)).toEqual({ entity: 'item', ids: ['1', '2'], namespaces: 1 })
  await until('it is dropped', async () => (await cache.item.get(1))?.version === 7)
  const wrong = [
    [['invalidate', 'item', '1', '--namespace', 'other'], /no cache has an entity "item"/],
    [['invalidate', 'item', ''], /<id>/],
    [['invalidate', 'item'], /id/],
  ] as const
  const runs = wrong.map(async ([args, message]) => ({
    args,
    message,
    ...(await run(args, { DATABASE_URL })),
  }))
  for (const { args, message, ...answer } of await Promise.all(runs)) {
    const stderr = expect.stringMatching(message)
    expect({ args, ...answer }).toEqual({ args, code: 2, stdout: '', stderr })
  }
})

test('dead letters are listed, and replayed once', async () => {
  const world = await openWorld()
  const topic = ownTopic('log')
  const [events] = [ownTopic('log.events'), ownTopic('log.dead-letters')]
  const [broker] = sharedKafka()
  await createTopic(broker as string, events, 1)
  const environment = { KAFKA_BROKERS: sharedKafka().join(), LOCKSTEP_KAFKA_TOPIC: topic }
  const settings = settleKafka({ brokers: sharedKafka(), topic }, world.namespace)
  const place = { settings, clock: systemClock, log: silent }
  const list = async () =>
    (await readGraves(place)).letters.map(({ letter: { reason }, replayedAt }) => [
      reason,
      replayedAt !== undefined,
    ])
  expect(await list()).toEqual([])
  const cache = await world.open({ options: { kafka: { brokers: sharedKafka(), topic } } as never })
  const publish = await openProducer(sharedKafka(), events)
  const early = JSON.stringify({ version: 1, entity: 'late', ids: ['a'] })
  const red = '\u001b[31m'
  await publish(early, red, Buffer.alloc(300 * 1024, 0x20))
  await until('all are buried', async () => {
    const buried = /outcome="(unknown-entity|not-json|too-large)"/g
    return ((await cache.metrics().metrics()).match(buried) ?? []).length === 3
  })
  const { stdout } = await run(['dead-letters', 'list', '--json'], environment)
  const listed = JSON.parse(stdout).deadLetters
  expect(listed.map(({ reason }: { reason: string }) => reason).sort()).toEqual([
    'not-json',
    'too-large',
    'unknown-entity',
  ])
  const of = (reason: string) =>
    listed.find((one: { reason: string }) => one.reason === reason) as Record<string, never>
  expect(of('unknown-entity')).toMatchObject({
    from: { topic: events, partition: 0, offset: '0' },
    replayedAt: null,
    value: Buffer.from(early).toString('base64'),
  })
  expect(of('too-large')).toMatchObject({ bytes: 300 * 1024, truncated: true })
  const shown = await run(['dead-letters', 'list'], environment)
  expect(shown.stdout).toContain('\\u001b[31m')
  expect(shown.stdout).not.toContain(red)

  // By now there is an entity of that name.
  await world.sql(
    `insert into lockstep.schema_versions (namespace, entity, version) values ('${world.namespace}', 'late', 1)`,
  )
  const id = String(of('unknown-entity').id)
  const replayed = await run(['dead-letters', 'replay', id], environment)
  expect(replayed).toEqual({ code: 0, stdout: 'replayed 1\n', stderr: '' })
  const rows = () =>
    world.sql(
      `select ids from lockstep.outbox where namespace = '${world.namespace}' and entity = 'late'`,
    )
  await until('it is applied', async () => (await rows()).length === 1)
  const again = await run(['dead-letters', 'replay', id], environment)
  expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('--again') })
  const rest = await run(['dead-letters', 'replay', '--all', '--json'], environment)
  expect(JSON.parse(rest.stdout)).toEqual({
    replayed: [of('not-json').id],
    truncated: [of('too-large').id],
    left: 0,
  })
  await until('poison is buried anew', async () => (await list()).length === 4)
  expect((await list()).sort()).toEqual([
    ['not-json', false],
    ['not-json', true],
    ['too-large', false],
    ['unknown-entity', true],
  ])
})

test('dead letters, used wrongly: exit code 2; without Kafka: 1', async () => {
  const kafka = { KAFKA_BROKERS: sharedKafka().join() }
  const wrong = [
    [['list'], { KAFKA_BROKERS: '' }, 2, /KAFKA_BROKERS/],
    [['replay'], kafka, 2, /--all/],
    [['replay', '0:99'], kafka, 2, /0:99/],
    [['list'], { KAFKA_BROKERS: '127.0.0.1:1' }, 1, /Kafka/],
  ] as const
  const runs = wrong.map(async ([args, environment, code, message]) => ({
    args,
    code,
    message,
    answer: await run(['dead-letters', ...args], environment),
  }))
  for (const { args, code, message, answer } of await Promise.all(runs)) {
    const stderr = expect.stringMatching(message)
    expect({ args, ...answer }).toEqual({ args, code, stdout: '', stderr })
  }
})
