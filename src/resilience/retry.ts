import type { Clock } from '../model/clock.ts'
import { sleep } from './deadline.ts'
import type { RetryBudget } from './retry-budget.ts'

export interface RetryOptions {
  /** Tries after the first. */
  readonly retries: number
  readonly isRetryable: (error: unknown) => boolean
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly random: () => number
  /** Shared by all that ask the same service. */
  readonly budget?: RetryBudget | undefined
}

/** What of it belongs to a hop. */
export type RetryPlan = Pick<RetryOptions, 'retries' | 'isRetryable' | 'budget'>

const firstDelayMs = 10
export const longestDelayMs = 200

/**
 * Calls until it succeeds, the error won't go away, the tries or the budget are used up, or the signal aborts.
 * Exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS 2015).
 */
export async function retry<T>(options: RetryOptions, call: () => Promise<T>): Promise<T> {
  options.budget?.called()
  for (let failed = 0; ; failed++) {
    try {
      return await call()
    } catch (error) {
      if (failed >= options.retries || options.signal.aborted || !options.isRetryable(error))
        throw error
      if (options.budget && !options.budget.mayRetry()) throw error
      const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** failed) * options.random()
      await sleep(delayMs, options.signal, options.clock)
      if (options.signal.aborted) throw error
    }
  }
}
