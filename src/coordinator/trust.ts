/**
 * Trust (DESIGN §6): until when L1 may be served, and the floor that goes with it.
 *
 * A proven probe is a snapshot S0 that was asked for at t0, with every write that it sees already
 * acted on here. So L1 misses nothing that was committed before t0, and is served while
 * now - t0 ≤ B: by both clocks, because the monotonic one stands still while the machine is
 * suspended.
 *
 * The floor, which a loaded value has to cover to enter L1, follows the newest S0 at a distance of
 * one load: were the floor S0 itself, no load that is slower than the polls would ever enter. That
 * costs nothing but memory: writes between the two are remembered by the regions.
 */
import type { Reading } from '../model/clock.ts'
import type { Region } from '../model/l1-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { TrustChange, TrustLoss } from '../telemetry/events.ts'

interface Probe {
  readonly snapshot: Snapshot
  readonly atMs: number
}

export interface TrustOptions {
  readonly regions: readonly Region[]
  /** B. */
  readonly boundMs: number
  /** The longest that a load takes. */
  readonly floorLagMs: number
  readonly changed: (change: TrustChange) => void
}

export class Trust {
  readonly #options: TrustOptions
  #floor: Probe | undefined
  #nextFloor: Probe | undefined
  #monotonicUntilMs = Number.NEGATIVE_INFINITY
  #wallUntilMs = Number.NEGATIVE_INFINITY
  /** As it was told last: that trust has run out is noticed late. */
  #isToldGained = false

  constructor(options: TrustOptions) {
    this.#options = options
  }

  /** Is what lies in L1 known to be fresh as of B ago? */
  isProven(now: Reading): boolean {
    return now.monotonicMs <= this.#monotonicUntilMs && now.wallMs <= this.#wallUntilMs
  }

  /** How long ago L1 was known to be fresh. */
  ageMs(now: Reading): number {
    return now.monotonicMs - this.#monotonicUntilMs + this.#options.boundMs
  }

  /** The regions have been told of every write that this snapshot sees. */
  advance(t0: Reading, snapshot: Snapshot): void {
    const probe: Probe = { snapshot, atMs: t0.monotonicMs }
    this.#floor ??= probe
    this.#nextFloor ??= probe
    if (probe.atMs - this.#nextFloor.atMs >= this.#options.floorLagMs) {
      this.#floor = this.#nextFloor
      this.#nextFloor = probe
    }
    for (const region of this.#options.regions) region.settle(this.#floor.snapshot)
    this.#monotonicUntilMs = t0.monotonicMs + this.#options.boundMs
    this.#wallUntilMs = t0.wallMs + this.#options.boundMs
    if (this.#isToldGained) return
    this.#isToldGained = true
    this.#options.changed({ state: 'gained' })
  }

  /** Tells if trust has run out since it was last told of. */
  notice(now: Reading): void {
    if (!this.#isToldGained || this.isProven(now)) return
    this.#isToldGained = false
    this.#options.changed({ state: 'lost', reason: 'expired' })
  }

  /** Something may have been missed: L1 is emptied, and nothing enters until the next proof. */
  lose(reason: TrustLoss): void {
    const hadProof = this.#floor !== undefined
    this.#floor = undefined
    this.#nextFloor = undefined
    this.#monotonicUntilMs = Number.NEGATIVE_INFINITY
    this.#wallUntilMs = Number.NEGATIVE_INFINITY
    for (const region of this.#options.regions) region.reset()
    this.#isToldGained = false
    // Told even if trust has run out before: now values and news are lost too.
    if (hadProof) this.#options.changed({ state: 'lost', reason })
  }
}
