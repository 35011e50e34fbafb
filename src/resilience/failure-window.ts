/**
 * When a breaker opens: too large a share of the calls of the last seconds has failed, or nothing but
 * failures has come for a while.
 *
 * opossum has the rolling window, and says when it is full. But one that is full of answers fills with
 * failures only as they leave it: where somebody stands in, a service that answers nothing any more is
 * left alone at once (`silenceMs`).
 *
 * An answer is only counted here: opossum is told of all of them with the next failure, since nothing
 * but a failure opens it. To fire it for each costs as much as a tenth of a round trip to Redis.
 */
import { EventEmitter } from 'node:events'
import CircuitBreaker from 'opossum'
import type { Clock } from '../model/clock.ts'
import type { BreakerSettings } from './hop-settings.ts'

export interface FailureWindowOptions {
  readonly name: string
  readonly settings: BreakerSettings
  readonly clock: Clock
  /** Nothing but failures for so long, and enough of them, opens it, however much was answered before. */
  readonly silenceMs: number
  readonly opened: () => void
}

const buckets = 5
/** opossum's own half-open never comes: the longest that Node's timers take. */
const neverMs = 2 ** 31 - 1

export class FailureWindow {
  readonly #breaker: CircuitBreaker<[unknown], never>
  readonly #options: FailureWindowOptions
  readonly #rotation = new EventEmitter()
  readonly #bucketMs: number
  #rotateAtMs: number
  /** Answers of this bucket that opossum has not been told of. */
  #untold = 0
  /** Failures since the last answer, and when the first and the last of them came. */
  #silence = 0
  #silentSinceMs = 0
  #failedAtMs = 0

  constructor(options: FailureWindowOptions) {
    const { clock, name, opened, settings } = options
    this.#options = options
    this.#bucketMs = settings.windowMs / buckets
    this.#rotateAtMs = clock.monotonicMs() + this.#bucketMs
    this.#breaker = new CircuitBreaker((error: unknown) => Promise.reject<never>(error), {
      name,
      timeout: false,
      resetTimeout: neverMs,
      errorThresholdPercentage: settings.errorRatio * 100,
      volumeThreshold: settings.leastCalls,
      rollingCountTimeout: settings.windowMs,
      rollingCountBuckets: buckets,
      // Nobody reads them, and they are had by sorting what each call of the last seconds took.
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      // Rotated by the next call, by our clock: a timer for each breaker would be one more to end.
      rotateBucketController: this.#rotation,
    })
    this.#breaker.on('open', opened)
  }

  answered(): void {
    this.#untold++
    this.#silence = 0
  }

  /** `reject` is called with the error when it has been counted. */
  failed(error: unknown, reject: (error: unknown) => void): void {
    if (this.isOpen) {
      reject(error)
      return
    }
    this.#tellAnswers()
    this.#breaker.fire(error).catch(reject)
    if (this.#isSilent() && !this.isOpen) this.#breaker.open()
  }

  /** As many buckets as have gone by since the last call. */
  rotate(): void {
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs < this.#rotateAtMs) return
    const gone = Math.floor((nowMs - this.#rotateAtMs) / this.#bucketMs) + 1
    this.#rotateAtMs += gone * this.#bucketMs
    this.#forget(Math.min(gone, buckets))
  }

  get isOpen(): boolean {
    return !this.#breaker.closed
  }

  open(): void {
    this.#breaker.open()
  }

  /** It begins anew, with nothing in it. */
  beginAnew(): void {
    this.#breaker.close()
    this.#forget(buckets)
  }

  /** No call comes any more: nothing to do with whether it is open. */
  get isShutDown(): boolean {
    return this.#breaker.isShutdown
  }

  close(): void {
    this.#breaker.shutdown()
    this.#rotation.removeAllListeners()
  }

  /** One failure more; in the window there would be enough of them. */
  #isSilent(): boolean {
    const { clock, settings, silenceMs } = this.#options
    const nowMs = clock.monotonicMs()
    if (nowMs - this.#failedAtMs > settings.windowMs / settings.leastCalls) this.#silence = 0
    if (this.#silence++ === 0) this.#silentSinceMs = nowMs
    this.#failedAtMs = nowMs
    return this.#silence >= settings.leastCalls && nowMs - this.#silentSinceMs >= silenceMs
  }

  #tellAnswers(): void {
    const [newest] = this.#breaker.status.window
    if (newest) newest.fires += this.#untold
    this.#untold = 0
  }

  #forget(count: number): void {
    this.#tellAnswers()
    for (let bucket = 0; bucket < count; bucket++) this.#rotation.emit('rotate')
  }
}
