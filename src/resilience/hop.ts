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
  // Nobody reads them, and they are had by sorting what each call of the last seconds took.
  rollingPercentilesEnabled: false,
  enableSnapshots: false,
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

  get isClosed(): boolean {
    return this.#breaker.isShutdown
  }

  close(): void {
    this.#breaker.shutdown()
  }
}

/** The breakers of one service: one for each of its nodes. */
export class Breakers {
  readonly #hops = new Set<Hop>()
  readonly #listeners: ((state: BreakerState, node: string | undefined) => void)[] = []

  add(hop: Hop, node: string | undefined): void {
    for (const one of this.#hops) if (one.isClosed) this.#hops.delete(one)
    this.#hops.add(hop)
    hop.onChange((state) => {
      for (const changed of this.#listeners) changed(state, node)
    })
  }

  /** The worst of them. */
  get state(): BreakerState {
    const states = [...this.#hops].filter((hop) => !hop.isClosed).map(({ state }) => state)
    return (['open', 'half-open'] as const).find((state) => states.includes(state)) ?? 'closed'
  }

  /** Called with each change of a state; `node`: host and port, where there are several. */
  onChange(changed: (state: BreakerState, node: string | undefined) => void): void {
    this.#listeners.push(changed)
  }
}
