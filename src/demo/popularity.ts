/**
 * Which row is how popular, and how that changes: a hot set that drifts, and bursts (a few rows
 * that everybody looks at for a moment). All of it follows from the seed and the time, so that
 * processes with one seed agree without talking: only then do they meet at the same rows.
 */
import { randomBelow, seededRandom } from './random.ts'

/** Ranks that count as hot: the first hundredth. */
const hotShare = 0.01
/** Hot rows that change places with any other, in a second. */
const driftsPerSecond = 50
const burstEveryMs = 3_000
const burstLengthMs = 600
const burstRows = 8

export class Popularity {
  readonly #seed: number
  readonly #random: () => number
  readonly #idOfRank: Uint32Array
  readonly #hotRanks: number
  #drifted = 0
  #burst: { readonly period: number; readonly startMs: number; readonly ids: readonly number[] }

  /** Ids are 1 … `rows`. */
  constructor(rows: number, seed: number) {
    this.#seed = seed
    this.#random = seededRandom(seed)
    this.#idOfRank = shuffledIds(rows, this.#random)
    this.#hotRanks = Math.max(1, Math.floor(rows * hotShare))
    this.#burst = this.#burstOf(0)
  }

  /** Time doesn't go back: ask with growing times. */
  idOf(rank: number, elapsedMs: number): number {
    this.#drift(elapsedMs)
    return this.#idOfRank[rank] as number
  }

  /** The rows of the burst that is going on, if there is one. */
  burstAt(elapsedMs: number): readonly number[] | undefined {
    const period = Math.floor(elapsedMs / burstEveryMs)
    if (period !== this.#burst.period) this.#burst = this.#burstOf(period)
    const { startMs, ids } = this.#burst
    return elapsedMs >= startMs && elapsedMs < startMs + burstLengthMs ? ids : undefined
  }

  #drift(elapsedMs: number): void {
    const wanted = Math.floor((elapsedMs / 1_000) * driftsPerSecond)
    for (; this.#drifted < wanted; this.#drifted++) {
      const ids = this.#idOfRank
      const hot = randomBelow(this.#hotRanks, this.#random)
      const other = randomBelow(ids.length, this.#random)
      const id = ids[hot] as number
      ids[hot] = ids[other] as number
      ids[other] = id
    }
  }

  #burstOf(period: number): { period: number; startMs: number; ids: readonly number[] } {
    const random = seededRandom(this.#seed ^ Math.imul(period + 1, 0x9e3779b1))
    const offsetMs = randomBelow(burstEveryMs - burstLengthMs, random)
    const ids = Array.from(
      { length: burstRows },
      () => 1 + randomBelow(this.#idOfRank.length, random),
    )
    return { period, startMs: period * burstEveryMs + offsetMs, ids }
  }
}

function shuffledIds(rows: number, random: () => number): Uint32Array {
  const ids = Uint32Array.from({ length: rows }, (_, index) => index + 1)
  for (let last = rows - 1; last > 0; last--) {
    const other = randomBelow(last + 1, random)
    const id = ids[last] as number
    ids[last] = ids[other] as number
    ids[other] = id
  }
  return ids
}
