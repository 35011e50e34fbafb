/** Loads under overload: who goes first, who is shed, and what those who wait keep. */
import { describe, expect, test } from 'vitest'
import { LockstepError } from '../../../src/model/errors.ts'
import { isRetryableFailure } from '../../../src/postgres/retryable.ts'
import { type Deferred, deferred, sleep } from '../../../src/resilience/deadline.ts'
import { Hop } from '../../../src/resilience/hop.ts'
import { watch } from '../../support/clock.ts'
import { cityEntity, now, type Process, timing, type World } from './process.ts'
import { onStage } from './stage.ts'

let world: World
const { start } = onStage(
  Array.from({ length: 100 }, (_, id) => id),
  (renewed) => {
    world = renewed
  },
)

const codeOf = (error: unknown): string | undefined => (error as LockstepError | undefined)?.code

/** A loader of one id at a time, which ends when it is let go. */
function gate(options: Parameters<typeof cityEntity>[0] = {}) {
  const began: unknown[] = []
  const ends: Deferred<void>[] = []
  const entity = cityEntity({
    maxBatch: 1,
    load: async (ids, { db }) => {
      began.push(ids[0])
      const end = deferred<void>()
      ends.push(end)
      await end.promise
      return db.rows('city', ids) as never
    },
    ...options,
  })
  const go = async (): Promise<void> => {
    ends.shift()?.resolve()
    await world.clock.settle()
  }
  return { entity, began, go }
}

describe('waiting', () => {
  test('a load has its deadline for itself: what began is answered, and what can’t begin in time is shed', async () => {
    const tookMs = 100
    const entity = cityEntity({
      maxBatch: 1,
      load: async (ids, { db, signal }) => {
        await sleep(tookMs, signal, world.clock)
        return db.rows('city', ids) as never
      },
    })
    const one = await start({
      ...{ entity, maxConcurrentLoads: 2, loadDeadlineMs: 150, loadQueueDeadlineMs: 1_000 },
    })
    const reads = Array.from({ length: 50 }, (_, id) => watch(one.name(id)))
    await world.clock.advance(2_000)
    const answered = reads.filter(({ value }) => value === 'old').length
    // All that two places can do until the last may begin, and none of it for nothing.
    expect(answered).toBeGreaterThanOrEqual(20)
    expect(one.loads.length).toBe(answered)
    const codes = reads.filter(({ error }) => error).map(({ error }) => codeOf(error))
    expect(new Set(codes)).toEqual(new Set(['SOURCE_BUSY']))
    expect(one.shedLoads).toEqual(Array(50 - answered).fill('miss'))
    expect(one.counters.loadFailures.size).toBe(0)
  })

  test('leases are kept while their load waits for its turn, and given back when it is shed', async () => {
    const { entity, go } = gate()
    const options = { entity, maxConcurrentLoads: 1, loadDeadlineMs: 2_000, readDeadlineMs: 9_000 }
    const [one, other] = [await start(options), await start()]
    const first = watch(one.name(1))
    await world.clock.settle()
    const waiting = watch(one.name(42))
    const elsewhere = watch(other.name(42))
    await world.clock.advance(timing.loadQueueDeadlineMs - 10)
    expect([waiting.state, elsewhere.state, other.loads]).toEqual(['pending', 'pending', []])
    await go()
    await go()
    await world.clock.advance(200)
    expect([first.value, waiting.value, elsewhere.value]).toEqual(['old', 'old', 'old'])
    expect([one.loads.length, other.loads]).toEqual([2, []])
    watch(one.name(2))
    await world.clock.settle()
    const shed = watch(one.name(43))
    await world.clock.advance(timing.loadQueueDeadlineMs)
    expect([codeOf(shed.error), world.redis.hasLease('city', '43')]).toEqual(['SOURCE_BUSY', false])
    expect(await now(world, other.name(43))).toBe('old')
    await go()
  })

  test('however late one comes while a load waits for its turn, it joins it', async () => {
    const { entity, began, go } = gate()
    const one = await start({
      ...{ entity, maxConcurrentLoads: 1, boundMs: 400, pollIntervalMs: 50 },
      ...{ loadQueueDeadlineMs: 2_000, loadDeadlineMs: 3_000, readDeadlineMs: 9_000 },
    })
    watch(one.name(1))
    await world.clock.settle()
    const early = watch(one.name(42))
    await world.clock.advance(1_500)
    const late = watch(one.name(42))
    const strong = watch(one.name(42, { consistency: 'strong' }))
    await world.clock.settle()
    await go()
    await go()
    expect([early.value, late.value, strong.value]).toEqual(['old', 'old', 'old'])
    expect(began).toEqual([1, 42])
  })

  test('who leaves while the load waits leaves it to the others', async () => {
    const { entity, began, go } = gate()
    const one = await start({ entity, maxConcurrentLoads: 1 })
    watch(one.name(1))
    await world.clock.settle()
    const leaving = new AbortController()
    const gone = watch(one.name(42, { signal: leaving.signal }))
    await world.clock.settle()
    const other = watch(one.name(42))
    await world.clock.settle()
    leaving.abort('gone')
    await go()
    await go()
    expect([gone.error, other.value, began]).toEqual(['gone', 'old', [1, 42]])
  })
})

describe('who joins what is less urgent', () => {
  test('has the time to wait that is its own, and not what the other has left of it', async () => {
    const { entity, began, go } = gate()
    const one = await start({ entity, maxConcurrentLoads: 1, loadDeadlineMs: 2_000 })
    watch(one.name(1))
    await world.clock.settle()
    watch(one.reader.warm([42], {}))
    await world.clock.advance(timing.loadQueueDeadlineMs - 1)
    const read = watch(one.name(42))
    await world.clock.advance(10)
    expect(codeOf(read.error)).toBeUndefined()
    await go()
    await go()
    expect([read.value, began]).toEqual(['old', [1, 42]])
    await world.clock.advance(5_000)
  })
})

describe('classes', () => {
  test('tickets and strong reads go before misses, misses before refreshes, and warm-ups come last', async () => {
    const { entity, began, go } = gate({ ttl: '10s', grace: '60s' })
    const one = await start({ entity, maxConcurrentLoads: 1 })
    const old = watch(one.name(5))
    await world.clock.settle()
    await go()
    expect(old.value).toBe('old')
    await world.clock.advance(15_000)
    began.length = 0
    watch(one.name(1))
    await world.clock.settle()
    const warming = watch(one.reader.warm([2], {}))
    await world.clock.settle()
    expect(await now(world, one.name(5))).toBe('old')
    watch(one.name(3))
    await world.clock.settle()
    watch(one.name(4, { consistency: 'strong' }))
    await world.clock.settle()
    for (let load = 0; load < 5; load++) await go()
    expect(began).toEqual([1, 4, 3, 5, 2])
    expect(warming.value).toMatchObject({ warmed: 1 })
  })

  test('a miss that joins a refresh makes it as urgent as itself', async () => {
    const { entity, began, go } = gate({ ttl: '10s', grace: '60s' })
    const one = await start({ entity, maxConcurrentLoads: 1, hasL2: false })
    watch(one.name(5))
    await world.clock.settle()
    await go()
    await world.clock.advance(15_000)
    began.length = 0
    watch(one.name(1))
    await world.clock.settle()
    expect(await now(world, one.name(5))).toBe('old')
    watch(one.name(3))
    await world.clock.settle()
    const strong = watch(one.name(5, { consistency: 'strong' }))
    await world.clock.settle()
    for (let load = 0; load < 4; load++) await go()
    expect(strong.value).toBe('old')
    expect(began.indexOf(5)).toBeLessThan(began.indexOf(3))
  })

  test('a full queue sheds refreshes for misses; who has a stale value has it, and never waits', async () => {
    const { entity, go } = gate({ ttl: '10s', grace: '60s' })
    const one = await start({ entity, maxConcurrentLoads: 1, queuedLoads: 1 })
    const two = await start({ entity: cityEntity({ ttl: '10s', grace: '60s' }) })
    for (const id of [5, 6]) await now(world, two.name(id))
    await now(world, one.name(5))
    await world.clock.advance(15_000)
    watch(one.name(1))
    await world.clock.settle()
    // Of L1, then of L2: the second finds no room, and nobody hears of either.
    expect(await now(world, one.name(5))).toBe('old')
    expect(await now(world, one.name(6))).toBe('old')
    const miss = watch(one.name(2))
    await world.clock.settle()
    expect(one.shedLoads).toEqual(['refresh'])
    const before = one.calls.length
    expect(await now(world, one.name(5))).toBe('old')
    expect([one.calls.length - before, one.shedLoads.length]).toEqual([0, 1])
    for (const read of [1, 2]) expect(read, await go().then(() => '')).toBe(read)
    expect([miss.value, one.counters.readFailures.size]).toEqual(['old', 0])
    expect(one.counters.loadFailures.size).toBe(0)
  })
})

describe('too many new keys', () => {
  test('beyond the bound they are answered and cached nowhere, those known go on, and it is told once', async () => {
    const one = await start({ entity: cityEntity({ maxNewKeysPerMinute: 10, ttl: '5s' }) })
    const told: unknown[] = []
    one.events.on('key-space', (event) => told.push(event))
    for (let id = 0; id < 40; id++) expect(await now(world, one.name(id))).toBe('old')
    const kept = one.region.count
    expect(kept).toBeGreaterThanOrEqual(8)
    expect(kept).toBeLessThanOrEqual(16)
    expect(one.counters.uncachedKeys).toBe(40 - kept)
    expect(one.counters.fills.filled).toBe(kept)
    expect(told).toEqual([{ entity: 'city', limit: 10 }])
    for (let id = 0; id < 40; id++) expect(world.redis.hasLease('city', String(id))).toBe(false)
    // A value that expires is no new key.
    await world.clock.advance(6_000)
    await now(world, one.name(0))
    await now(world, one.name(0))
    expect(one.reader.peek(0)).toBeDefined()
    await world.clock.advance(60_000)
    for (let id = 60; id < 65; id++) await now(world, one.name(id))
    expect(one.counters.uncachedKeys).toBe(40 - kept)
  })

  test('nobody waits for who loads what will be kept nowhere', async () => {
    const tookMs = 20
    const entity = cityEntity({
      maxNewKeysPerMinute: 1,
      load: async (ids, { db, signal }) => {
        await sleep(tookMs, signal, world.clock)
        return db.rows('city', ids) as never
      },
    })
    const all: Process[] = []
    for (let nth = 0; nth < 5; nth++) {
      const one = await start({ entity })
      all.push(one)
      watch(one.name(`another ${nth}`))
      await world.clock.advance(tookMs)
    }
    const reads = all.map((one) => watch(one.name(42)))
    await world.clock.advance(tookMs)
    expect(reads.map(({ value }) => value)).toEqual(Array(5).fill('old'))
    expect(all.map(({ counters }) => counters.uncachedKeys)).toEqual(Array(5).fill(1))
    expect(world.redis.hasLease('city', '42')).toBe(false)
  })
})

describe('a breaker of the source', () => {
  test('what it refuses is refused once and at once, gives its place back, and is not shed', async () => {
    const refusal = (): Error => new LockstepError('SOURCE_UNAVAILABLE', 'its breaker is open')
    const { clock } = world
    const hop = new Hop({
      ...{ name: 'source', deadlineMs: timing.loadDeadlineMs, isAnswer: () => false },
      ...{ refusal, clock },
    })
    const one = await start({
      entity: cityEntity({ maxBatch: 1 }),
      maxConcurrentLoads: 1,
      wrapSource: (source) => ({
        ...source,
        load: (entity, ids, signal) => hop.run(() => source.load(entity, ids, signal), signal),
        isRetryable: isRetryableFailure,
      }),
    })
    hop.tighten(clock.monotonicMs() + 60_000, 'open')
    const ids = Array.from({ length: 50 }, (_, id) => id)
    const beganAtMs = clock.monotonicMs()
    const reads = ids.map((id) => watch(one.name(id)))
    await clock.settle()
    expect(clock.monotonicMs()).toBe(beganAtMs)
    expect(new Set(reads.map(({ error }) => codeOf(error)))).toEqual(
      new Set(['SOURCE_UNAVAILABLE']),
    )
    expect([hop.calls.refused, one.loads, one.shedLoads]).toEqual([ids.length, [], []])
    expect(one.counters.loadFailures.get('SOURCE_UNAVAILABLE')).toBe(ids.length)
    hop.close()
  })
})
