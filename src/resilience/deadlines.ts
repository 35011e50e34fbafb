import type { Clock } from '../model/clock.ts'

/** One call; whoever is answered takes `late` away. */
export interface Waiting {
  readonly endsAtMs: number
  late: (() => void) | undefined
}

const compactAt = 1_024

/**
 * Deadlines that are all of the same length come in the order in which they began: one timer serves
 * them all, and the call that is answered in time costs no timer (0.4 µs each on Node 20).
 */
export class Deadlines {
  readonly #ms: number
  readonly #clock: Clock
  #queue: Waiting[] = []
  #head = 0
  #cancel: (() => void) | undefined

  constructor(ms: number, clock: Clock) {
    this.#ms = ms
    this.#clock = clock
  }

  /** `late` is called when its time is over, unless it has been taken away. */
  add(late: () => void): Waiting {
    const waiting: Waiting = { endsAtMs: this.#clock.monotonicMs() + this.#ms, late }
    this.#pass()
    this.#queue.push(waiting)
    this.#cancel ??= this.#clock.after(this.#ms, this.#ring)
    return waiting
  }

  /** What waits goes on waiting; without any nothing is left. */
  close(): void {
    this.#pass()
    if (this.#head < this.#queue.length) return
    this.#cancel?.()
    this.#cancel = undefined
  }

  /** Those that were answered, up to the first that waits. */
  #pass(): void {
    const queue = this.#queue
    while (this.#head < queue.length && queue[this.#head]?.late === undefined) this.#head++
    if (this.#head < compactAt && this.#head < queue.length) return
    queue.splice(0, this.#head)
    this.#head = 0
  }

  readonly #ring = (): void => {
    const nowMs = this.#clock.monotonicMs()
    this.#cancel = undefined
    for (;;) {
      this.#pass()
      const first = this.#queue[this.#head]
      if (!first) return
      if (first.endsAtMs > nowMs) {
        this.#cancel = this.#clock.after(first.endsAtMs - nowMs, this.#ring)
        return
      }
      const { late } = first
      first.late = undefined
      late?.()
    }
  }
}
