/** Kafka stops, dies, forgets, or is full of rubbish, while everybody reads and writes. */
import { Kafka, logLevel } from 'kafkajs'
import { expect, onTestFinished, test } from 'vitest'
import { startKafka } from '../support/kafka.ts'
import { startWorkload, type Workload } from '../support/workload.ts'
import { type ItemWorldCache, openWorld, until, type World } from '../support/world.ts'

const boundMs = 1_000
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function untilWell(caches: readonly ItemWorldCache[], ms?: number): Promise<void> {
  const isWell = async (cache: ItemWorldCache): Promise<boolean> =>
    (await cache.item.getEntry(40)).tier === 'l1'
  await Promise.all(caches.map((cache) => until('L1 is served', () => isWell(cache), ms)))
}

function asPromised(work: Workload): void {
  const { wrong, failedReads, failedWrites } = work
  expect({ wrong, failedReads, failedWrites }).toEqual({
    ...{ wrong: [], failedReads: [], failedWrites: [] },
  })
  expect(work.answers).toBeGreaterThan(100)
  expect(work.writes).toBeGreaterThan(20)
}

async function producerOf({ kafka }: World) {
  const brokers = [...(kafka?.brokers ?? [])]
  const producer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).producer()
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  return producer
}

test('a broker that is killed, and comes back: no read and no write fails, and trust comes back with it', async () => {
  const broker = await startKafka()
  const world = await openWorld({ plane: 'kafka', brokers: broker.brokers })
  const caches = [await world.open(), await world.open()]
  await untilWell(caches)
  const work = startWorkload(world, caches)
  await pause(500)
  await broker.kill()
  await pause(boundMs)
  work.takeL1Answers()
  await pause(2 * boundMs)
  expect(work.takeL1Answers(), 'L1 is not trusted without the log').toBe(0)
  await broker.start()
  await untilWell(caches, 3_000)
  await work.stop()
  asPromised(work)
}, 60_000)

test('a topic that is deleted under it, again and again', async () => {
  const world = await openWorld({ plane: 'kafka' })
  const caches = [await world.open(), await world.open()]
  await untilWell(caches)
  const work = startWorkload(world, caches)
  const { brokers = [], topic = '' } = world.kafka ?? {}
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  for (let turn = 0; turn < 3; turn++) {
    await pause(500)
    await admin.deleteTopics({ topics: [topic] })
  }
  await admin.disconnect()
  await untilWell(caches, 15_000)
  await pause(500)
  await work.stop()
  asPromised(work)
}, 60_000)

test('rubbish in the topic: nothing proven is too old, and nothing fails', async () => {
  const world = await openWorld({ plane: 'kafka' })
  const caches = [await world.open(), await world.open()]
  await untilWell(caches)
  const work = startWorkload(world, caches)
  const producer = await producerOf(world)
  const { topic = '' } = world.kafka ?? {}
  const rubbish = [
    ...[null, '', 'x', '{}', '{"format":1}', Buffer.alloc(900_000, 1)],
    ...[0, 1, 2, 3, 255].map((first) =>
      Buffer.concat([Buffer.from([first]), Buffer.alloc(40, 255)]),
    ),
  ]
  for (let turn = 0; turn < 10; turn++) {
    await pause(100)
    const messages = rubbish.map((value, index) => ({ partition: index % 3, value }))
    await producer.send({ topic, messages })
  }
  await untilWell(caches)
  await work.stop()
  asPromised(work)
})
