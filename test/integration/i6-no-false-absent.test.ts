/** I6: no filter says "does not exist" of an id whose insert has committed; in doubt it says "maybe". */
import { expect, test, vi } from 'vitest'
import type { BloomIds, BloomTable } from '../../src/model/bloom-option.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { installTriggers } from '../../src/postgres/triggers.ts'
import { startInstance } from '../support/instance.ts'
import { parseScrape } from '../support/scrape.ts'
import { startRedis } from '../support/servers.ts'
import { type Item, type ItemWorldCache, openWorld, until, type World } from '../support/world.ts'

vi.setConfig({ testTimeout: 180_000 })

const bloomOf = ({ table }: World): BloomTable => ({ table, column: 'id' })

const open = (world: World, bloom: BloomTable | BloomIds<number, never> = bloomOf(world)) =>
  world.open({ entity: { bloom: bloom as never } })

async function metricOf(cache: ItemWorldCache, metric: string): Promise<number> {
  const text = await cache.metrics().metrics()
  const [one] = parseScrape(text).series(metric)
  return one?.value ?? Number.NaN
}

/**
 * A build waits for every transaction that was open when it began, of whatever database of the
 * server: those of other tests too.
 */
const builtMs = 60_000

/** The newest filter answers, this process has a copy of it, and the barrier beside it is proven. */
async function untilRefusing(cache: ItemWorldCache): Promise<void> {
  let id = 900_000_000
  await until(
    'an absent id is refused',
    async () => {
      const before = await metricOf(cache, 'lockstep_bloom_refused_total')
      expect(await cache.item.get(id++)).toBeUndefined()
      return (await metricOf(cache, 'lockstep_bloom_refused_total')) > before
    },
    builtMs,
  )
}

async function generationOf(cache: ItemWorldCache): Promise<number> {
  return metricOf(cache, 'lockstep_bloom_generation')
}

const insert = (cache: ItemWorldCache, { table }: World, id: number) =>
  cache.item.write(
    (tx) => tx<Item>(table).insert({ id, version: 1 }).returning('*') as PromiseLike<Item[]>,
  )

test('absent ids are answered without the source and take no room in L1; ids that exist are found', async () => {
  const world = await openWorld()
  let loaded = 0
  const cache = await world.open({
    entity: { bloom: bloomOf(world) },
    afterRead: async (ids) => {
      loaded += ids.length
    },
  })
  await untilRefusing(cache)
  loaded = 0
  const before = await metricOf(cache, 'lockstep_l1_entries')
  const absent = Array.from({ length: 2_000 }, (_, nth) => 1_000_000 + nth)
  expect((await cache.item.getMany(absent)).size).toBe(0)
  // At a rate of one in a thousand, and less.
  expect(loaded).toBeLessThan(20)
  expect((await metricOf(cache, 'lockstep_l1_entries')) - before).toBe(loaded)
  const present = Array.from({ length: 50 }, (_, nth) => 1 + nth)
  expect((await cache.item.getMany(present)).size).toBe(50)
})

test('an id is found as soon as its insert has returned, by whoever reads, also while filters are built', async () => {
  const world = await openWorld()
  const caches = [await open(world), await open(world), await open(world)]
  for (const cache of caches) await untilRefusing(cache)
  const generation = await generationOf(caches[0] as ItemWorldCache)
  let id = 1_000
  let missed = 0
  const until8s = performance.now() + 6_000
  const writer = async (nth: number): Promise<void> => {
    while (performance.now() < until8s) {
      const own = id++
      await insert(caches[nth] as ItemWorldCache, world, own)
      for (const cache of caches) if (!(await cache.item.get(own))) missed++
      if (own % 3 === 0) {
        await caches[nth]?.item.write(own, (tx) => tx(world.table).where({ id: own }).delete())
      }
    }
  }
  const rebuilds = async (): Promise<void> => {
    while (performance.now() < until8s) {
      await request(world)
      await until('it is taken', async () => (await world.redis.exists(requestKey(world))) === 0)
    }
  }
  await Promise.all([...caches.map((_, nth) => writer(nth)), rebuilds()])
  expect(missed).toBe(0)
  await until('there is another generation', async () => {
    return (await generationOf(caches[0] as ItemWorldCache)) > generation
  })
  const rows = await world.sql(`select id from ${world.table}`)
  for (const cache of caches) {
    const found = await cache.item.getMany(rows.map((row) => Number(row.id)))
    expect(found.size).toBe(rows.length)
  }
})

const requestKey = ({ namespace }: World): string => `${namespace}:{bloom:item}:request`
const request = ({ redis, namespace }: World) => redis.set(requestKey({ namespace } as World), '')

test('what SQL of others inserts is found a staleness bound after its COMMIT, by triggers and by the function', async () => {
  const world = await openWorld()
  const pool = openPool(world.databaseUrl)
  await installTriggers(pool, { table: world.table, entity: 'item', id: 'id' })
  await pool.close()
  const cache = await open(world)
  await untilRefusing(cache)
  for (let id = 500; id < 520; id++) {
    await world.sql(`insert into ${world.table} (id, version) values (${id}, 7)`)
    const committedAt = performance.now()
    // Whoever asks too soon may be told so, and keeps nothing of it.
    await until('it is there', async () => (await cache.item.get(id)) !== undefined)
    expect(performance.now() - committedAt).toBeLessThan(3_000)
    expect(await cache.item.get(id, { consistency: 'strong' })).toMatchObject({ version: 7 })
  }
})

test('strong reads and reads with a ticket are refused nothing', async () => {
  const world = await openWorld()
  let loaded = 0
  const cache = await world.open({
    entity: { bloom: bloomOf(world) },
    afterRead: async (ids) => {
      loaded += ids.length
    },
  })
  await untilRefusing(cache)
  const { ticket } = await world.write(cache, 1)
  loaded = 0
  const refused = await metricOf(cache, 'lockstep_bloom_refused_total')
  expect(await cache.item.get(777_001, { consistency: 'strong' })).toBeUndefined()
  expect(await cache.item.get(777_002, { ticket })).toBeUndefined()
  expect(loaded).toBe(2)
  expect(await metricOf(cache, 'lockstep_bloom_refused_total')).toBe(refused)
})

test('a Redis that forgets everything says "maybe" until the filter is built anew', async () => {
  const server = await startRedis()
  const world = await openWorld({ redisUrl: server.url })
  const cache = await open(world)
  await untilRefusing(cache)
  const generation = await generationOf(cache)
  for (let id = 2_000; id < 2_020; id++) await insert(cache, world, id)
  await world.redis.flushall()
  for (let id = 2_000; id < 2_020; id++) {
    expect(await cache.item.get(id, { consistency: 'strong' })).toBeDefined()
    expect(await cache.item.get(id)).toBeDefined()
  }
  await until('it is built anew', async () => (await generationOf(cache)) !== generation, builtMs)
  await untilRefusing(cache)
  const rows = await world.sql(`select id from ${world.table}`)
  expect((await cache.item.getMany(rows.map((row) => Number(row.id)))).size).toBe(rows.length)
})

test('a filter that is evicted says "maybe", and is built anew', async () => {
  const world = await openWorld()
  const cache = await open(world)
  await untilRefusing(cache)
  for (const slot of [0, 1]) await world.redis.del(`${world.namespace}:{bloom:item}:${slot}`)
  await insert(cache, world, 3_000)
  expect(await cache.item.get(3_000)).toBeDefined()
  expect(await cache.item.get(3_001)).toBeUndefined()
  await until(
    'there is one again',
    async () => (await metricOf(cache, 'lockstep_bloom_ready')) === 1,
    builtMs,
  )
  await untilRefusing(cache)
  expect(await cache.item.get(3_000)).toBeDefined()
})

test('a process that joins has the filter of those that run, and its inserts are in it', async () => {
  const world = await openWorld()
  const first = await open(world)
  await untilRefusing(first)
  const second = await open(world)
  const third = await world.open({})
  await untilRefusing(second)
  expect(await generationOf(second)).toBe(await generationOf(first))
  for (const [nth, cache] of [first, second, third].entries()) {
    const id = 4_000 + nth
    await insert(cache, world, id)
    for (const one of [first, second]) expect(await one.item.get(id)).toBeDefined()
  }
})

test('a builder that is killed half-way leaves nothing wrong, and another goes on', async () => {
  const world = await openWorld()
  await world.sql(`insert into ${world.table} (id) select generate_series(10000, 900000)`)
  const bloom = bloomOf(world)
  const child = await startInstance(world, { bloom })
  await until('it builds', async () => {
    const record = await world.redis.hgetall(`${world.namespace}:{bloom:item}:build`)
    return Object.keys(record).length > 0
  })
  await child.kill()
  const cache = await open(world)
  await until(
    'another has built it',
    async () => (await metricOf(cache, 'lockstep_bloom_ready')) === 1,
    builtMs,
  )
  await untilRefusing(cache)
  const ids = Array.from({ length: 2_000 }, (_, nth) => 10_000 + 445 * nth)
  expect((await cache.item.getMany(ids)).size).toBe(2_000)
}, 90_000)

test('a generator that throws fails its build alone, and the next try succeeds; repeats are harmless', async () => {
  const world = await openWorld()
  let calls = 0
  const bloom = {
    capacity: 1_000,
    async *ids({ db }: { db: never }) {
      calls++
      const rows = (await (
        db as unknown as (table: string) => { select(column: string): Promise<Item[]> }
      )(world.table).select('id')) as Item[]
      for (const { id } of rows) {
        yield id
        yield id
        if (calls === 1 && id === 20) throw new Error('the generator is broken')
      }
    },
  }
  const news: string[] = []
  const cache = await open(world, bloom as never)
  cache.on('bloom', ({ state }) => news.push(state))
  await untilRefusing(cache)
  expect(calls).toBe(2)
  expect(news).toContain('ready')
  expect((await cache.item.getMany(Array.from({ length: 50 }, (_, nth) => nth + 1))).size).toBe(50)
})

test('ten times as many ids as were expected make a filter of ten times the size', async () => {
  const world = await openWorld()
  await world.sql(`insert into ${world.table} (id) select generate_series(10000, 19999)`)
  const cache = await open(world, { ...bloomOf(world), capacity: 1_000 })
  await untilRefusing(cache)
  expect(await metricOf(cache, 'lockstep_bloom_estimated_rate')).toBeLessThan(0.002)
  const ids = Array.from({ length: 10_000 }, (_, nth) => 10_000 + nth)
  expect((await cache.item.getMany(ids)).size).toBe(10_000)
})

test('instances with other parameters agree on the filter that is there', async () => {
  const world = await openWorld()
  const first = await open(world)
  await untilRefusing(first)
  const generation = await generationOf(first)
  const second = await open(world, {
    ...bloomOf(world),
    falsePositiveRate: 0.01,
    capacity: 500_000,
  })
  await untilRefusing(second)
  await insert(second, world, 5_000)
  expect(await first.item.get(5_000)).toBeDefined()
  expect(await generationOf(second)).toBe(generation)
})
