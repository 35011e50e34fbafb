/**
 * Snapshots of the primary that were asked for lately, each with the moment before it was asked for
 * (DESIGN §6). The newest is what loads run under: older than the load, so it never claims too much.
 * And a value of L2 whose barrier covers one of them misses nothing that was committed before that
 * moment.
 */
import type { Reading } from '../model/clock.ts'
import { covers, type Incarnation, type Snapshot } from '../model/snapshot.ts'

interface Probe {
  readonly t0: Reading
  readonly snapshot: Snapshot
}

/** So many, evenly over B, and the newest: loads may ask for hundreds a second, barriers lag behind them. */
const mostProbes = 64

export class Probes {
  readonly #boundMs: number
  /** The newest first. */
  #probes: readonly Probe[] = []
  /** When this incarnation was first seen. */
  #sinceMs = Number.POSITIVE_INFINITY
  /** The last barrier that was asked about, and the newest probe that it covers. */
  #asked: { readonly barrier: Snapshot; readonly covered: Probe | undefined } | undefined

  /** `boundMs`: B. */
  constructor(boundMs: number) {
    this.#boundMs = boundMs
  }

  get newest(): Snapshot | undefined {
    return this.#probes[0]?.snapshot
  }

  get incarnation(): Incarnation | undefined {
    return this.newest?.incarnation
  }

  /** Was another incarnation seen here in the last B, or none? */
  isYoung(nowMs: number): boolean {
    return nowMs - this.#sinceMs <= this.#boundMs
  }

  add(t0: Reading, snapshot: Snapshot): void {
    const isSame = snapshot.incarnation === this.incarnation
    if (!isSame) this.#sinceMs = t0.monotonicMs
    const kept = isSame ? this.#probes.filter((probe) => isWithin(probe.t0, t0, this.#boundMs)) : []
    this.#probes = [{ t0, snapshot }, ...this.#thinned(kept)]
    this.#asked = undefined
  }

  /** Another life of the database may have begun. */
  forget(): void {
    this.#probes = []
    this.#asked = undefined
  }

  /** Without the one that was the newest, if it came too soon after the one before. */
  #thinned(kept: readonly Probe[]): readonly Probe[] {
    const [last, before] = kept
    if (!last || !before) return kept
    const isSoon = last.t0.monotonicMs - before.t0.monotonicMs < this.#boundMs / mostProbes
    return isSoon ? kept.slice(1) : kept
  }

  /** Does what lay beside this barrier see every write that was committed before now − B? */
  proves(barrier: Snapshot | undefined, now: Reading): boolean {
    if (!barrier) return false
    // Most reads of a while find the same one.
    if (this.#asked?.barrier !== barrier) {
      const covered = this.#probes.find(({ snapshot }) => covers(barrier, snapshot))
      this.#asked = { barrier, covered }
    }
    const { covered } = this.#asked
    return covered !== undefined && isWithin(covered.t0, now, this.#boundMs)
  }
}

/** By both clocks: the monotonic one stands still while the machine is suspended. */
function isWithin(t0: Reading, now: Reading, boundMs: number): boolean {
  return now.monotonicMs - t0.monotonicMs <= boundMs && now.wallMs - t0.wallMs <= boundMs
}
