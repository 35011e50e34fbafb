/** Values that are loaded anew while they are fresh: behind a hit, by one process of all. */
import { expect, test } from 'vitest'
import { HotEntity } from '../../../src/coordinator/hot-entity.ts'
import { Trust } from '../../../src/coordinator/trust.ts'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../../src/memory/region.ts'
import { type FlagName, switchesOf } from '../../../src/model/flags.ts'
import { deferred, sleep } from '../../../src/resilience/deadline.ts'
import { over } from '../../support/over.ts'
import { cityEntity, now, type Process, type ProcessOptions, type World } from './process.ts'
import { onStage } from './stage.ts'

let world: World
const { start: startAny } = onStage([42], (renewed) => {
  world = renewed
})

const entity = cityEntity({ ttl: '10s', grace: 0, refreshAhead: 0.5 })

const start = (options: ProcessOptions = {}): Promise<Process> => startAny({ entity, ...options })

/** Half of the life is over, and there is something new that nobody is told of. */
async function due(afterMs = 5_500): Promise<void> {
  await world.clock.advance(afterMs)
  world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
}

test.each([true, false])(
  'a hit of L1 is answered, and loaded anew behind (with L2: %s)',
  async (hasL2) => {
    const one = await start({ hasL2 })
    await now(world, one.name(42))
    await world.clock.advance(4_900)
    await now(world, one.name(42))
    expect([one.loads.length, one.counters.refreshes]).toEqual([1, { early: 0, expired: 0 }])
    await due(600)
    expect(await now(world, Promise.all([one.name(42), one.name(42)]))).toEqual(['old', 'old'])
    expect([one.loads.length, one.counters.refreshes]).toEqual([2, { early: 1, expired: 0 }])
    expect(await now(world, one.name(42))).toBe('new')
    expect([one.loads.length, one.counters.l1Hits]).toEqual([2, 4])
  },
)

test('a hit of L2 is answered, and loaded anew behind', async () => {
  const [one, two] = [await start(), await start()]
  await now(world, one.name(42))
  await due()
  expect(await now(world, two.name(42))).toBe('old')
  expect([two.loads.length, two.counters.refreshes.early]).toEqual([1, 1])
  expect(await now(world, two.name(42))).toBe('new')
})

test('of many processes one loads, and the others take what it filled', async () => {
  const all = await Promise.all([start(), start(), start(), start()])
  for (const one of all) await now(world, one.name(42))
  const loads = (): number => all.reduce((sum, one) => sum + one.loads.length, 0)
  expect(loads()).toBe(1)
  await due()
  await now(world, Promise.all(all.map((one) => one.name(42))))
  expect(loads()).toBe(2)
  for (const one of all) await now(world, one.name(42))
  for (const one of all) expect(await now(world, one.name(42))).toBe('new')
  expect(loads()).toBe(2)
})

test('who looked at L2 before another’s refresh and acquires after it does not load again', async () => {
  const held = deferred<void>()
  let isHolding = false
  const one = await start()
  const two = await start({
    wrapL2: (l2) =>
      over(l2, {
        lookup: async (...args) => {
          const found = await l2.lookup(...args)
          if (isHolding) await held.promise
          return found
        },
      }),
  })
  for (const process of [one, two]) await now(world, process.name(42))
  await due()
  isHolding = true
  expect(await now(world, two.name(42))).toBe('old')
  expect(await now(world, one.name(42))).toBe('old')
  expect(one.loads.length + two.loads.length).toBe(2)
  isHolding = false
  held.resolve()
  await world.clock.settle()
  expect(one.loads.length + two.loads.length).toBe(2)
  expect(await now(world, two.name(42))).toBe('new')
  expect(world.redis.hasLease('city', '42')).toBe(false)
})

test('a refresh that fails is nobody’s error, and the value is served until its end', async () => {
  const one = await start()
  await now(world, one.name(42))
  await due()
  world.database.down = new Error('ECONNREFUSED')
  expect(await now(world, one.name(42))).toBe('old')
  expect(await now(world, one.name(42))).toBe('old')
  world.database.down = undefined
})

test('a closed reader begins none, and one under way ends with the cache', async () => {
  const hung = cityEntity({
    ...{ ttl: '10s', grace: 0, refreshAhead: 0.5 },
    load: (ids, { db, signal }) =>
      world.clock.monotonicMs() < 5_000
        ? Promise.resolve(db.rows('city', ids) as never)
        : sleep(1e6, signal, world.clock).then(() => []),
  })
  const one = await start({ entity: hung, hasL2: false, loadDeadlineMs: 1e6, readDeadlineMs: 3e6 })
  await now(world, one.name(42))
  await due()
  await now(world, one.name(42))
  expect(one.limiter.running).toBe(1)
  one.reader.close()
  const before = one.counters.refreshes.early
  one.reader.peek(42)
  expect(one.counters.refreshes.early).toBe(before)
  await one.close()
  await one.reader.drain()
  expect(one.limiter.running).toBe(0)
})

test('by default it is drawn near the end, the earlier the longer loads take', async () => {
  let drawn = 0.999
  const slow = cityEntity({
    ...{ ttl: '10s', grace: 0 },
    load: async (ids, { db, signal }) => {
      await sleep(100, signal, world.clock)
      return db.rows('city', ids) as never
    },
  })
  const one = await start({ entity: slow, hasL2: false, random: () => drawn })
  const first = one.name(42)
  await world.clock.advance(100)
  await first
  // The life of a value is drawn too: a tenth longer here.
  await world.clock.advance(10_500)
  await now(world, one.name(42))
  expect(one.counters.refreshes.early).toBe(0)
  drawn = 0.000_01
  await now(world, one.name(42))
  expect(one.counters.refreshes.early).toBe(1)
  await world.clock.advance(100)
  expect(one.loads.length).toBe(2)
})

test.each<[FlagName]>([['refresh.off'], ['serve.stale'], ['misses.shed']])(
  '%s: none is begun, neither by a hit of L1 nor by one of L2; a warm-up goes on where it may',
  async (flag) => {
    const flags = switchesOf([])
    const [one, two] = [await start({ flags }), await start({ flags })]
    await now(world, one.name(42))
    await due()
    flags[flag] = true
    expect(await now(world, one.name(42))).toBe('old')
    expect(await now(world, two.name(42))).toBe('old')
    expect([one, two].map(({ counters }) => counters.refreshes.early)).toEqual([0, 0])
    expect(one.loads.length + two.loads.length).toBe(1)
    if (flag === 'misses.shed') return
    const warmed = await now(world, two.reader.warm([1], {}))
    expect([warmed.absent, two.loads]).toEqual([1, [[1]]])
  },
)

test.each<[FlagName | undefined, number]>([
  [undefined, 0],
  ['fill.off', 1],
  ['l2.bypass', 1],
])(
  'a hot key is left to the one that is elected, unless nothing would come from there (%s)',
  async (flag, early) => {
    const flags = switchesOf([])
    const region = new L1Region({ maxEntries: 1, maxBytes: 1 }, new S3Fifo(1))
    const { clock } = world
    const hot = new HotEntity({
      ...{ entity, region, clock, instance: 'one', threshold: 1 },
      trust: new Trust({ regions: [], boundMs: 1, floorLagMs: 0, changed: () => {} }),
      noticed: () => {},
      changed: () => {},
    })
    hot.settle([{ entity: 'city', id: '42', readsPerSecond: 9, l1Share: 1, instances: ['other'] }])
    const one = await start({ flags, hot })
    await now(world, one.name(42))
    await due()
    if (flag) flags[flag] = true
    expect(await now(world, one.name(42))).toBe('old')
    expect([one.counters.refreshes.early, one.loads.length]).toEqual([early, 1 + early])
  },
)
