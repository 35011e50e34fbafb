/**
 * A limit that finds out by itself how many calls at once a source can do: as long as more of them at
 * once take no longer each, there may be more. After Gradient2Limit of Netflix' concurrency-limits
 * (github.com/Netflix/concurrency-limits): what calls take now against what they took in the long
 * run, smoothed, with an allowance for a queue of the square root of the limit.
 *
 * In one thing it differs. A long-term mean that learns from every call learns from its own queue too,
 * and the limit creeps up without end. This one rises only by what is seen without a queue: while
 * fewer than half of the places are in use, and in a window now and then in which half of them are
 * closed, as TCP Vegas' and BBR's probes for the shortest round trip.
 */
import type { Limit } from './limiter.ts'

/** By how much longer than in the long run calls may take without a smaller limit. */
const tolerance = 1.2
/** Share of what one window says. */
const smoothing = 0.2
/** One window alone makes the limit no smaller than this share of it. */
const steepest = 0.5
const leastSamples = 16
const windowsPerProbe = 50

export class GradientLimit implements Limit {
  readonly #least: number
  readonly #most: number
  #limit: number
  /** What calls take without a queue; `undefined`: none has ended. */
  #longMs: number | undefined
  #sumMs = 0
  #samples = 0
  #mostRunning = 0
  #windowsLeft = windowsPerProbe
  #isProbing = false

  /** Whole numbers from 1; begins with `least`. */
  constructor({ least, most }: { readonly least: number; readonly most: number }) {
    this.#least = least
    this.#most = most
    this.#limit = least
  }

  get present(): number {
    if (this.#isProbing) return Math.max(this.#least, Math.floor(this.#limit / 2))
    return Math.floor(this.#limit)
  }

  ended(tookMs: number, running: number, isAnswered: boolean): void {
    // What fails at once says nothing of what a source can do; what hangs does.
    if (!isAnswered && tookMs < (this.#longMs ?? Number.POSITIVE_INFINITY)) return
    // While half of the places are being closed, those who run began with a queue.
    if (this.#isProbing && running > this.present) return
    this.#sumMs += tookMs
    this.#samples++
    this.#mostRunning = Math.max(this.#mostRunning, running)
    if (this.#samples >= Math.max(leastSamples, this.present)) this.#endWindow()
  }

  #endWindow(): void {
    // A millisecond is what a clock and an event loop are good for.
    const shortMs = Math.max(1, this.#sumMs / this.#samples)
    const hasNoQueue = this.#isProbing || this.#mostRunning < this.#limit / 2
    this.#learn(shortMs, hasNoQueue)
    if (!hasNoQueue) this.#adapt(shortMs)
    this.#isProbing = --this.#windowsLeft === 0
    if (this.#isProbing) this.#windowsLeft = windowsPerProbe
    this.#sumMs = 0
    this.#samples = 0
    this.#mostRunning = 0
  }

  #learn(shortMs: number, hasNoQueue: boolean): void {
    const longMs = this.#longMs ?? shortMs
    this.#longMs = shortMs < longMs || hasNoQueue ? (longMs + shortMs) / 2 : longMs
  }

  #adapt(shortMs: number): void {
    const gradient = Math.max(steepest, Math.min(1, (tolerance * (this.#longMs ?? 0)) / shortMs))
    const wanted = this.#limit * gradient + Math.sqrt(this.#limit)
    const smoothed = this.#limit * (1 - smoothing) + wanted * smoothing
    this.#limit = Math.min(this.#most, Math.max(this.#least, smoothed))
  }
}
