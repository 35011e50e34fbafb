/** The keeper and the build that it has done, over filters in memory and virtual time. */
import { expect, onTestFinished, test } from 'vitest'
import type { FilterStatus, IdScan, L2Filters } from '../../../src/model/filter-ports.ts'
import { silent } from '../../../src/model/log.ts'
import type { Incarnation, Xid } from '../../../src/model/snapshot.ts'
import { FilterKeeper } from '../../../src/operations/filter-keeper.ts'
import type { BloomNews } from '../../../src/telemetry/events.ts'
import { memoryFilters } from '../../../src/testing/memory-filters.ts'
import { VirtualClock } from '../../support/clock.ts'
import { MemoryRedis } from '../../support/ports.ts'

interface Options {
  readonly ids?: number
  readonly capacity?: number
  readonly scan?: Partial<IdScan>
  readonly filters?: (filters: L2Filters) => Partial<L2Filters>
}

function world() {
  const clock = new VirtualClock()
  return { clock, redis: new MemoryRedis(clock), hasBarrier: true }
}

function keeper(of = world(), options: Options = {}) {
  const { clock, redis } = of
  const { ids = 10, capacity } = options
  const memory = memoryFilters(redis)
  const beside: Partial<L2Filters> = {
    status: async (entity) =>
      ({ ...(await memory.status(entity)), hasBarrier: of.hasBarrier }) as never,
  }
  const standing: L2Filters = { ...memory, ...beside }
  const filters: L2Filters = { ...standing, ...options.filters?.(standing) }
  const news: BloomNews[] = []
  const scan: IdScan = {
    canResume: true,
    count: async () => ids,
    pages: async function* () {
      yield { ids: Array.from({ length: ids }, (_, id) => String(id)), next: undefined }
    },
    xid: async () => ({ incarnation: '0000000000000001' as Incarnation, xid: 100 as Xid }),
    stateOf: async () => 'ended',
    rest: () => {},
    ...options.scan,
  }
  const copy = { generation: undefined, follow: async () => {}, drop: () => {} }
  const one = new FilterKeeper({
    ...{ entity: 'city', filters, scan, copy, clock, capacity, falsePositiveRate: 0.001 },
    log: silent,
    random: () => 0.5,
    told: (some) => news.push(some),
  })
  one.start()
  onTestFinished(async () => {
    const closed = one.close()
    await clock.advance(60_000)
    await closed
  })
  const status = async (): Promise<FilterStatus> => {
    const asked = memory.status('city')
    await clock.settle()
    return (await asked) as FilterStatus
  }
  const states = (): string[] => news.map(({ state }) => state)
  return { clock, redis, one, memory, news, states, status }
}

test('where there is none it is built, and then left alone', async () => {
  const { clock, one, states, status, news } = keeper()
  await clock.advance(5_000)
  expect(states()).toEqual(['building', 'ready'])
  expect(news[1]).toMatchObject({ ids: 10, generation: (await status()).current?.generation })
  await clock.advance(120_000)
  expect(one.outcomes).toEqual({ ready: 1, failed: 0 })
})

test('before a barrier lies beside it nothing is built: the first might outlive it', async () => {
  const young = { ...world(), hasBarrier: false }
  const { clock, states } = keeper(young)
  await clock.advance(5_000)
  expect(states()).toEqual([])
  young.hasBarrier = true
  await clock.advance(3_000)
  expect(states()).toEqual(['building', 'ready'])
})

test('of many who look one builds at a time', async () => {
  const shared = world()
  const keepers = [keeper(shared), keeper(shared), keeper(shared)]
  await shared.clock.advance(20_000)
  expect(keepers.reduce((sum, { one }) => sum + one.outcomes.ready, 0)).toBe(1)
})

test('of many who count for different times one builds, and the others leave it at that', async () => {
  const shared = world()
  const keepers = [0, 3_000, 6_000, 9_000].map((tookMs) => {
    const count = async (): Promise<number> => {
      await new Promise<void>((resolve) => void shared.clock.after(tookMs, resolve))
      return 10
    }
    return keeper(shared, { scan: { count } })
  })
  await shared.clock.advance(30_000)
  expect(keepers.map(({ one }) => one.outcomes.ready)).toEqual([1, 0, 0, 0])
})

test('a build that fails is tried again, less and less often, at least every five minutes', async () => {
  let calls = 0
  const count = async (): Promise<number> => {
    calls++
    throw new Error('no')
  }
  const { clock, one, states } = keeper(world(), { scan: { count } })
  await clock.advance(10_000)
  expect(calls).toBeGreaterThan(2)
  expect(calls).toBeLessThan(8)
  await clock.advance(3_600_000)
  const hour = calls
  await clock.advance(3_600_000)
  expect(calls - hour).toBeGreaterThanOrEqual(11)
  expect(calls - hour).toBeLessThan(20)
  expect(one.outcomes.failed).toBe(calls)
  expect(new Set(states())).toEqual(new Set(['failed']))
})

test('a request and a filter that is gone have it built; it is told that it was lost', async () => {
  const { clock, redis, one, memory, states } = keeper()
  await clock.advance(3_000)
  void memory.request('city')
  await clock.advance(3_000)
  expect(one.outcomes.ready).toBe(2)
  for (const slot of [0, 1] as const) redis.evictFilter('city', slot)
  await clock.advance(20_000)
  expect(one.outcomes.ready).toBe(3)
  expect(states()).toContain('lost')
})

test('a filter that is too full is built anew, once a minute at most', async () => {
  const full = (memory: L2Filters): Partial<L2Filters> => ({
    status: async (entity) => {
      const status = await memory.status(entity)
      if (status.kind !== 'status' || !status.current) return status
      return { ...status, current: { ...status.current, setBits: status.current.bits * 0.9 } }
    },
  })
  const { clock, one } = keeper(world(), { filters: full })
  await clock.advance(600_000)
  expect(one.outcomes.ready).toBeGreaterThan(8)
  expect(one.outcomes.ready).toBeLessThan(13)
})

test('more ids than it is made for make it larger', async () => {
  const { clock, one, status, news } = keeper(world(), { ids: 10_000, capacity: 1_000 })
  await clock.advance(10_000)
  expect(one.outcomes.ready).toBe(1)
  const { current } = await status()
  expect(current?.bits).toBeGreaterThan(12_500 * 14)
  expect(news.at(-1)).toMatchObject({ state: 'ready', ids: 10_000 })
})

test('a bitmap that lacks what was added to it never answers', async () => {
  const { clock, one, status, news } = keeper(world(), {
    filters: () => ({ merge: async () => ({ kind: 'done' }) }),
  })
  await clock.advance(3_000)
  expect(one.outcomes.ready).toBe(0)
  expect((await status()).current).toBeUndefined()
  expect(String(news.at(-1)?.error)).toContain('lacks ids')
})

test('the scan begins when every write from before has ended, and in the same life of the database', async () => {
  let state: 'ended' | 'open' | 'outlived' = 'open'
  let scanned = 0
  const { clock, one } = keeper(world(), {
    scan: {
      stateOf: async () => state,
      pages: async function* () {
        scanned++
        yield { ids: ['1'], next: undefined }
        if (scanned === 1) state = 'outlived'
      },
    },
  })
  await clock.advance(30_000)
  expect([scanned, one.outcomes.ready]).toEqual([0, 0])
  state = 'ended'
  await clock.advance(3_000)
  expect([scanned, one.outcomes.ready]).toEqual([1, 0])
  state = 'ended'
  await clock.advance(20_000)
  expect([scanned, one.outcomes.ready]).toEqual([2, 1])
})

test('what is under way when it is closed is gone on with by the next, from where it was', async () => {
  const shared = world()
  const cursors: (string | undefined)[] = []
  const slow = (isStuck: boolean): Partial<IdScan> => ({
    pages: async function* (cursor) {
      cursors.push(cursor)
      const ids = Array.from({ length: 100_000 }, (_, id) => String(id))
      if (cursor === undefined) yield { ids, next: '99999' }
      if (isStuck) await new Promise(() => {})
      yield { ids: ['100000'], next: undefined }
    },
    count: async () => 100_001,
  })
  const first = keeper(shared, { scan: slow(true) })
  await shared.clock.advance(2_000)
  await new Promise((resolve) => setTimeout(resolve, 300))
  await shared.clock.advance(2_000)
  const closed = first.one.close()
  await shared.clock.advance(1)
  const second = keeper(shared, { scan: slow(false) })
  await shared.clock.advance(30_000)
  await closed
  expect(second.one.outcomes.ready).toBe(1)
  expect(cursors).toEqual([undefined, '99999'])
}, 20_000)
