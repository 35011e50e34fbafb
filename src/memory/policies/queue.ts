import type { Evictable } from './policy.ts'

/** A first-in first-out queue whose links lie in the entries: O(1) to take any of them out. */
export class Queue {
  #oldest: Evictable | undefined
  #newest: Evictable | undefined
  count = 0

  push(entry: Evictable): void {
    entry.previous = this.#newest
    entry.next = undefined
    if (this.#newest) this.#newest.next = entry
    else this.#oldest = entry
    this.#newest = entry
    this.count++
  }

  shift(): Evictable | undefined {
    const entry = this.#oldest
    if (entry) this.remove(entry)
    return entry
  }

  remove(entry: Evictable): void {
    if (entry.previous) entry.previous.next = entry.next
    else this.#oldest = entry.next
    if (entry.next) entry.next.previous = entry.previous
    else this.#newest = entry.previous
    entry.previous = undefined
    entry.next = undefined
    this.count--
  }

  clear(): void {
    this.#oldest = undefined
    this.#newest = undefined
    this.count = 0
  }
}
