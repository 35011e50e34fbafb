/**
 * How often the ids of one entity are read in this process, in fixed memory: Filtered SpaceSaving
 * (Homem, Carvalho, "Finding top-k elements in data streams", 2010; SpaceSaving: Metwally, Agrawal,
 * El Abbadi, ICDT 2005) keeps the heaviest ids. All others are added up in cells by their hash, and
 * one whose cell outweighs the lightest that is kept takes its place, with the weight of the cell as
 * the most that it may have taken over from others. So most reads of what is not hot touch one cell.
 *
 * Reads lose half their weight in a half-life by forward decay (Cormode, Shkapenyuk, Srivastava, Xu,
 * ICDE 2009): new ones weigh more and more instead, and nothing is touched but what is read.
 *
 * No id is estimated below what it was read, and without what it may have taken over none above; one
 * that isn't kept was read no more often than the lightest that is, and so less than the total
 * divided by the places.
 */
import { hashOf } from '../model/hash.ts'
import type { L1Key } from '../model/id.ts'

export interface KeyRate {
  readonly key: L1Key
  /** As the caller had it. */
  readonly id: unknown
  /** At least so many. */
  readonly readsPerSecond: number
  /** Of these, which part L1 answered: 0 to 1. */
  readonly l1Share: number
}

export const halfLifeMs = 1_000
/** Ids that are kept: any with more than 1/256 of all reads is among them. */
const keptKeys = 256
/** A power of 2. */
const cells = 4_096

/** Half-lives until all weights are written anew: a double holds a thousand. */
const mostHalfLives = 200
/** What is nearer together counts as of the same time: a power costs as much as all else. */
export const grainMs = 8
/** What a steady rate of one read a second weighs, in reads. */
const readsOfRate = halfLifeMs / 1_000 / Math.LN2

export class KeyRates {
  readonly #places: number
  readonly #slots = new Map<L1Key, number>()
  readonly #keys: (L1Key | undefined)[]
  readonly #ids: unknown[]
  /** Weights as of the landmark: those of L1 and what an id may have taken over are parts of them. */
  readonly #weights: Float64Array
  readonly #l1Weights: Float64Array
  readonly #takenOver: Float64Array
  readonly #cells = new Float64Array(cells)
  /** Slots as a heap, the lightest first, and where in it each slot is. */
  readonly #heap: Int32Array
  readonly #placeOf: Int32Array
  #landmarkMs = 0
  #scaledAtMs = Number.NEGATIVE_INFINITY
  /** What a read weighs then. */
  #scale = 1

  constructor(places = keptKeys) {
    this.#places = places
    this.#keys = new Array(places).fill(undefined)
    this.#ids = new Array(places).fill(undefined)
    this.#weights = new Float64Array(places)
    this.#l1Weights = new Float64Array(places)
    this.#takenOver = new Float64Array(places)
    this.#heap = Int32Array.from({ length: places }, (_, slot) => slot)
    this.#placeOf = this.#heap.slice()
  }

  /** The id was read so many times; returns its reads a second, at least. */
  add(key: L1Key, id: unknown, times: number, isL1: boolean, nowMs: number): number {
    const weight = times * this.#scaleAt(nowMs)
    const slot = this.#slots.get(key) ?? this.#admit(key, id, weight)
    if (slot === undefined) return 0
    const all = (this.#weights[slot] as number) + weight
    this.#weights[slot] = all
    if (isL1) this.#l1Weights[slot] = (this.#l1Weights[slot] as number) + weight
    this.#sink(slot, all)
    return this.#rateOf(all - (this.#takenOver[slot] as number))
  }

  /** The ids that are read at least so often, the hottest first. */
  top(most: number, leastPerSecond: number, nowMs: number): readonly KeyRate[] {
    this.#scaleAt(nowMs)
    const found: KeyRate[] = []
    for (const [key, slot] of this.#slots) {
      const own = (this.#weights[slot] as number) - (this.#takenOver[slot] as number)
      const readsPerSecond = this.#rateOf(own)
      if (readsPerSecond < leastPerSecond) continue
      const l1Share = own > 0 ? Math.min(1, (this.#l1Weights[slot] as number) / own) : 0
      found.push({ key, id: this.#ids[slot], readsPerSecond, l1Share })
    }
    return found
      .sort((one, other) => other.readsPerSecond - one.readsPerSecond)
      .slice(0, Math.max(0, most))
  }

  /** As the caller had it; `undefined`: it is not kept. */
  idOf(key: L1Key): unknown {
    const slot = this.#slots.get(key)
    return slot === undefined ? undefined : this.#ids[slot]
  }

  /** Reads of the id that are left: at least, and at most. */
  boundsOf(key: L1Key, nowMs: number): { readonly least: number; readonly most: number } {
    const scale = this.#scaleAt(nowMs)
    const slot = this.#slots.get(key)
    if (slot === undefined) return { least: 0, most: this.#cellAt(hashOf(key)) / scale }
    const all = this.#weights[slot] as number
    return { least: (all - (this.#takenOver[slot] as number)) / scale, most: all / scale }
  }

  #rateOf(weight: number): number {
    return weight / this.#scale / readsOfRate
  }

  #scaleAt(nowMs: number): number {
    // What is told of late counts as of then.
    if (nowMs - this.#scaledAtMs < grainMs) return this.#scale
    this.#scaledAtMs = nowMs
    const halfLives = (nowMs - this.#landmarkMs) / halfLifeMs
    if (halfLives > mostHalfLives) this.#moveLandmark(nowMs, 2 ** -halfLives)
    else this.#scale = 2 ** halfLives
    return this.#scale
  }

  #moveLandmark(nowMs: number, share: number): void {
    for (const weights of [this.#weights, this.#l1Weights, this.#takenOver, this.#cells]) {
      for (const [place, weight] of weights.entries()) weights[place] = weight * share
    }
    this.#landmarkMs = nowMs
    this.#scale = 1
  }

  /** The slot of an id that is kept from now on; `undefined`: it went into its cell. */
  #admit(key: L1Key, id: unknown, weight: number): number | undefined {
    const hash = hashOf(key)
    const before = this.#cellAt(hash)
    const slot = this.#heap[0] as number
    const lightest = this.#weights[slot] as number
    if (before + weight < lightest) {
      this.#cells[hash & (cells - 1)] = before + weight
      return undefined
    }
    const leaving = this.#keys[slot]
    if (leaving !== undefined) {
      this.#slots.delete(leaving)
      const cell = hashOf(leaving) & (cells - 1)
      this.#cells[cell] = Math.max(this.#cells[cell] as number, lightest)
    }
    this.#slots.set(key, slot)
    this.#keys[slot] = key
    this.#ids[slot] = id
    this.#weights[slot] = before
    this.#takenOver[slot] = before
    this.#l1Weights[slot] = 0
    return slot
  }

  #cellAt(hash: number): number {
    return this.#cells[hash & (cells - 1)] as number
  }

  /** It has become heavier than it was when it was put there. */
  #sink(slot: number, weight: number): void {
    const heap = this.#heap
    let place = this.#placeOf[slot] as number
    for (;;) {
      let below = 2 * place + 1
      if (below >= this.#places) break
      const other = below + 1
      if (other < this.#places && this.#weightAt(other) < this.#weightAt(below)) below = other
      if (this.#weightAt(below) >= weight) break
      const lighter = heap[below] as number
      heap[place] = lighter
      this.#placeOf[lighter] = place
      place = below
    }
    heap[place] = slot
    this.#placeOf[slot] = place
  }

  #weightAt(place: number): number {
    return this.#weights[this.#heap[place] as number] as number
  }
}
