import { abortable, type Deferred, deferred } from './deadline.ts'

/**
 * At most `limit` calls run at once; at most `queueLimit` wait, in order. A call whose signal aborts
 * gives its place back, heeds it the signal or not: what hangs must not stop the rest for good.
 */
export class Limiter {
  readonly #limit: number
  readonly #queueLimit: number
  readonly #busy: () => Error
  #running = 0
  #queue: Deferred<void>[] = []

  constructor(limit: number, queueLimit: number, busy: () => Error) {
    this.#limit = limit
    this.#queueLimit = queueLimit
    this.#busy = busy
  }

  async run<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    await this.#enter(signal)
    try {
      return await abortable(call(), signal)
    } finally {
      this.#leave()
    }
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#queue.length
  }

  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#running < this.#limit) {
      this.#running++
      return
    }
    if (this.#queue.length >= this.#queueLimit) throw this.#busy()
    const turn = deferred<void>()
    this.#queue.push(turn)
    try {
      await abortable(turn.promise, signal)
    } catch (error) {
      const place = this.#queue.indexOf(turn)
      if (place >= 0) this.#queue.splice(place, 1)
      // The turn came at the very moment of the abort: it is passed on.
      else this.#leave()
      throw error
    }
  }

  /** The place goes to the next in line, so that nobody who comes later overtakes. */
  #leave(): void {
    const next = this.#queue.shift()
    if (next) next.resolve()
    else this.#running--
  }
}
