import type { Slot } from '../../model/l1-port.ts'
import { lengthened } from '../columns.ts'

const nobody = -1

/** The neighbours of each slot, for all queues of a policy: a slot is in one of them at a time. */
export class Links {
  older = new Int32Array(0)
  newer = new Int32Array(0)

  grow(capacity: number): void {
    this.older = lengthened(this.older, capacity)
    this.newer = lengthened(this.newer, capacity)
  }
}

/** A first-in first-out queue of slots: O(1) to take any of them out. */
export class Queue {
  readonly #links: Links
  #oldest = nobody
  #newest = nobody
  count = 0

  constructor(links: Links) {
    this.#links = links
  }

  push(slot: Slot): void {
    const { older, newer } = this.#links
    older[slot] = this.#newest
    newer[slot] = nobody
    if (this.#newest === nobody) this.#oldest = slot
    else newer[this.#newest] = slot
    this.#newest = slot
    this.count++
  }

  shift(): Slot | undefined {
    if (this.#oldest === nobody) return undefined
    const slot = this.#oldest as Slot
    this.remove(slot)
    return slot
  }

  remove(slot: Slot): void {
    const { older, newer } = this.#links
    const before = older[slot] as number
    const after = newer[slot] as number
    if (before === nobody) this.#oldest = after
    else newer[before] = after
    if (after === nobody) this.#newest = before
    else older[after] = before
    this.count--
  }

  clear(): void {
    this.#oldest = nobody
    this.#newest = nobody
    this.count = 0
  }
}
