/**
 * One hop to a service: a deadline and a circuit breaker around each call, so that a service that
 * hangs costs its deadline a few times and then nothing until it answers again. The breaker counts
 * what says that the service is ill, not what it refuses.
 */
import CircuitBreaker from 'opossum'

export interface HopOptions {
  readonly name: string
  readonly deadlineMs: number
  /** Is this error an answer of a service that is well? */
  readonly isAnswer: (error: unknown) => boolean
}

const breakerDefaults = {
  errorThresholdPercentage: 50,
  volumeThreshold: 5,
  rollingCountTimeout: 5_000,
  rollingCountBuckets: 5,
  resetTimeout: 1_000,
} as const

export type BreakerState = 'closed' | 'open' | 'half-open'

type Call = () => Promise<unknown>

export class Hop {
  readonly #breaker: CircuitBreaker<[Call], unknown>

  constructor(options: HopOptions) {
    this.#breaker = new CircuitBreaker((call: Call) => call(), {
      ...breakerDefaults,
      name: options.name,
      timeout: options.deadlineMs,
      errorFilter: options.isAnswer,
    })
  }

  /** Rejects when the deadline is over, the breaker is open, or the call itself does. */
  run<T>(call: () => Promise<T>): Promise<T> {
    return this.#breaker.fire(call) as Promise<T>
  }

  get state(): BreakerState {
    if (this.#breaker.halfOpen) return 'half-open'
    return this.#breaker.opened ? 'open' : 'closed'
  }

  /** Called with each change of the state. */
  onChange(changed: (state: BreakerState) => void): void {
    this.#breaker.on('open', () => changed('open'))
    this.#breaker.on('halfOpen', () => changed('half-open'))
    this.#breaker.on('close', () => changed('closed'))
  }

  close(): void {
    this.#breaker.shutdown()
  }
}
