/**
 * A value that is too big to be cached must not make its readers queue behind each other, and a big one
 * that is not costs Redis less.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type ItemWorldCache, openWorld, type World } from '../support/world.ts'

const id = 1
const caches = 4
const readers = 200
/** What a load takes, and several times what a busy machine adds to it. */
const loadMs = 1_000
const bigBytes = 5 * 1024 * 1024

interface Wide {
  readonly body: string
}

async function openWide(body: string): Promise<World> {
  const world = await openWorld()
  await world.sql(`alter table ${world.table} add column body text not null default ''`)
  await setBody(world, body)
  return world
}

const setBody = (world: World, body: string): Promise<unknown> =>
  world.sql(`update ${world.table} set body = ${body} where id = ${id}`)

/** Loads that run at once, and the most that did. */
class Running {
  #now = 0
  most = 0

  async during(ms: number): Promise<void> {
    this.most = Math.max(this.most, ++this.#now)
    await pause(ms)
    this.#now--
  }
}

/** A cache whose loads take a while, and how many there were. */
async function openLoading(world: World, running: Running) {
  let loads = 0
  const cache = await world.open({
    afterRead: () => {
      loads++
      return running.during(loadMs)
    },
  })
  return { cache, loads: () => loads }
}

const bodyOf = (item: unknown): string | undefined => (item as Wide | undefined)?.body

/** All readers of all caches at once: what they were answered, how long that took, and the loads of each. */
async function round(all: readonly Awaited<ReturnType<typeof openLoading>>[]) {
  const before = all.map(({ loads }) => loads())
  const beganAtMs = performance.now()
  const items = await Promise.all(
    all.flatMap(({ cache }) => Array.from({ length: readers }, () => cache.item.get(id))),
  )
  const tookMs = performance.now() - beganAtMs
  return {
    lengths: new Set(items.map((item) => bodyOf(item)?.length)),
    loads: all.map(({ loads }, index) => loads() - (before[index] ?? 0)),
    tookMs,
  }
}

const rewrite = (cache: ItemWorldCache, world: World, body: string) =>
  cache.item.write(id, (tx) =>
    tx(world.table)
      .where({ id })
      .update({ body })
      .returning('*')
      .then(() => []),
  )

test('of a value that is too big each process makes one load a round, side by side', async () => {
  const world = await openWide(`repeat('x', ${bigBytes})`)
  const running = new Running()
  const all = await Promise.all(Array.from({ length: caches }, () => openLoading(world, running)))

  const first = await round(all)
  expect(first.lengths).toEqual(new Set([bigBytes]))
  expect(first.loads).toEqual([1, 1, 1, 1])
  // One finds out for all, and then the others load.
  expect(first.tookMs).toBeLessThan(caches * loadMs)
  expect(await world.redis.strlen(world.valueKey(id))).toBeLessThan(100)

  for (let again = 0; again < 2; again++) {
    running.most = 0
    const later = await round(all)
    expect(later.lengths).toEqual(new Set([bigBytes]))
    expect(later.loads).toEqual([1, 1, 1, 1])
    expect(later.tookMs).toBeGreaterThanOrEqual(loadMs - 1)
    expect(running.most).toBe(caches)
    expect(later.tookMs).toBeLessThan(2.5 * loadMs)
    expect(await world.redis.exists(world.fenceKey(id))).toBe(0)
  }
  const [one, two, three, four] = all.map(({ cache }) => cache) as [
    ItemWorldCache,
    ItemWorldCache,
    ItemWorldCache,
    ItemWorldCache,
  ]
  expect([one.item.peek(id), four.item.peek(id)]).toEqual([undefined, undefined])

  // A strong read and one with a ticket see what was written, still too big.
  const { ticket } = await rewrite(one, world, 'y'.repeat(bigBytes))
  const [strong, ticketed] = await Promise.all([
    two.item.get(id, { consistency: 'strong' }),
    three.item.get(id, { ticket }),
  ])
  expect([strong, ticketed].map((item) => bodyOf(item)?.slice(0, 1))).toEqual(['y', 'y'])

  // A write makes it small: the next load of any process is everybody's.
  await rewrite(two, world, 'small')
  expect(bodyOf(await three.item.get(id))).toBe('small')
  const entry = await four.item.getEntry(id)
  expect([bodyOf(entry.value), entry.tier]).toEqual(['small', 'l2'])
})

test('a big value lies in Redis compressed, is the same to all, and weighs in L1 what it is', async () => {
  const world = await openWide(
    `(select string_agg('row ' || n, ',') from generate_series(1, 20000) n)`,
  )
  const [one, two] = [await world.open(), await world.open()]
  const loaded = await one.item.get(id)
  const bytes = bodyOf(loaded)?.length ?? 0
  expect(bytes).toBeGreaterThan(100_000)
  expect(await world.redis.strlen(world.valueKey(id))).toBeLessThan(bytes / 2)
  const entry = await two.item.getEntry(id)
  expect(entry).toMatchObject({ tier: 'l2', value: loaded })

  // Damaged bytes are a miss that is counted, and the next fill repairs them.
  const key = world.valueKey(id)
  await world.redis.setrange(key, (await world.redis.strlen(key)) - 10, 'damaged')
  const three = await world.open()
  expect(await three.item.getEntry(id)).toMatchObject({ tier: 'source', value: loaded })
  expect(await three.metrics().metrics()).toMatch(/corrupt_values_total\{[^}]*\} 1\n/)
  const four = await world.open()
  expect(await four.item.getEntry(id)).toMatchObject({ tier: 'l2', value: loaded })
})
