import type { Clock } from '../model/clock.ts'
import { sleep } from './deadline.ts'

export interface RetryOptions {
  /** Tries after the first. */
  readonly retries: number
  readonly isRetryable: (error: unknown) => boolean
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly random: () => number
}

const firstDelayMs = 10
const longestDelayMs = 200

/**
 * Calls until it succeeds, the error won't go away, the tries are used up, or the signal aborts.
 * Exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS 2015).
 */
export async function retry<T>(options: RetryOptions, call: () => Promise<T>): Promise<T> {
  for (let failed = 0; ; failed++) {
    try {
      return await call()
    } catch (error) {
      if (failed >= options.retries || options.signal.aborted || !options.isRetryable(error))
        throw error
      const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** failed) * options.random()
      await sleep(delayMs, options.signal, options.clock)
      if (options.signal.aborted) throw error
    }
  }
}
