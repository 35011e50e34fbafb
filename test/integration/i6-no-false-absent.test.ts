/** I6: no filter says "does not exist" of an id whose insert has committed; in doubt it says "maybe". */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { BloomIds, BloomTable } from '../../src/model/bloom-option.ts'
import type { BuildProgress } from '../../src/model/filter-ports.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { installTriggers } from '../../src/postgres/triggers.ts'
import { publisher } from '../../src/publisher.ts'
import { startInstance } from '../support/instance.ts'
import { removeTopicAtEnd } from '../support/kafka.ts'
import { parseScrape } from '../support/scrape.ts'
import { startRedis } from '../support/servers.ts'
import {
  type Item,
  type ItemWorldCache,
  openWorld,
  planes,
  until,
  untilProven,
  type World,
} from '../support/world.ts'

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
      const isRefused = (await metricOf(cache, 'lockstep_bloom_refused_total')) > before
      // A filter answers before the process that keeps it has seen so.
      const isSeen = (await metricOf(cache, 'lockstep_bloom_ready')) === 1
      return isRefused && isSeen && (await metricOf(cache, 'lockstep_bloom_copied')) === 1
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
      const isTaken = async () => (await world.redis.exists(requestKey(world))) === 0
      await until('it is taken', isTaken, builtMs)
    }
  }
  await Promise.all([...caches.map((_, nth) => writer(nth)), rebuilds()])
  expect(missed).toBe(0)
  const isAnother = async () => (await generationOf(caches[0] as ItemWorldCache)) > generation
  await until('there is another generation', isAnother, builtMs)
  const rows = await world.sql(`select id from ${world.table}`)
  for (const cache of caches) {
    const found = await cache.item.getMany(rows.map((row) => Number(row.id)))
    expect(found.size).toBe(rows.length)
  }
})

const requestKey = ({ namespace }: World): string => `${namespace}:{bloom:item}:request`
const request = ({ redis, namespace }: World) => redis.set(requestKey({ namespace } as World), '')

/** SQL of others inserts a row; `tell` is how they tell of it: in the insert's transaction, or behind it. */
interface Foreign {
  readonly insert: (id: number) => Promise<unknown>
  readonly tell?: (id: number) => Promise<unknown>
}

/** B: who begins to read so long after the COMMIT of what was told with it is not refused. */
const boundMs = 1_000

async function expectFound(
  world: World,
  caches: readonly ItemWorldCache[],
  { insert: insertRow, tell }: Foreign,
): Promise<void> {
  for (const cache of caches) await untilRefusing(cache)
  for (let id = 500; id < 510; id++) {
    // It is not there yet, and the filter says so: nothing of that is kept.
    for (const cache of caches) expect(await cache.item.get(id)).toBeUndefined()
    await insertRow(id)
    const committedAt = performance.now()
    await tell?.(id)
    for (const cache of caches) {
      await until('it is there', async () => {
        const isLate = !tell && performance.now() - committedAt > boundMs
        const found = await cache.item.get(id)
        if (isLate) expect(found, `${id} a staleness bound after its COMMIT`).toBeDefined()
        return found !== undefined
      })
      expect(await cache.item.get(id, { consistency: 'strong' })).toMatchObject({ version: 7 })
      expect(await cache.item.get(id)).toMatchObject({ version: 7 })
    }
  }
  // Nobody has read these, and who joins now is not told of them: only the filter in Redis knows.
  const unread = Array.from({ length: 10 }, (_, nth) => 600 + nth)
  for (const id of unread) {
    await insertRow(id)
    await tell?.(id)
  }
  const committedAt = performance.now()
  const joined = await open(world)
  await untilRefusing(joined)
  await until('who joins finds them', async () => {
    const isLate = !tell && performance.now() - committedAt > boundMs
    const found = await joined.item.getMany(unread)
    if (isLate) expect([...found.keys()]).toEqual(unread)
    return found.size === unread.length
  })
}

const rowOf = ({ table }: World, id: number): string =>
  `insert into ${table} (id, version) values (${id}, 7)`

test('what SQL of others inserts is found a staleness bound after its COMMIT, by triggers', async () => {
  const world = await openWorld()
  const pool = openPool(world.databaseUrl)
  await installTriggers(pool, { table: world.table, entity: 'item', id: 'id' })
  await pool.close()
  const caches = [await open(world), await open(world)]
  await expectFound(world, caches, { insert: (id) => world.sql(rowOf(world, id)) })
})

describe.each(planes)('on the plane %s', (plane) => {
  test('what SQL of others inserts is found a staleness bound after its COMMIT, by lockstep.invalidate', async () => {
    const world = await openWorld({ plane })
    const caches = [await open(world), await open(world)]
    const { namespace } = world
    await expectFound(world, caches, {
      insert: (id) =>
        world.sql(
          `begin; ${rowOf(world, id)};
           select lockstep.invalidate('item', ${id}, '${namespace}'); commit`,
        ),
    })
  })
})

test('what SQL of others inserts is found when an event tells of it', async () => {
  const world = await openWorld({ plane: 'kafka' })
  const kafka = world.kafka as NonNullable<World['kafka']>
  for (const topic of ['events', 'dead-letters']) removeTopicAtEnd(`${kafka.topic}.${topic}`)
  const { namespace } = world
  const told = publisher({ namespace, kafka: { ...kafka, brokers: [...kafka.brokers] } })
  onTestFinished(() => told.close())
  const caches = [await open(world), await open(world)]
  await expectFound(world, caches, {
    insert: (id) => world.sql(rowOf(world, id)),
    tell: (id) => told.invalidate('item', [id]),
  })
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

/** How far the build that Redis knows of is; `undefined`: there is none. */
async function buildOf({ namespace, redis }: World) {
  const record = await redis.hgetall(`${namespace}:{bloom:item}:build`)
  if (record.progress === undefined) return undefined
  const progress = JSON.parse(record.progress) as BuildProgress
  return { generation: Number(record.generation), ...progress }
}

test('a builder that is killed half-way leaves nothing wrong, and another goes on where it was', async () => {
  const world = await openWorld()
  // Redis has been told of all that was before, so what is begun now will not be void for that.
  const plain = await world.open()
  await untilProven(plain)
  await world.sql(`insert into ${world.table} (id) select generate_series(10000, 509999)`)
  const child = await startInstance(world, { bloom: bloomOf(world) })
  const isHalfWay = async () => ((await buildOf(world))?.scanned ?? 0) > 0
  await until('a part of the ids is scanned', isHalfWay, builtMs)
  await child.kill()
  const left = await buildOf(world)
  expect(left?.scanned).toBeGreaterThan(0)
  expect(left?.scanned).toBeLessThan(left?.expected ?? 0)
  // Nobody is told of these: a builder that began anew would find them, one behind its cursor doesn't.
  await world.sql(`insert into ${world.table} (id) select generate_series(5000, 5019)`)
  await world.sql(`insert into ${world.table} (id) select generate_series(600000, 600019)`)
  const cache = await open(world)
  const news: unknown[] = []
  cache.on('bloom', ({ state, reason }) => news.push(reason ? `${state}: ${reason}` : state))
  // While nobody builds, or somebody does.
  await insert(plain, world, 4_000)
  const ready = async () => (await metricOf(cache, 'lockstep_bloom_ready')) === 1
  await until('another has built it', ready, builtMs)
  await untilRefusing(cache)
  await insert(cache, world, 4_001)
  expect(news).toEqual(['building: none', 'ready'])
  expect(await generationOf(cache)).toBe(left?.generation)
  const ids = Array.from({ length: 2_000 }, (_, nth) => 10_000 + 250 * nth)
  expect((await cache.item.getMany(ids)).size).toBe(2_000)
  const ahead = Array.from({ length: 20 }, (_, nth) => 600_000 + nth)
  expect((await cache.item.getMany([4_000, 4_001, ...ahead])).size).toBe(22)
  const behind = Array.from({ length: 20 }, (_, nth) => 5_000 + nth)
  expect((await cache.item.getMany(behind)).size).toBeLessThan(5)
})

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
