/** Warm-ups: what becomes of each id, at which pace, and how they end. */
import { expect, test } from 'vitest'
import type { WarmCounts } from '../../../src/coordinator/warm.ts'
import type { LockstepError } from '../../../src/model/errors.ts'
import { sleep } from '../../../src/resilience/deadline.ts'
import { watch } from '../../support/clock.ts'
import { cityEntity, now, type World } from './process.ts'
import { onStage } from './stage.ts'

let world: World
const { start } = onStage(
  Array.from({ length: 100 }, (_, id) => id),
  (renewed) => {
    world = renewed
  },
)

const ids = (count: number): number[] => Array.from({ length: count }, (_, id) => id)
const none: WarmCounts = { warmed: 0, absent: 0, failed: 0, skipped: 0 }
/** Each load takes so long. */
const slow = (tookMs: number, maxBatch = 10) =>
  cityEntity({
    maxBatch,
    load: async (some, { db, signal }) => {
      await sleep(tookMs, signal, world.clock)
      return db.rows('city', some) as never
    },
  })

test('what is warmed is a hit; the batches are those of the loader, and no metric has a read of it', async () => {
  const one = await start({ entity: cityEntity({ maxBatch: 10 }) })
  const progress: WarmCounts[] = []
  const warmed = one.reader.warm(ids(25), { progress: (counts) => progress.push(counts) })
  expect(await now(world, warmed)).toEqual({ ...none, warmed: 25 })
  expect(progress.map((counts) => counts.warmed).toSorted()).toEqual([10, 20, 25].toSorted())
  expect(one.loads.flat().length).toBe(25)
  expect(one.loads.length).toBe(3)
  expect([one.counters.sourceReads, one.counters.l2Hits]).toEqual([0, 0])
  for (const id of ids(25)) expect(one.reader.peek(id)).toBeDefined()
})

test('what is fresh in L1 is skipped, what lies in L2 is taken from there, and the rest is told apart', async () => {
  const [one, two] = [await start(), await start()]
  await now(world, one.name(1))
  await now(world, two.name(2))
  const warmed = one.reader.warm([1, 2, 3, 777, {}, 3], {})
  expect(await now(world, warmed)).toEqual({ warmed: 3, absent: 1, failed: 1, skipped: 1 })
  expect(one.loads.at(-1)).toEqual([3, 777])
})

test('ids may come one by one, from anything, and what it throws ends the warm-up', async () => {
  const one = await start({ entity: cityEntity({ maxBatch: 2 }) })
  let isClosed = false
  async function* some(): AsyncGenerator<number> {
    try {
      for (const id of ids(5)) yield id
    } finally {
      isClosed = true
    }
  }
  expect(await now(world, one.reader.warm(some(), {}))).toEqual({ ...none, warmed: 5 })
  expect(isClosed).toBe(true)
  expect(await now(world, one.reader.warm([], {}))).toEqual(none)
  const failing = watch(
    one.reader.warm(
      (function* () {
        yield 50
        throw new Error('no more')
      })(),
      {},
    ),
  )
  await world.clock.settle()
  expect((failing.error as Error).message).toBe('no more')
})

test('a rate is kept, in small batches', async () => {
  const one = await start()
  const warmed = watch(one.reader.warm(ids(100), { rate: 50 }))
  await world.clock.advance(1_000)
  const loaded = one.loads.flat().length
  expect(loaded).toBeGreaterThanOrEqual(45)
  expect(loaded).toBeLessThanOrEqual(55)
  await world.clock.advance(1_000)
  expect(warmed.value).toEqual({ ...none, warmed: 100 })
})

test('it leaves a place to who reads, and is never ahead of one who waits', async () => {
  const one = await start({ entity: slow(100), maxConcurrentLoads: 3 })
  const warmed = watch(one.reader.warm(ids(100), {}))
  await world.clock.settle()
  expect([one.limiter.running, one.limiter.waiting]).toEqual([2, 0])
  const read = watch(one.name(99))
  await world.clock.advance(100)
  expect(read.value).toBe('old')
  await world.clock.advance(1_000)
  expect(warmed.value).toMatchObject({ failed: 0 })
})

test('a batch that is shed is tried again, until there is room or its deadline is over', async () => {
  const blocked = await start({
    ...{ entity: slow(3_500, 1), maxConcurrentLoads: 1, loadDeadlineMs: 5_000 },
    readDeadlineMs: 60_000,
  })
  watch(blocked.name(1))
  await world.clock.settle()
  const warmed = watch(blocked.reader.warm([2], {}))
  await world.clock.advance(9_000)
  expect(blocked.shedLoads.filter((one) => one === 'warm-up').length).toBeGreaterThanOrEqual(2)
  expect(warmed.value).toEqual({ ...none, warmed: 1 })
  const full = await start({ maxConcurrentLoads: 1 })
  const held = watch(
    full.limiter.run(
      { rank: 0, raised: undefined } as never,
      full.closing.signal,
      () => new Promise(() => {}),
    ),
  )
  const failed = watch(full.reader.warm([3, 4], {}))
  await world.clock.advance(29_000)
  expect(failed.state).toBe('pending')
  await world.clock.advance(4_000)
  expect(failed.value).toEqual({ ...none, failed: 2 })
  expect(held.state).toBe('pending')
})

test('a signal ends it, and begins no further batch', async () => {
  const one = await start({ entity: slow(100), maxConcurrentLoads: 3 })
  const controller = new AbortController()
  let isClosed = false
  function* some(): Generator<number> {
    try {
      for (let id = 0; ; id++) yield id
    } finally {
      isClosed = true
    }
  }
  const warmed = watch(one.reader.warm(some(), { signal: controller.signal }))
  await world.clock.advance(250)
  controller.abort('enough')
  await world.clock.settle()
  expect([warmed.error, isClosed]).toEqual(['enough', true])
  const { length } = one.loads
  await world.clock.advance(1_000)
  expect(one.loads.length).toBe(length)
  const before = watch(one.reader.warm([1], { signal: AbortSignal.abort('before') }))
  await world.clock.settle()
  expect(before.error).toBe('before')
})

test('an iterable that hangs keeps nobody from ending it', async () => {
  const one = await start()
  const controller = new AbortController()
  async function* hanging(): AsyncGenerator<number> {
    yield 1
    await new Promise(() => {})
  }
  const warmed = watch(one.reader.warm(hanging(), { signal: controller.signal }))
  await world.clock.settle()
  controller.abort('enough')
  await world.clock.settle()
  expect(warmed.error).toBe('enough')
})

test('close() ends it with CLOSED, and so it does one that comes later', async () => {
  const one = await start({ entity: slow(100) })
  const warmed = watch(one.reader.warm(ids(100), { rate: 10 }))
  await world.clock.advance(150)
  one.reader.close()
  await world.clock.settle()
  expect((warmed.error as LockstepError).code).toBe('CLOSED')
  const late = watch(one.reader.warm([1], {}))
  await world.clock.settle()
  expect((late.error as LockstepError).code).toBe('CLOSED')
  await world.clock.advance(200)
})

test('what progress throws ends it', async () => {
  const one = await start({ entity: cityEntity({ maxBatch: 1 }) })
  const progress = (): void => {
    throw new Error('a bad listener')
  }
  const warmed = watch(one.reader.warm(ids(50), { progress }))
  await world.clock.settle()
  expect((warmed.error as Error).message).toBe('a bad listener')
})

test('ids that need no load leave the event loop to others', async () => {
  const one = await start({ entity: cityEntity({ maxBatch: 10 }) })
  await now(world, one.name(1))
  let turns = 0
  const count = (): void => {
    turns++
    if (turns < 5) setImmediate(count)
  }
  setImmediate(count)
  const warmed = await one.reader.warm(new Array(1_000).fill(1), {})
  expect(warmed).toEqual({ ...none, skipped: 1_000 })
  expect(turns).toBe(5)
})

test('what is warmed is cached, however few new keys a minute are, and takes no place of theirs', async () => {
  const one = await start({ entity: cityEntity({ maxNewKeysPerMinute: 10 }) })
  expect(await now(world, one.reader.warm(ids(90), {}))).toEqual({ ...none, warmed: 90 })
  expect([one.region.count, one.counters.uncachedKeys]).toEqual([90, 0])
  await now(world, one.name(95))
  expect(one.reader.peek(95)).toBeDefined()
})
