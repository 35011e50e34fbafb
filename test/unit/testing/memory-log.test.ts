/** What a test can make happen to a log in memory; the rest is in test/contract/log.test.ts. */
import { expect, onTestFinished, test } from 'vitest'
import { type Incarnation, parseSnapshot } from '../../../src/model/snapshot.ts'
import { MemoryTopic, memoryLog } from '../../../src/testing/memory-log.ts'
import { VirtualClock } from '../../../src/testing/virtual-clock.ts'
import { Ear } from '../../support/ear.ts'

const snapshot = parseSnapshot('9:9:', '00112233445566ff' as Incarnation)
const never = new AbortController().signal

async function open() {
  const clock = new VirtualClock()
  const topic = new MemoryTopic(clock, 1)
  const log = memoryLog(topic, 'shop')
  onTestFinished(() => log.close())
  const ear = new Ear()
  await log.listen(ear)
  const told = (): string[] => ear.told.map((one) => (one.kind === 'lost' ? one.reason : one.kind))
  const publish = async (): Promise<void> => {
    await log.barrier(snapshot, never)
    await clock.settle()
  }
  return { clock, topic, log, told, publish }
}

test('a dropped record is a gap, noticed with the place where it should be', async () => {
  const { clock, topic, told, publish } = await open()
  topic.drop()
  await publish()
  await publish()
  expect(told()).toEqual(['positioned', 'gap'])
  await clock.advance(50)
  await publish()
  expect(told()).toEqual(['positioned', 'gap', 'positioned', 'heard'])
})

test('a repeated record is heard twice', async () => {
  const { topic, told, publish } = await open()
  topic.repeat()
  await publish()
  expect(told()).toEqual(['positioned', 'heard', 'heard'])
})

test('while it is down publishing fails and nothing is heard; then it is positioned again', async () => {
  const { clock, topic, told, publish } = await open()
  topic.stop()
  await expect(publish()).rejects.toMatchObject({ code: 'KAFKA_UNAVAILABLE' })
  await clock.advance(1_000)
  expect(told()).toEqual(['positioned', 'disconnected'])
  topic.start()
  await clock.advance(50)
  await publish()
  expect(told()).toEqual(['positioned', 'disconnected', 'positioned', 'heard'])
})

test('a rebalance and a topic made anew are told, and close leaves no timer', async () => {
  const { clock, topic, log, told, publish } = await open()
  await publish()
  topic.rebalance()
  await clock.advance(50)
  topic.recreate()
  await clock.advance(50)
  await publish()
  expect(told()).toEqual([
    'positioned',
    'heard',
    'rebalance',
    'positioned',
    'disconnected',
    'positioned',
    'heard',
  ])
  topic.rebalance()
  await log.close()
  expect(clock.timers).toBe(0)
})
