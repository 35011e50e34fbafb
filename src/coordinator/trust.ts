/**
 * Trust (DESIGN §6): until when L1 may be served, and the two snapshots that go with it.
 *
 * A probe is a snapshot S0 that was asked for at t0, with every write that it sees already acted on
 * here. So L1 misses nothing that was committed before t0, and is served while now - t0 ≤ B: by
 * both clocks, because the monotonic one stands still while the machine is suspended.
 *
 * `newest` is the snapshot that loads run under: older than the load, so it never claims too much.
 * The floor, which a loaded value has to cover to enter L1, follows it at a distance of one load:
 * were the floor the newest probe, no load that is slower than the polls would ever enter. That
 * costs nothing but memory: writes between the two are remembered by the regions.
 */
import type { Reading } from '../model/clock.ts'
import type { Region } from '../model/ports.ts'
import type { Incarnation, Snapshot, Xid } from '../model/snapshot.ts'
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
  #newest: Probe | undefined
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

  get newest(): Snapshot | undefined {
    return this.#newest?.snapshot
  }

  get incarnation(): Incarnation | undefined {
    return this.#newest?.snapshot.incarnation
  }

  /** How long ago L1 was known to be fresh. */
  ageMs(now: Reading): number {
    return now.monotonicMs - this.#monotonicUntilMs + this.#options.boundMs
  }

  /** A probe came back, and the regions have been told of every write that it sees. */
  advance(t0: Reading, snapshot: Snapshot, unapplied: ReadonlySet<Xid> | undefined): void {
    const probe: Probe = { snapshot, atMs: t0.monotonicMs }
    this.#newest = probe
    this.#floor ??= probe
    this.#nextFloor ??= probe
    if (probe.atMs - this.#nextFloor.atMs >= this.#options.floorLagMs) {
      this.#floor = this.#nextFloor
      this.#nextFloor = probe
    }
    for (const region of this.#options.regions) region.settle(this.#floor.snapshot, unapplied)
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

  /** Something may have been missed: L1 is emptied, and nothing enters until the next probe. */
  lose(reason: TrustLoss): void {
    const hadProof = this.#newest !== undefined
    this.#newest = undefined
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
