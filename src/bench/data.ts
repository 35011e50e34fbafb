/** The rows that are cached, and the order in which they are asked for. */
import { randomBelow, seededRandom } from '../demo/random.ts'
import { zipf } from '../demo/zipf.ts'

export interface City {
  readonly id: number
  readonly name: string
  readonly country: string
  readonly lat: number
  readonly lng: number
  readonly version: number
  readonly note: string
}

/** Ids are 1 … this many. */
export const cityCount = 10_000
/** Bytes of a row as JSON. */
export const sizes = [200, 2_048] as const
export type Size = (typeof sizes)[number]

const zipfExponent = 0.99

/** As JSON exactly `size` bytes long. */
export function cityOf(id: number, size: Size): City {
  const random = seededRandom(id)
  const degrees = (most: number): number => Math.round((random() - 0.5) * 2 * most * 1e4) / 1e4
  const [lat, lng] = [degrees(90), degrees(180)]
  const city = { id, name: `City ${id}`, country: 'FR', lat, lng, version: 0, note: '' }
  return { ...city, note: 'x'.repeat(size - JSON.stringify(city).length) }
}

export function allIds(): readonly number[] {
  return Array.from({ length: cityCount }, (_, index) => index + 1)
}

export function uniformIds(count: number): readonly number[] {
  const random = seededRandom(1)
  return Array.from({ length: count }, () => 1 + randomBelow(cityCount, random))
}

/** What is popular lies anywhere among the ids. */
export function zipfIds(count: number): readonly number[] {
  const random = seededRandom(2)
  const byRank = [...allIds()]
  for (let last = byRank.length - 1; last > 0; last--) {
    const other = randomBelow(last + 1, random)
    const swapped = byRank[last] as number
    byRank[last] = byRank[other] as number
    byRank[other] = swapped
  }
  const rank = zipf(cityCount, zipfExponent)
  return Array.from({ length: count }, () => byRank[rank(random)] as number)
}

/** Each id in turn, over and over: with an L1 of a tenth each is a miss there. */
export function idsInTurn(): () => number {
  let last = 0
  return () => {
    last = (last % cityCount) + 1
    return last
  }
}

export function chunksOf<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )
}
