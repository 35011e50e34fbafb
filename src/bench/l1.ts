/** L1 against a bare Map: the same values, the same ids in the same order. */
import { setTimeout } from 'node:timers/promises'
import { type Contest, decide, type Effort } from './contest.ts'
import { allIds, type City, cityCount, type Size, uniformIds, zipfIds } from './data.ts'
import type { CityCache } from './places.ts'
import type { Row } from './row.ts'
import type { RowName } from './row-plans.ts'
import type { Stage } from './stage.ts'

const getsPerBlock = 20_000
/** How long L1 may take until it is served again. */
const mostTries = 50
const tryMs = 100

type Make = (cache: CityCache, map: ReadonlyMap<number, City>, ids: readonly number[]) => Contest

interface L1Row {
  readonly size: Size
  readonly ids: (count: number) => readonly number[]
  readonly make: Make
}

export const l1Rows = {
  'l1.get.uniform': { size: 200, ids: uniformIds, make: gets },
  'l1.get.zipf': { size: 200, ids: zipfIds, make: gets },
  'l1.peek': { size: 200, ids: uniformIds, make: peeks },
  'l1.get.uniform-2kb': { size: 2_048, ids: uniformIds, make: gets },
  'l1.get.zipf-2kb': { size: 2_048, ids: zipfIds, make: gets },
} as const satisfies Partial<Record<RowName, L1Row>>

export async function measureL1(
  name: keyof typeof l1Rows,
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<Row> {
  const { size, ids, make } = l1Rows[name]
  const cache = await stage.openCache({ name: `city-${size}`, size, maxEntries: cityCount })
  try {
    const cached = await cache.city.getMany(allIds())
    // Copies of its own, made as the cache makes its values: out of bytes.
    const map = new Map([...cached].map(([id, city]) => [id, JSON.parse(JSON.stringify(city))]))
    const count = Math.max(100, Math.round(getsPerBlock * effort.scale))
    return await decide(name, make(cache, map, ids(count)), effort)
  } finally {
    await cache.close()
  }
}

function gets(cache: CityCache, map: ReadonlyMap<number, City>, ids: readonly number[]): Contest {
  const sums = { ours: 0, bare: 0 }
  return {
    operations: ids.length,
    // Two loops, and not one that is given a function: it would cost both sides the same, which
    // flatters the slower one.
    ours: async () => {
      let sum = 0
      for (const id of ids) sum += ((await cache.city.get(id)) as City).id
      sums.ours = sum
    },
    bare: async () => {
      let sum = 0
      for (const id of ids) sum += ((await map.get(id)) as City).id
      sums.bare = sum
    },
    ...allHits(cache, ids.length, sums),
  }
}

function peeks(cache: CityCache, map: ReadonlyMap<number, City>, ids: readonly number[]): Contest {
  const sums = { ours: 0, bare: 0 }
  return {
    operations: ids.length,
    ours: async () => {
      let sum = 0
      for (const id of ids) sum += cache.city.peek(id)?.id ?? 0
      sums.ours = sum
    },
    bare: async () => {
      let sum = 0
      for (const id of ids) sum += map.get(id)?.id ?? 0
      sums.bare = sum
    },
    ...allHits(cache, ids.length, sums),
  }
}

/** L1 is served under trust, which a machine that is too busy lets lapse: then it begins anew. */
function allHits(
  cache: CityCache,
  gets: number,
  sums: { readonly ours: number; readonly bare: number },
): Required<Pick<Contest, 'prepare' | 'spoiled'>> {
  const hitsSoFar = (): number => cache.stats().city.hits.l1
  let before = 0
  return {
    prepare: async () => {
      for (let tries = 0; tries < mostTries && !isServed(cache); tries++) {
        if (tries > 0) await setTimeout(tryMs)
        await cache.city.getMany(allIds())
      }
      before = hitsSoFar()
    },
    spoiled: () => {
      const hits = hitsSoFar() - before
      if (hits === gets && sums.ours === sums.bare) return undefined
      return `${hits} of ${gets} reads were answered by L1`
    },
  }
}

function isServed(cache: CityCache): boolean {
  return cache.stats().city.l1Entries === cityCount && cache.city.peek(1) !== undefined
}
