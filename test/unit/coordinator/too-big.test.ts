/** A value that is too big to be cached: what L2 keeps is that it is, and nobody waits for who loads it. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TooBig } from '../../../src/coordinator/too-big.ts'
import { loadedValue } from '../../../src/coordinator/values.ts'
import type { Logger } from '../../../src/model/log.ts'
import { newReadCounters } from '../../../src/telemetry/counters.ts'
import { snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'
import type { MemoryDb } from '../../support/ports.ts'
import {
  type City,
  cityEntity,
  now,
  type Process,
  type ProcessOptions,
  startProcess,
  World,
} from './process.ts'

const big = 'x'.repeat(200)
const loadMs = 20
const ttlMs = 60_000

let world: World
let processes: Process[]
beforeEach(() => {
  world = new World()
  processes = []
  world.seed([42], big)
  world.seed([1, 2, 3])
})
afterEach(async () => {
  for (const one of processes) await one.close()
  expect(world.clock.timers).toBe(0)
  expect(world.redis.waiting).toBe(0)
})

/** Each load of its takes a while. */
const slowly = async (ids: (number | string)[], { db }: { db: MemoryDb }): Promise<City[]> => {
  const rows = db.rows('city', ids) as City[]
  await new Promise<void>((resolve) => void world.clock.after(loadMs, resolve))
  return rows
}

async function start(options: ProcessOptions = {}, more: object = {}): Promise<Process> {
  const entity = cityEntity({ maxValueBytes: 100, ttl: ttlMs, grace: '10m', load: slowly, ...more })
  const one = await startProcess(world, { entity, ...options })
  processes.push(one)
  return one
}

async function loaded<T>(promise: PromiseLike<T>): Promise<T> {
  const read = watch(promise)
  await world.clock.advance(loadMs)
  expect(read.state).toBe('resolved')
  return promise
}

const acts = ({ calls }: Process): readonly string[] => calls.map(({ act }) => act)
const tooBig = ({ counters }: Process): number => counters.tooBigValues

describe('the verdict', () => {
  test('is found by the others, who load apart: no lease, no wait', async () => {
    const one = await start()
    const two = await start()
    expect(await loaded(one.name(42))).toBe(big)
    expect(acts(one)).toEqual(['lookup', 'acquire', 'fill'])
    expect(await loaded(two.name(42))).toBe(big)
    expect(acts(two)).toEqual(['lookup'])
    expect([one, two].map(tooBig)).toEqual([1, 1])
    expect(world.redis.hasLease('city', '42')).toBe(false)
  })

  test('lets many processes load at once, each once for all of its readers', async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => start()))
    await loaded((all[0] as Process).name(42))
    const reads = all.flatMap((one) => Array.from({ length: 50 }, () => one.name(42)))
    expect(new Set(await loaded(Promise.all(reads)))).toEqual(new Set([big]))
    expect(all.map(tooBig)).toEqual([2, 1, 1, 1])
  })

  test('ends the wait of who waited for the first load, after one more of its own', async () => {
    const one = await start()
    const two = await start()
    const first = watch(one.name(42))
    await world.clock.settle()
    const second = watch(two.name(42))
    await world.clock.advance(loadMs)
    expect([first.state, second.state]).toEqual(['resolved', 'pending'])
    await world.clock.advance(loadMs)
    expect(second.state).toBe('resolved')
    expect(acts(two).filter((act) => act === 'fill')).toEqual([])
  })

  test('is answered to a lease that is asked for too late', async () => {
    const one = await start()
    let overtaken: Promise<unknown> | undefined
    const two = await start({
      wrapL2: (l2) => ({
        ...l2,
        acquire: async (...asked) => {
          overtaken ??= one.name(42)
          await overtaken
          return l2.acquire(...asked)
        },
      }),
    })
    const read = watch(two.name(42))
    await world.clock.advance(loadMs)
    await world.clock.advance(loadMs)
    expect([read.state, await overtaken]).toEqual(['resolved', big])
    expect(acts(two)).toEqual(['lookup', 'acquire'])
  })

  test('stays out of L1, and peek has nothing', async () => {
    const one = await start()
    await loaded(one.name(42))
    await loaded(one.name(42))
    expect([one.reader.peek(42), one.region.count, tooBig(one)]).toEqual([undefined, 0, 2])
  })

  test('is not renewed by who reads it: past its ttl one process finds out for all', async () => {
    const one = await start()
    const two = await start()
    await loaded(one.name(42))
    const bytes = world.redis.valueBytes('city', 1, '42')
    await world.clock.advance(ttlMs / 2)
    await loaded(two.name(42))
    expect(world.redis.valueBytes('city', 1, '42')).toEqual(bytes)
    await world.clock.advance(ttlMs / 2)
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    await loaded(two.name(42))
    expect(acts(two)).toEqual(['lookup', 'lookup', 'acquire', 'fill'])
  })

  test('is replaced at its end where the value has become small and nobody was told', async () => {
    const one = await start()
    const two = await start()
    await loaded(one.name(42))
    world.seed([42], 'small')
    expect(await loaded(two.name(42))).toBe('small')
    expect(acts(two)).toEqual(['lookup'])
    await world.clock.advance(ttlMs)
    expect(await loaded(one.name(42))).toBe('small')
    const three = await start()
    expect(await now(world, three.name(42))).toBe('small')
    expect(three.counters.l2Hits).toBe(1)
  })

  test('is dropped by a write: what is small again is cached at once', async () => {
    const one = await start()
    const two = await start()
    await loaded(one.name(42))
    await now(world, one.write(42, 'small'))
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    expect(await loaded(two.name(42))).toBe('small')
    const three = await start()
    expect(await now(world, three.name(42))).toBe('small')
    expect(three.loads).toEqual([])
  })

  test('of another life of the database is none', async () => {
    const one = await start()
    await loaded(one.name(42))
    world.database.crash()
    await world.clock.advance(1_000)
    await loaded(one.name(42))
    expect(acts(one).slice(-3)).toEqual(['lookup', 'acquire', 'fill'])
  })
})

describe('a value that has become too big while a smaller one was cached', () => {
  test.each([
    ['past its soft expiry', ttlMs, {}],
    ['near it', 0.8 * ttlMs, { refreshAhead: 0.5 }],
  ])('%s is loaded once behind it, and then the smaller one is gone', async (_, laterMs, more) => {
    const one = await start({}, more)
    expect(await loaded(one.name(1))).toBe('old')
    await world.clock.advance(laterMs)
    world.seed([1], big)
    expect(await now(world, one.name(1))).toBe('old')
    await world.clock.advance(loadMs)
    expect(one.loads.length).toBe(2)
    expect([one.reader.peek(1), one.region.count]).toEqual([undefined, 0])
    expect(await loaded(one.name(1))).toBe(big)
  })
})

describe('a reader of a value that is too big', () => {
  test('that is strong has what was written before it began, on every process', async () => {
    const one = await start()
    const two = await start()
    await loaded(one.name(42))
    const early = watch(two.name(42))
    await world.clock.advance(loadMs / 2)
    const other = 'y'.repeat(200)
    world.database.putUnnoticed('city', 42, { id: 42, name: other })
    const strong = watch(two.name(42, { consistency: 'strong' }))
    await world.clock.advance(loadMs / 2)
    expect([early.state, strong.state]).toEqual(['resolved', 'pending'])
    await world.clock.advance(loadMs)
    expect(strong.state).toBe('resolved')
    expect([early.value, strong.value]).toEqual([big, other])
  })

  test('that has a ticket sees its write', async () => {
    const one = await start()
    const two = await start()
    await loaded(one.name(42))
    const { ticket } = await now(world, one.write(42, 'y'.repeat(200)))
    expect(await loaded(two.name(42, { ticket }))).toBe('y'.repeat(200))
    expect(await loaded(two.name(42, { ticket }))).toBe('y'.repeat(200))
  })

  test('is told that it came from the source, and is proven', async () => {
    const one = await start()
    await loaded(one.name(42))
    const entry = await loaded(one.reader.getEntry(42, {}))
    expect(entry).toMatchObject({ tier: 'source', state: 'fresh', isProven: true })
  })

  test('among many that are asked for at once holds up nobody, and is cached by nobody', async () => {
    const one = await start()
    await loaded(one.reader.getMany([1, 42], {}))
    const two = await start()
    const cities = await loaded(two.reader.getMany([1, 2, 42, 99], {}))
    expect([...cities.keys()]).toEqual([1, 2, 42])
    expect((cities.get(42) as City).name).toBe(big)
    expect(two.loads.flat().sort()).toEqual([2, 42, 99])
    expect(two.calls.filter(({ act }) => act === 'acquire').flatMap(({ ids }) => ids)).toEqual([
      '2',
      '99',
    ])
  })

  test('fails as its load does, and the next one tries again', async () => {
    const one = await start()
    await loaded(one.name(42))
    let failures = 1
    const two = await start(
      {},
      {
        load: (ids: number[], context: { db: MemoryDb }) =>
          failures-- > 0 ? Promise.reject(new Error('no')) : slowly(ids, context),
      },
    )
    await expect(now(world, two.name(42))).rejects.toThrow('no')
    expect(await loaded(two.name(42))).toBe(big)
  })
})

describe('what is told of it', () => {
  function open(ttl = ttlMs) {
    const clock = new VirtualClock()
    const lines: object[] = []
    const log = { warn: (fields: object) => void lines.push(fields) } as unknown as Logger
    const entity = cityEntity({ ttl, maxValueBytes: 100 })
    const counters = newReadCounters()
    const tooBig = new TooBig({ entity, counters, clock, log })
    const value = loadedValue(entity, { id: 1, name: big }, snapshot('1:1:'), 0, () => 0.5)
    const load = (key: number | string) =>
      tooBig.loaded({ key: key as never, text: `${key}` }, value)
    return { clock, lines, counters, load, bytes: value.payload?.length }
  }

  test('is one line for a key and its ttl, and every load counts', async () => {
    const { clock, lines, counters, load, bytes } = open()
    for (let times = 0; times < 3; times++) load(1)
    load(2)
    expect(lines).toEqual([
      { entity: 'city', id: '1', bytes },
      { entity: 'city', id: '2', bytes },
    ])
    await clock.advance(ttlMs - 1)
    load(1)
    expect(lines.length).toBe(2)
    await clock.advance(1)
    load(1)
    load(1)
    expect([lines.length, counters.tooBigValues]).toEqual([3, 7])
  })

  test('is remembered of so many keys and no more: of the first it is told again', () => {
    const { lines, load } = open()
    for (let key = 0; key <= 1_000; key++) load(key)
    load(1_000)
    load(1)
    expect(lines.length).toBe(1_001)
    load(0)
    expect(lines.length).toBe(1_002)
  })
})
