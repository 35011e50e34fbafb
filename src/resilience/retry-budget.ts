import type { Clock } from '../model/clock.ts'

const retriesPerCall = 0.2
const leastPerSecond = 10
/** What may be saved up. */
const mostTokens = 100

/**
 * How much of its work a process may do again: a fifth of its calls, and a few a second beside, so that
 * retries heal what is rare and don't multiply an outage. A token bucket as in Finagle's `RetryBudget`
 * (20 % of calls, 10 a second); why per client: Google, "Site Reliability Engineering", chapter 21.
 */
export class RetryBudget {
  readonly #clock: Clock
  #tokens = mostTokens
  #countedAtMs: number
  made = 0
  refused = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#countedAtMs = clock.monotonicMs()
  }

  /** A call is made for the first time. */
  called(): void {
    this.#add(retriesPerCall)
  }

  /** Whether it may be made again; it counts as made then. */
  mayRetry(): boolean {
    const nowMs = this.#clock.monotonicMs()
    this.#add(((nowMs - this.#countedAtMs) / 1_000) * leastPerSecond)
    this.#countedAtMs = nowMs
    if (this.#tokens < 1) {
      this.refused++
      return false
    }
    this.#tokens--
    this.made++
    return true
  }

  #add(tokens: number): void {
    this.#tokens = Math.min(mostTokens, this.#tokens + tokens)
  }
}
