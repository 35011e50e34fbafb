/**
 * Time as the rooms below the front door see it: one object, so that a test or a simulator can
 * stand in for all of it.
 *
 * Two clocks, because neither is enough alone: the monotonic one doesn't count the time that a
 * machine was suspended, the wall clock is stepped at will. What must end in time ends when either
 * says so.
 */
export interface Clock {
  /** Milliseconds that only grow; their zero means nothing. */
  monotonicMs(): number
  /** Milliseconds since 1970. */
  wallMs(): number
  /** Runs after the present event-loop turn's chain of callbacks and promises. */
  defer(run: () => void): void
  /** Runs once, `ms` later; the returned function takes it back. */
  after(ms: number, run: () => void): () => void
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  defer: (run) => process.nextTick(run),
  after: (ms, run) => {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
}

/** One look at both clocks. */
export interface Reading {
  readonly monotonicMs: number
  readonly wallMs: number
}

const readingsPerLook = 64

/**
 * One look at the clocks serves one event-loop turn, and at most 64 readings: nothing that happened
 * outside can become known inside a turn, and a clock costs a third of an L1 hit. Synchronous waits
 * (execSync, Atomics.wait) inside a turn are the exception.
 */
export class TurnClock {
  readonly #clock: Clock
  #reading: Reading = { monotonicMs: 0, wallMs: 0 }
  #left = 0
  #dropScheduled = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  read(): Reading {
    if (this.#left === 0) this.#look()
    this.#left--
    return this.#reading
  }

  #look(): void {
    this.#reading = { monotonicMs: this.#clock.monotonicMs(), wallMs: this.#clock.wallMs() }
    this.#left = readingsPerLook
    if (this.#dropScheduled) return
    this.#dropScheduled = true
    this.#clock.defer(this.#drop)
  }

  readonly #drop = (): void => {
    this.#dropScheduled = false
    this.#left = 0
  }
}
