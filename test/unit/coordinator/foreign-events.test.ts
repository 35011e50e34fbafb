import { expect, onTestFinished, test } from 'vitest'
import { ForeignEvents } from '../../../src/coordinator/foreign-events.ts'
import type { EventSource, Invalidations } from '../../../src/model/bus-ports.ts'
import { systemClock } from '../../../src/model/clock.ts'
import { silent } from '../../../src/model/log.ts'
import { MemoryEvents, MemoryInvalidations } from '../../support/memory-events.ts'
import { until } from '../../support/world.ts'

interface Trouble {
  readonly invalidations?: Partial<Invalidations>
  readonly source?: Partial<EventSource>
}

/** An instance over a topic and a database in memory, with whatever goes wrong in them. */
function open({ invalidations, source }: Trouble = {}) {
  const topic = new MemoryEvents()
  const database = new MemoryInvalidations(['city', 'country'])
  const counts: Record<string, number> = {}
  const record: Invalidations['record'] = (keys, signal) => database.record(keys, signal)
  const events = new ForeignEvents({
    namespace: 'shop',
    source: { ...topic.open(), ...source },
    invalidations: { record, ...invalidations },
    // Timers fire at once: what is waited for is counted, not slept.
    clock: { ...systemClock, after: (ms, run) => (ms < 10_000 ? immediate(run) : () => {}) },
    log: silent,
    random: () => 0,
    deadlineMs: 10_000,
    counted: (outcome, times) => {
      counts[outcome] = (counts[outcome] ?? 0) + times
    },
  })
  events.start()
  onTestFinished(() => events.close())
  return { topic, database, counts, events }
}

function immediate(run: () => void): () => void {
  const handle = setImmediate(run)
  return () => clearImmediate(handle)
}

const event = (entity: string, ...ids: (string | number)[]): string =>
  JSON.stringify({ version: 1, entity, ids })

test('a batch is one transaction, with each id once', async () => {
  const { topic, database, counts } = open()
  topic.publish(event('city', 1, 2), event('country', 'FR'), event('city', '2', 3))
  await until('it is applied', () => topic.committed === 3)
  expect(database.recorded).toEqual([
    { entity: 'city', ids: ['1', '2', '3'] },
    { entity: 'country', ids: ['FR'] },
  ])
  expect(counts).toEqual({ applied: 3 })
})

test('a transaction has at most 20,000 ids', async () => {
  const asked: number[] = []
  const { topic, database } = open({
    invalidations: {
      record: async (keys, signal) => {
        asked.push(keys.reduce((sum, { ids }) => sum + ids.length, 0))
        return database.record(keys, signal)
      },
    },
  })
  const thousand = (from: number) => Array.from({ length: 1_000 }, (_, id) => from * 1_000 + id)
  topic.publish(...Array.from({ length: 45 }, (_, index) => event('city', ...thousand(index))))
  await until('all is applied', () => topic.committed === 45)
  expect(asked).toEqual([20_000, 20_000, 5_000])
})

test('what is no event is buried before its offset is committed, and the rest is applied', async () => {
  const { topic, counts } = open()
  topic.publish('{', event('nobody', 1), event('city', 1))
  await until('it is applied', () => topic.committed === 3)
  expect(topic.graves.map(({ event: { offset }, reason }) => [offset, reason])).toEqual([
    ['0', 'not-json'],
    ['1', 'unknown-entity'],
  ])
  expect(counts).toEqual({ 'not-json': 1, 'unknown-entity': 1, applied: 1 })
})

test('what PostgreSQL refuses is found among the others, which are applied', async () => {
  // The parser lets through what only this database can't have.
  const bad = 'ø'
  const { topic, database, counts } = open({
    invalidations: {
      record: async (keys, signal) =>
        keys.some(({ ids }) => ids.includes(bad))
          ? { kind: 'refused', why: 'PostgreSQL: SQLSTATE 22P05' }
          : database.record(keys, signal),
    },
  })
  topic.publish(...['1', '2', bad, '4', '5'].map((id) => event('city', id)))
  await until('it is applied', () => topic.committed === 5)
  expect(topic.graves).toMatchObject([
    { event: { offset: '2' }, reason: 'refused', detail: 'PostgreSQL: SQLSTATE 22P05' },
  ])
  expect(database.recorded.flatMap(({ ids }) => ids)).toEqual(['1', '2', '4', '5'])
  expect(counts).toEqual({ applied: 4, refused: 1 })
})

test('with PostgreSQL or Kafka away it tries again, commits nothing, and skips nothing', async () => {
  const failures = { record: 3, bury: 3 }
  const { topic, database } = open({
    invalidations: {
      record: async (keys, signal) => {
        expect(topic.committed).toBe(0)
        if (failures.record-- > 0) throw new Error('down')
        return database.record(keys, signal)
      },
    },
    source: {
      bury: async (letters) => {
        expect(topic.committed).toBe(0)
        if (failures.bury-- > 0) throw new Error('down')
        topic.graves.push(...letters)
      },
    },
  })
  topic.publish(event('city', 1), 'poison')
  await until('it is applied', () => topic.committed === 2)
  expect(failures).toEqual({ record: -1, bury: -1 })
  expect(topic.graves).toHaveLength(1)
})

test('close ends what waits, and leaves it to the next', async () => {
  let tries = 0
  const { topic, events } = open({
    invalidations: {
      record: async () => {
        tries++
        throw new Error('down')
      },
    },
  })
  topic.publish(event('city', 1))
  await until('it is tried', () => tries > 1)
  await events.close()
  expect(topic.committed).toBe(0)
})
