/**
 * When a value is loaded anew while it is still fresh, so that it doesn't expire under those who read
 * it. Each hit draws for itself, more probably the nearer the end is and the longer a load takes
 * (A. Vattani, F. Chierichetti, K. Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB
 * 2015); or at a fixed share of the ttl.
 */
import { ttlJitter } from '../model/defaults.ts'
import type { AnyEntity } from '../model/entity.ts'
import type { Candidate } from '../model/l1-port.ts'

/** A draw beyond so many mean loads comes once in nine million: nothing is drawn before. */
const mostMeans = 16
/** Never earlier than this share of its life: what was just loaded is not loaded again. */
const latestHalf = 0.5
/** Share of the newest load in the mean. */
const newestShare = 0.1

type Policy = Pick<AnyEntity, 'refreshAhead' | 'ttlMs' | 'negativeTtlMs'>

export class RefreshAhead {
  readonly #policy: Policy
  readonly #random: () => number
  #meanMs: number | undefined
  /**
   * What has been stale for less than this needs no closer look: all that a hit compares. Below 0, and
   * whole, so that V8 keeps it in place.
   */
  fromMs = 0
  #windowMs = 0

  constructor(policy: Policy, random: () => number) {
    this.#policy = policy
    this.#random = random
    const { refreshAhead, ttlMs, negativeTtlMs } = policy
    if (typeof refreshAhead === 'number') {
      this.#open((1 - refreshAhead) * Math.max(ttlMs, negativeTtlMs) * (1 + ttlJitter))
    }
  }

  #open(windowMs: number): void {
    this.#windowMs = windowMs
    this.fromMs = windowMs === 0 ? 0 : -Math.ceil(windowMs)
  }

  /** A load has ended. */
  loaded(tookMs: number): void {
    this.#meanMs =
      this.#meanMs === undefined ? tookMs : this.#meanMs * (1 - newestShare) + tookMs * newestShare
    if (this.#policy.refreshAhead === 'probabilistic') this.#open(mostMeans * this.#meanMs)
  }

  /** Is it so near its end that it may be loaded anew? What others have loaded anew is not. */
  isDue({ loadedAtMs, freshUntilMs }: Candidate, nowMs: number): boolean {
    const { refreshAhead } = this.#policy
    const leftMs = freshUntilMs - nowMs
    const lifeMs = freshUntilMs - loadedAtMs
    if (typeof refreshAhead === 'number') return lifeMs - leftMs >= refreshAhead * lifeMs
    return leftMs < Math.min(this.#windowMs, latestHalf * lifeMs)
  }

  /** And is it this reader who begins it? */
  isDrawn(candidate: Candidate, nowMs: number): boolean {
    if (!this.isDue(candidate, nowMs)) return false
    if (typeof this.#policy.refreshAhead === 'number') return true
    const earlyMs = -Math.log(this.#random()) * (this.#meanMs ?? 0)
    return candidate.freshUntilMs - nowMs <= earlyMs
  }
}
