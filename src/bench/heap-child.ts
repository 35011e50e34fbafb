/** Weighs L1, in a process that may collect its garbage: forked by `heap.ts` with --expose-gc. */
import { setImmediate } from 'node:timers/promises'
import { lockstep } from '../lockstep.ts'
import { openPool } from '../postgres/pool.ts'
import { answerQuestions } from './children.ts'
import { allIds, chunksOf, cityCount } from './data.ts'
import { type CityCache, cityEntity, type Place } from './places.ts'
import { timing } from './stage.ts'

const idsAtOnce = 1_000

/** Bytes an entry over a Map, of as many regions as there are rounds. */
async function weigh({ place, rounds }: { place: Place; rounds: number }): Promise<number[]> {
  const { databaseUrl, redisUrl, namespace } = place
  const pool = openPool(databaseUrl)
  const kept: unknown[] = []
  const bytes: number[] = []
  try {
    // The first one brings all that is made once: code, connections, prepared buffers.
    for (let round = 0; round <= rounds; round++) {
      const entities = { city: cityEntity('city-200', 200, { l1: { maxEntries: cityCount } }) }
      const cache = await lockstep({
        namespace,
        postgres: pool.knex,
        redis: redisUrl,
        entities,
        timing,
      })
      try {
        const weight = await weighOne(cache, kept)
        if (round > 0) bytes.push(weight)
      } finally {
        await cache.close()
        kept.length = 0
      }
    }
    return bytes
  } finally {
    await pool.close()
  }
}

async function weighOne(cache: CityCache, kept: unknown[]): Promise<number> {
  const [first, ...others] = chunksOf(allIds(), idsAtOnce)
  await cache.city.getMany(first ?? [])
  // As often as below, so that what V8 compiles for it is there before.
  for (let times = 0; times < others.length; times++) await getEach(cache, first ?? [])
  const empty = await usedBytes()
  for (const ids of others) await cache.city.getMany(ids)
  // An entry weighs most once it has been asked for by itself.
  for (const ids of others) await getEach(cache, ids)
  const filled = await usedBytes()
  const map = new Map<number, unknown>()
  kept.push(map)
  for (const id of first ?? []) map.set(id, copyOf(cache, id))
  const emptyMap = await usedBytes()
  for (const ids of others) for (const id of ids) map.set(id, copyOf(cache, id))
  const filledMap = await usedBytes()
  return (filled - empty - (filledMap - emptyMap)) / (cityCount - idsAtOnce)
}

async function getEach(cache: CityCache, ids: readonly number[]): Promise<void> {
  for (const id of ids) await cache.city.get(id)
}

/**
 * Out of bytes, as the cache's own; with another name of the same length, because V8 keeps equal
 * short texts once: the Map would get them for nothing.
 */
function copyOf(cache: CityCache, id: number): unknown {
  const city = cache.city.peek(id)
  if (city === undefined) throw new Error(`id ${id} has left L1`)
  const other = { ...city, name: city.name.replace('City', 'Town') }
  return JSON.parse(Buffer.from(JSON.stringify(other)).toString())
}

async function usedBytes(): Promise<number> {
  for (let times = 0; times < 3; times++) {
    await setImmediate()
    globalThis.gc?.()
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

answerQuestions(weigh)
