/** Services that write the rows of a cache and can tell of it by Kafka alone (docs/events.md). */
import { expect, onTestFinished, test } from 'vitest'
import { silent } from '../../src/model/log.ts'
import { publisher } from '../../src/publisher.ts'
import { openProducer } from '../support/foreign-producer.ts'
import { createTopic, ownTopic, sharedKafka } from '../support/kafka.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { openWorld, required, until } from '../support/world.ts'

/** The topics of a test's own, which are gone when it has ended. */
function ownTopics() {
  const topic = ownTopic('log')
  return { topic, events: ownTopic('log.events'), deadLetters: ownTopic('log.dead-letters') }
}

async function openEventful() {
  const world = await openWorld()
  const { topic, events } = ownTopics()
  const kafka = { brokers: sharedKafka(), topic }
  const said: string[] = []
  const logger = { ...silent, warn: (_: object, message: string) => void said.push(message) }
  const open = (postgres = world.databaseUrl) =>
    world.open({ options: { kafka, postgres, logger } as never })
  const told = publisher({ namespace: world.namespace, kafka, source: 'billing' })
  onTestFinished(() => told.close())
  /** As somebody whose SQL no trigger hears of. */
  const change = (id: number) =>
    world.sql(`update ${world.table} set version = version + 1 where id = ${id}`)
  return { world, kafka, events, open, told, change, said }
}

const scraped = async (cache: { metrics(): { metrics(): Promise<string> } }) =>
  [
    ...(await cache.metrics().metrics()).matchAll(
      /^lockstep_foreign_events_total\{(.*)\} (\d+)$/gm,
    ),
  ].map(([, labels, count]) => [/outcome="(.*?)"/.exec(labels ?? '')?.[1], Number(count)])

test('what is published is dropped from every tier of every instance', async () => {
  const { open, told, change } = await openEventful()
  const [one, other] = [await open(), await open()]
  for (const cache of [one, other]) expect((await cache.item.get(1))?.version).toBe(0)
  await change(1)
  // Without an event nobody could know.
  expect((await other.item.get(1))?.version).toBe(0)
  await told.invalidate('item', [1, 2n, '3'])
  for (const cache of [one, other]) {
    await until('both see it', async () => (await cache.item.get(1))?.version === 1)
  }
  const counts = (await Promise.all([one, other].map(scraped))).flat()
  expect(counts).toEqual([['applied', 1]])
})

test('what was published before any instance ran is applied too', async () => {
  const { open, told, world } = await openEventful()
  const first = await open()
  await first.close()
  await told.invalidate('item', [7])
  const cache = await open()
  await until('it is applied', async () => (await scraped(cache)).length > 0)
  const rows = await world.sql(
    `select ids from lockstep.outbox where namespace = '${world.namespace}' and not told_by_writer`,
  )
  expect(rows).toEqual([{ ids: ['7'] }])
})

test('poison holds up nothing, and lies with the dead letters', async () => {
  const { open, told, change, events } = await openEventful()
  await createTopic(sharedKafka()[0] as string, events, 1)
  const cache = await open()
  expect((await cache.item.get(1))?.version).toBe(0)
  const publish = await openProducer(sharedKafka(), events)
  await publish('{', null, '{"version":2}', '{"version":1,"entity":"nobody","ids":[1]}')
  await publish(Buffer.alloc(300 * 1024, 0x20))
  await change(1)
  await told.invalidate('item', [1])
  const expected = ['applied', 'empty', 'future-version', 'not-json', 'too-large', 'unknown-entity']
  await until('all are counted', async () => (await scraped(cache)).length === expected.length)
  expect((await scraped(cache)).sort()).toEqual(expected.map((outcome) => [outcome, 1]))
  await until('it is seen', async () => (await cache.item.get(1))?.version === 1)
})

test('with PostgreSQL away events wait, and none is skipped', async () => {
  const { open, told, world, said } = await openEventful()
  const proxy = await openTcpProxy(required('DATABASE_URL'))
  const cache = await open(proxy.through(required('DATABASE_URL')))
  await told.invalidate('item', [1])
  await until('the first is applied', async () => (await scraped(cache)).length > 0)
  await proxy.refuse()
  for (const id of [2, 3, 4]) await told.invalidate('item', [id])
  const waits = 'events of others wait for PostgreSQL'
  await until('one is tried', () => said.includes(waits))
  await proxy.pass()
  const ids = async () =>
    (
      await world.sql(
        `select distinct unnest(ids) as id from lockstep.outbox
         where namespace = '${world.namespace}' and not told_by_writer order by 1`,
      )
    ).map(({ id }) => id)
  await until('all are applied', async () => (await ids()).length === 4)
  expect(await ids()).toEqual(['1', '2', '3', '4'])
})
