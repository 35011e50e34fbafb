import type { Clock } from '../model/clock.ts'

interface Sample {
  readonly roundTripMs: number
  readonly offsetMs: number
}

const samplesKept = 16

/**
 * Redis' clock, as an offset to this process' monotonic one: of the last samples the one with the
 * smallest round trip is the most exact (RFC 5905, clock filter). Only expiry goes by it; no clock
 * is part of safety.
 */
export class RedisClock {
  readonly #clock: Clock
  readonly #samples: Sample[] = []
  #offsetMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#offsetMs = clock.wallMs() - clock.monotonicMs()
  }

  nowMs(): number {
    return this.#clock.monotonicMs() + this.#offsetMs
  }

  /** Redis said `redisMs` to a call that was sent at `sentAtMs` (monotonic) and has just been answered. */
  sample(redisMs: number, sentAtMs: number): void {
    const roundTripMs = this.#clock.monotonicMs() - sentAtMs
    this.#samples.push({ roundTripMs, offsetMs: redisMs - (sentAtMs + roundTripMs / 2) })
    if (this.#samples.length > samplesKept) this.#samples.shift()
    const best = this.#samples.reduce((a, b) => (b.roundTripMs < a.roundTripMs ? b : a))
    this.#offsetMs = best.offsetMs
  }
}
