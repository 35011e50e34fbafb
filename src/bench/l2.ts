/** L2 hits, one by one and many at once, against bare commands over the same connection. */
import { setTimeout } from 'node:timers/promises'
import { decodeEnvelope } from '../model/envelope.ts'
import { type Contest, decide, type Effort, inLanes, NotMeasured } from './contest.ts'
import { allIds, type City, chunksOf, cityCount, cityOf, idsInTurn, type Size } from './data.ts'
import { type leftOutRows, measureLeftOut } from './left-out.ts'
import { bareKey, type CityCache, valueKey } from './places.ts'
import { type Row, valueRow } from './row.ts'
import type { RowName } from './row-plans.ts'
import type { Redis, Stage } from './stage.ts'

/** A tenth of the ids: asked for in turn, none of them is in L1. */
const l1Entries = cityCount / 10
const idsAtOnce = 100
const getsPerBlock = { 1: 200, 32: 960, 256: 2_048 } as const
const getManysPerBlock = 12
const ttlMs = 3_600_000
const keysPerCall = 1_000
const fillTries = 20
const fillTryMs = 100

type Concurrency = keyof typeof getsPerBlock

export const hitRows = {
  'l2.hit.c1': [200, 1],
  'l2.hit.c32': [200, 32],
  'l2.hit.c256': [200, 256],
  'l2.hit.c1-2kb': [2_048, 1],
  'l2.hit.c32-2kb': [2_048, 32],
  'l2.hit.c256-2kb': [2_048, 256],
} as const satisfies Partial<Record<RowName, readonly [Size, Concurrency]>>

/** All that stands in L2 and not in L1, and what sends to the same Redis without a cache. */
interface Sides {
  readonly cache: CityCache
  readonly redis: Redis
  readonly namespace: string
  readonly size: Size
  /** Each id in turn, from row to row: what was just read is in L1. */
  readonly next: () => number
}

type L2Effort = Effort & { readonly scale: number }

export function measureHits(
  name: keyof typeof hitRows,
  stage: Stage,
  effort: L2Effort,
): Promise<Row> {
  const [size, concurrency] = hitRows[name]
  return withSides(stage, size, (sides) =>
    decide(name, hits(sides, concurrency, effort.scale), effort),
  )
}

export function measureHitsWithout(
  name: keyof typeof leftOutRows,
  stage: Stage,
  effort: L2Effort,
): Promise<Row> {
  return withSides(stage, 200, (sides) => measureLeftOut(name, stage, effort, sides))
}

export function measureGetMany(
  name: 'get-many.100' | 'get-many.100-2kb',
  stage: Stage,
  effort: L2Effort,
): Promise<Row> {
  const size = name === 'get-many.100' ? 200 : 2_048
  return withSides(stage, size, (sides) => decide(name, getManys(sides, effort.scale), effort))
}

/** Commands a hit, by what the connection that the cache was given sends. */
export function measureHitCommands(stage: Stage, { rounds }: L2Effort): Promise<Row> {
  return withSides(stage, 200, async ({ cache, redis, next }) => {
    const one = async (): Promise<number> =>
      await commandsOf(redis, async () => void (await cache.city.get(next())))
    return valueRow('l2.hit.commands', await inTurn(rounds, one), 'largest')
  })
}

export function measureGetManyCommands(stage: Stage, { rounds }: L2Effort): Promise<Row> {
  return withSides(stage, 200, async ({ cache, redis, next }) => {
    const one = async (): Promise<number> =>
      await commandsOf(redis, async () => void (await cache.city.getMany(some(next))))
    return valueRow('get-many.commands', await inTurn(rounds, one), 'largest')
  })
}

export function measureEnvelope(stage: Stage): Promise<Row> {
  return withSides(stage, 200, async ({ redis, namespace }) => {
    const keys = allIds().map((id) => valueKey(namespace, 'city-200', id))
    const values = await redis.mgetBuffer(keys)
    const extra = values.map((bytes) => {
      const envelope = bytes ? decodeEnvelope(bytes) : undefined
      if (!bytes || !envelope?.payload) throw new NotMeasured('a value has left Redis')
      return bytes.length - envelope.payload.length - 4 * envelope.snapshot.xip.length
    })
    return valueRow('l2.envelope', extra, 'largest')
  })
}

const opened = new WeakMap<Stage, Map<Size, Promise<Sides>>>()

/** Once for all rows of that size. */
async function withSides(
  stage: Stage,
  size: Size,
  run: (sides: Sides) => Promise<Row>,
): Promise<Row> {
  const bySize = opened.get(stage) ?? new Map<Size, Promise<Sides>>()
  opened.set(stage, bySize)
  const sides = bySize.get(size) ?? openSides(stage, size)
  bySize.set(size, sides)
  return run(await sides)
}

async function openSides(stage: Stage, size: Size): Promise<Sides> {
  const { redis, place } = stage
  const { namespace } = place
  if (!redis) throw new NotMeasured('there is no Redis')
  const cache = await stage.openCache({ name: `city-${size}`, size, maxEntries: l1Entries })
  stage.atEnd(() => cache.close())
  await fillL2(cache, l1Entries)
  for (const ids of chunksOf(allIds(), keysPerCall)) {
    const pipeline = redis.pipeline()
    for (const id of ids) {
      pipeline.set(bareKey(namespace, size, id), JSON.stringify(cityOf(id, size)), 'PX', ttlMs)
    }
    await pipeline.exec()
  }
  return { cache, redis, namespace, size, next: idsInTurn() }
}

/** Values are filled behind the answers: until all of them are answered by L2. */
export async function fillL2(cache: CityCache, l1Entries: number): Promise<void> {
  for (let tries = 0; tries < fillTries; tries++) {
    const { hits, misses } = cache.stats().city
    for (const ids of chunksOf(allIds(), keysPerCall)) await cache.city.getMany(ids)
    const now = cache.stats().city
    if (now.misses === misses && now.hits.l2 - hits.l2 >= cityCount - l1Entries) return
    await setTimeout(fillTryMs)
  }
  throw new NotMeasured('L2 could not be filled')
}

function hits(sides: Sides, concurrency: Concurrency, scale: number): Contest {
  const { cache, redis, namespace, size, next } = sides
  const operations = Math.max(concurrency, Math.round(getsPerBlock[concurrency] * scale))
  let ids: readonly number[] = []
  const sums = { ours: 0, bare: 0 }
  return {
    operations,
    ours: async () => {
      let sum = 0
      await inLanes(concurrency, operations, async (index) => {
        const city = await cache.city.get(ids[index] as number)
        sum += (city as City).id
      })
      sums.ours = sum
    },
    bare: async () => {
      let sum = 0
      await inLanes(concurrency, operations, async (index) => {
        const text = await redis.get(bareKey(namespace, size, ids[index] as number))
        sum += (JSON.parse(text as string) as City).id
      })
      sums.bare = sum
    },
    ...allFromL2(cache, operations, sums, () => {
      ids = Array.from({ length: operations }, next)
    }),
  }
}

function getManys(sides: Sides, scale: number): Contest {
  const { cache, redis, namespace, size, next } = sides
  const operations = Math.max(1, Math.round(getManysPerBlock * scale))
  let calls: readonly (readonly number[])[] = []
  const sums = { ours: 0, bare: 0 }
  return {
    operations,
    ours: async () => {
      let sum = 0
      for (const ids of calls) {
        const cities = await cache.city.getMany(ids)
        for (const city of cities.values()) sum += city.id
      }
      sums.ours = sum
    },
    bare: async () => {
      let sum = 0
      for (const ids of calls) {
        const texts = await redis.mget(ids.map((id) => bareKey(namespace, size, id)))
        const cities = new Map<number, City>()
        for (const [index, text] of texts.entries()) {
          cities.set(ids[index] as number, JSON.parse(text as string) as City)
        }
        for (const city of cities.values()) sum += city.id
      }
      sums.bare = sum
    },
    ...allFromL2(cache, operations * idsAtOnce, sums, () => {
      calls = Array.from({ length: operations }, () => some(next))
    }),
  }
}

function allFromL2(
  cache: CityCache,
  gets: number,
  sums: { readonly ours: number; readonly bare: number },
  draw: () => void,
): Required<Pick<Contest, 'prepare' | 'spoiled'>> {
  let before = 0
  return {
    prepare: async () => {
      draw()
      before = cache.stats().city.hits.l2
    },
    spoiled: () => {
      const answered = cache.stats().city.hits.l2 - before
      if (answered === gets && sums.ours === sums.bare) return undefined
      return `${answered} of ${gets} reads were answered by L2`
    },
  }
}

function some(next: () => number): readonly number[] {
  return Array.from({ length: idsAtOnce }, next)
}

async function inTurn(rounds: number, one: () => Promise<number>): Promise<readonly number[]> {
  const counts: number[] = []
  while (counts.length < rounds) counts.push(await one())
  return counts
}

/**
 * What is sent meanwhile, counted where it is sent; without the barriers of whoever relays and the looks
 * of whoever keeps a filter, which no read sends.
 */
export async function commandsOf(redis: Redis, run: () => Promise<void>): Promise<number> {
  let count = 0
  const client = redis as { sendCommand(...args: unknown[]): unknown }
  const send = client.sendCommand
  client.sendCommand = (...args) => {
    if (!isOfNoRead(args[0])) count++
    return send.apply(redis, args)
  }
  try {
    await run()
    return count
  } finally {
    client.sendCommand = send
  }
}

/** A script whose one key is that of the barrier, or the third of them that of a build. */
function isOfNoRead(command: unknown): boolean {
  const { args } = command as { readonly args: readonly unknown[] }
  const isBarrier = Number(args[1]) === 1 && String(args[2]).endsWith(':barrier')
  return isBarrier || String(args[4]).endsWith('}:build')
}
