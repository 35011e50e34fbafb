/**
 * S3-FIFO: a small queue for newcomers, a main queue for what was asked for again, and a ghost that
 * remembers who left the small one, so that a second coming goes straight to main. A hit only bumps
 * a counter. Source: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, K. V. Rashmi, "FIFO queues are all you need
 * for cache eviction", SOSP 2023, algorithm 1.
 *
 * The ghost is a table of fingerprints, one place a hash: a collision forgets a ghost early, which
 * costs a hit and no memory.
 */
import type { Slot } from '../../model/l1-port.ts'
import { lengthened } from '../columns.ts'
import type { EvictionPolicy } from './policy.ts'
import { Links, Queue } from './queue.ts'

const mostFrequency = 3
const smallShare = 0.1

export class S3Fifo implements EvictionPolicy {
  readonly #links = new Links()
  readonly #small = new Queue(this.#links)
  readonly #main = new Queue(this.#links)
  readonly #ghost: Ghost
  #frequencies = new Uint8Array(0)
  #isInMain = new Uint8Array(0)

  constructor(capacity: number) {
    this.#ghost = new Ghost(capacity)
  }

  grow(capacity: number): void {
    this.#links.grow(capacity)
    this.#frequencies = lengthened(this.#frequencies, capacity)
    this.#isInMain = lengthened(this.#isInMain, capacity)
  }

  admit(slot: Slot, hash: number): void {
    if (this.#ghost.take(hash)) this.#pushMain(slot)
    else this.#pushSmall(slot)
  }

  hit(slot: Slot): void {
    const frequency = this.#frequencies[slot] as number
    if (frequency < mostFrequency) this.#frequencies[slot] = frequency + 1
  }

  remove(slot: Slot): void {
    const queue = this.#isInMain[slot] === 1 ? this.#main : this.#small
    queue.remove(slot)
  }

  evict(hashAt: (slot: Slot) => number): Slot | undefined {
    const total = this.#small.count + this.#main.count
    if (this.#small.count > total * smallShare || this.#main.count === 0) {
      const victim = this.#evictSmall(hashAt)
      if (victim !== undefined) return victim
    }
    return this.#evictMain()
  }

  clear(): void {
    this.#small.clear()
    this.#main.clear()
    this.#ghost.clear()
  }

  #evictSmall(hashAt: (slot: Slot) => number): Slot | undefined {
    for (let slot = this.#small.shift(); slot !== undefined; slot = this.#small.shift()) {
      if ((this.#frequencies[slot] as number) <= 1) {
        this.#ghost.add(hashAt(slot))
        return slot
      }
      this.#pushMain(slot)
    }
    return undefined
  }

  #evictMain(): Slot | undefined {
    for (let slot = this.#main.shift(); slot !== undefined; slot = this.#main.shift()) {
      const frequency = this.#frequencies[slot] as number
      if (frequency === 0) return slot
      this.#frequencies[slot] = frequency - 1
      this.#main.push(slot)
    }
    return undefined
  }

  #pushSmall(slot: Slot): void {
    this.#frequencies[slot] = 0
    this.#isInMain[slot] = 0
    this.#small.push(slot)
  }

  #pushMain(slot: Slot): void {
    this.#frequencies[slot] = 0
    this.#isInMain[slot] = 1
    this.#main.push(slot)
  }
}

/** A region that is bound by bytes may name any count. */
const mostGhosts = 2 ** 20

/** Remembers about as many fingerprints as the cache has entries, each for as many insertions. */
class Ghost {
  readonly #capacity: number
  // Made by the first that leaves: a cache that never is full needs none.
  #fingerprints = new Uint32Array(0)
  #insertedAt = new Uint32Array(0)
  #insertions = 0

  constructor(capacity: number) {
    this.#capacity = Math.min(capacity, mostGhosts)
  }

  add(hash: number): void {
    if (this.#fingerprints.length === 0) this.#open()
    const place = hash & (this.#fingerprints.length - 1)
    this.#fingerprints[place] = hash
    // 0 stands for an empty place.
    this.#insertions = (this.#insertions + 1) >>> 0 || 1
    this.#insertedAt[place] = this.#insertions
  }

  /** Was it here? It is no more afterwards. */
  take(hash: number): boolean {
    if (this.#fingerprints.length === 0) return false
    const place = hash & (this.#fingerprints.length - 1)
    const insertedAt = this.#insertedAt[place] as number
    if (insertedAt === 0 || this.#fingerprints[place] !== hash) return false
    this.#insertedAt[place] = 0
    // Both wrap at 2^32.
    return (this.#insertions - insertedAt) >>> 0 < this.#capacity
  }

  clear(): void {
    this.#insertedAt.fill(0)
  }

  #open(): void {
    const places = 2 ** Math.ceil(Math.log2(Math.max(16, this.#capacity * 2)))
    this.#fingerprints = new Uint32Array(places)
    this.#insertedAt = new Uint32Array(places)
  }
}
