/** What the coordinator relies on where foreign producers are heard: of the real one and of its fake. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { openEvents } from '../../src/kafka/events.ts'
import { settleKafka } from '../../src/kafka/options.ts'
import { scan } from '../../src/kafka/scan.ts'
import type { EventSource, Invalidations } from '../../src/model/bus-ports.ts'
import { systemClock } from '../../src/model/clock.ts'
import { decodeDeadLetter } from '../../src/model/dead-letter.ts'
import { silent } from '../../src/model/log.ts'
import { PostgresInvalidations } from '../../src/postgres/invalidations.ts'
import { register } from '../../src/postgres/namespace.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { connect, sharedDatabase } from '../support/database.ts'
import { openProducer } from '../support/foreign-producer.ts'
import { createTopic, ownTopic, sharedKafka } from '../support/kafka.ts'
import { MemoryEvents, MemoryInvalidations } from '../support/memory-events.ts'
import { ownNamespace } from '../support/namespace.ts'
import { until } from '../support/world.ts'
import { thing } from './words.ts'

interface Rig {
  /** Another instance of the namespace. */
  open(): EventSource
  publish(...values: (Buffer | string | null)[]): Promise<void>
  /** The originals of what lies with the dead letters. */
  graves(): Promise<readonly (string | undefined)[]>
}

async function kafkaRig(): Promise<Rig> {
  const brokers = sharedKafka()
  const topic = ownTopic('log')
  const events = ownTopic('log.events')
  const deadLetters = ownTopic('log.dead-letters')
  const settings = settleKafka({ brokers, topic }, ownNamespace())
  const place = { settings, clock: systemClock, log: silent }
  await createTopic(brokers[0] as string, events, 2)
  return {
    open: () => closedAtEnd(openEvents(place)),
    publish: await openProducer(brokers, events),
    graves: async () => {
      const found: (string | undefined)[] = []
      await scan(place, deadLetters, 10_000, (_, { value }) => {
        const record = decodeDeadLetter(value)
        if (record.kind === 'letter') found.push(record.value?.toString())
      })
      return found
    },
  }
}

async function memoryRig(): Promise<Rig> {
  const events = new MemoryEvents()
  return {
    open: () => closedAtEnd(events.open()),
    publish: async (...values) => events.publish(...values),
    graves: async () => events.graves.map(({ event }) => event.value?.toString()),
  }
}

function closedAtEnd(source: EventSource): EventSource {
  onTestFinished(() => source.close())
  return source
}

describe.each([
  ['Kafka', kafkaRig],
  ['memory', memoryRig],
])('the events in %s', (_, openRig) => {
  test('are handed on in order, from the oldest, as they came', async () => {
    const rig = await openRig()
    await rig.publish('a', null)
    const heard: (string | undefined)[] = []
    rig.open().listen(async (events) => {
      heard.push(...events.map(({ value }) => value?.toString()))
    })
    await until('what was there is heard', () => heard.length === 2)
    await rig.publish(Buffer.from([0xff]))
    await until('what comes is heard', () => heard.length === 3)
    expect(heard).toEqual(['a', undefined, '\ufffd'])
  })

  test('come no further until one batch is applied, and again when it could not be', async () => {
    const rig = await openRig()
    await rig.publish('a')
    const heard: string[] = []
    let tries = 0
    rig.open().listen(async (events) => {
      heard.push(events.map(({ value }) => String(value)).join())
      tries++
      if (tries === 1) await rig.publish('b')
      if (tries < 3) throw new Error('not now')
    })
    await until('all is heard', () => heard.at(-1)?.endsWith('b') === true && tries >= 3)
    expect(heard.slice(0, 3).every((one) => one.startsWith('a'))).toBe(true)
  })

  test('that were applied are not handed to the next instance, the others are', async () => {
    const rig = await openRig()
    const one = rig.open()
    const heard: string[] = []
    let stuck = (): void => {}
    const isStuck = new Promise<void>((resolve) => {
      stuck = resolve
    })
    one.listen(async (events, signal) => {
      heard.push(...events.map(({ value }) => String(value)))
      if (!heard.includes('b')) return
      stuck()
      await new Promise<void>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    })
    await rig.publish('a')
    await until('a is applied', () => heard.length === 1)
    await rig.publish('b')
    await isStuck
    await one.close()
    const after: string[] = []
    rig.open().listen(async (events) => {
      after.push(...events.map(({ value }) => String(value)))
    })
    await until('b is heard again', () => after.length > 0)
    expect(after).toEqual(['b'])
  })

  test('what was buried can be dug out', async () => {
    const rig = await openRig()
    const source = rig.open()
    const event = { partition: 0, offset: '3', key: null, value: Buffer.from('poison') }
    const { signal } = new AbortController()
    await source.bury([{ event, reason: 'not-json', detail: 'one JSON object would do' }], signal)
    expect(await rig.graves()).toEqual(['poison'])
  })
})

interface Records {
  readonly invalidations: Invalidations
  recorded(): Promise<readonly { entity: string; ids: readonly string[] }[]>
}

async function postgresRecords(): Promise<Records> {
  const url = await sharedDatabase()
  const pool = openPool(url)
  onTestFinished(() => pool.close())
  const namespace = ownNamespace()
  await register(
    pool,
    { namespace, hasL2: false, plane: 'outbox', entities: [thing()] },
    systemClock,
  )
  const client = await connect(url)
  return {
    invalidations: new PostgresInvalidations(pool, namespace),
    recorded: async () =>
      (
        await client.query(
          'select entity, ids from lockstep.outbox where namespace = $1 order by row_id',
          [namespace],
        )
      ).rows,
  }
}

async function memoryRecords(): Promise<Records> {
  const invalidations = new MemoryInvalidations(['thing'])
  return { invalidations, recorded: async () => invalidations.recorded }
}

describe.each([
  ['PostgreSQL', postgresRecords],
  ['memory', memoryRecords],
])('invalidations in %s', (_, openRecords) => {
  const { signal } = new AbortController()

  test('are recorded for the entities that are known, and the others are told', async () => {
    const { invalidations, recorded } = await openRecords()
    const keys = [
      { entity: 'thing', ids: ['1', 'é'] },
      { entity: 'nothing', ids: ['2'] },
    ]
    const answer = await invalidations.record(keys, signal)
    expect(answer).toEqual({ kind: 'recorded', unknown: new Set(['nothing']) })
    const rows = (await recorded()).map(({ entity, ids }) => ({ entity, ids: [...ids].sort() }))
    expect(rows).toEqual([{ entity: 'thing', ids: ['1', 'é'] }])
  })

  test('nothing is recorded when one of them is refused', async () => {
    const { invalidations, recorded } = await openRecords()
    const keys = [{ entity: 'thing', ids: ['1', 'a\u0000b'] }]
    const answer = await invalidations.record(keys, signal)
    expect(answer).toEqual({ kind: 'refused', why: expect.stringContaining('SQLSTATE 22') })
    expect(await recorded()).toEqual([])
  })

  test('an aborted one rejects', async () => {
    const { invalidations } = await openRecords()
    const aborted = AbortSignal.abort(new Error('over'))
    await expect(invalidations.record([{ entity: 'thing', ids: ['1'] }], aborted)).rejects.toThrow(
      'over',
    )
  })
})
