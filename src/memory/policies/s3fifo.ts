/**
 * S3-FIFO: a small queue for newcomers, a main queue for what was asked for again, and a ghost that
 * remembers who left the small one, so that a second coming goes straight to main. A hit only bumps
 * a counter. Source: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, K. V. Rashmi, "FIFO queues are all you need
 * for cache eviction", SOSP 2023, algorithm 1.
 *
 * The ghost is a table of fingerprints, one slot a hash: a collision forgets a ghost early, which
 * costs a hit and no memory.
 */
import type { Evictable, EvictionPolicy } from './policy.ts'
import { Queue } from './queue.ts'

const small = 0
const main = 1
const mostFrequency = 3
const smallShare = 0.1

export class S3Fifo implements EvictionPolicy {
  readonly #small = new Queue()
  readonly #main = new Queue()
  readonly #ghost: Ghost

  constructor(capacity: number) {
    this.#ghost = new Ghost(capacity)
  }

  admit(entry: Evictable): void {
    entry.frequency = 0
    entry.queue = this.#ghost.take(entry.hash) ? main : small
    this.#queueOf(entry).push(entry)
  }

  hit(entry: Evictable): void {
    if (entry.frequency < mostFrequency) entry.frequency++
  }

  remove(entry: Evictable): void {
    this.#queueOf(entry).remove(entry)
  }

  evict(): Evictable | undefined {
    const total = this.#small.count + this.#main.count
    if (this.#small.count > total * smallShare || this.#main.count === 0) {
      const victim = this.#evictSmall()
      if (victim) return victim
    }
    return this.#evictMain()
  }

  clear(): void {
    this.#small.clear()
    this.#main.clear()
    this.#ghost.clear()
  }

  #evictSmall(): Evictable | undefined {
    for (let entry = this.#small.shift(); entry; entry = this.#small.shift()) {
      if (entry.frequency <= 1) {
        this.#ghost.add(entry.hash)
        return entry
      }
      entry.frequency = 0
      entry.queue = main
      this.#main.push(entry)
    }
    return undefined
  }

  #evictMain(): Evictable | undefined {
    for (let entry = this.#main.shift(); entry; entry = this.#main.shift()) {
      if (entry.frequency === 0) return entry
      entry.frequency--
      this.#main.push(entry)
    }
    return undefined
  }

  #queueOf(entry: Evictable): Queue {
    return entry.queue === small ? this.#small : this.#main
  }
}

/** A region that is bound by bytes may name any count. */
const mostGhosts = 2 ** 20

/** Remembers about as many fingerprints as the cache has entries, each for as many insertions. */
class Ghost {
  readonly #capacity: number
  readonly #fingerprints: Uint32Array
  readonly #insertedAt: Uint32Array
  #insertions = 0

  constructor(capacity: number) {
    this.#capacity = Math.min(capacity, mostGhosts)
    const slots = 2 ** Math.ceil(Math.log2(Math.max(16, this.#capacity * 2)))
    this.#fingerprints = new Uint32Array(slots)
    this.#insertedAt = new Uint32Array(slots)
  }

  add(hash: number): void {
    const slot = hash & (this.#fingerprints.length - 1)
    this.#fingerprints[slot] = hash
    // 0 stands for an empty slot.
    this.#insertions = (this.#insertions + 1) >>> 0 || 1
    this.#insertedAt[slot] = this.#insertions
  }

  /** Was it here? It is no more afterwards. */
  take(hash: number): boolean {
    const slot = hash & (this.#fingerprints.length - 1)
    const insertedAt = this.#insertedAt[slot] as number
    if (insertedAt === 0 || this.#fingerprints[slot] !== hash) return false
    this.#insertedAt[slot] = 0
    // Both wrap at 2^32.
    return (this.#insertions - insertedAt) >>> 0 < this.#capacity
  }

  clear(): void {
    this.#insertedAt.fill(0)
  }
}
