/**
 * When a breaker is held by what is known of all instances (DESIGN §9). It only ever tightens: a ratio
 * above the threshold holds the hop for a while, the end comes by itself, and nothing that is heard
 * ends it sooner. For as long after that, no less than the width of the window, the answers are still
 * about the time of before, and say nothing new. So whatever is heard, a hop is held half of the time at most.
 */
import type { FleetAnswer, UnknownReason } from '../model/fleet.ts'

/** Above this share of failed calls of all instances. */
const errorRatio = 0.05
/** An answer is of now, but for what two wall clocks differ by. */
const mostAgeMs = 30_000

/** A hop, or one node of it. */
export interface Target {
  readonly hop: string
  readonly node: string | undefined
}

/** Times are monotonic. A target that is neither has no entry. */
type Held =
  | { readonly kind: 'holding'; readonly target: Target; readonly untilMs: number }
  | { readonly kind: 'resting'; readonly target: Target; readonly untilMs: number }

export interface Heard {
  readonly outcome: 'known' | UnknownReason
  /** To be held, until then. */
  readonly holds: readonly (Target & { readonly untilMs: number; readonly errorRatio: number })[]
}

export class FleetHolds {
  /** By hop and node, of those that exist alone: their number bounds it. */
  readonly #held = new Map<string, Held>()
  readonly #holdForMs: number

  /** `holdForMs`: how long one answer holds a hop. */
  constructor(holdForMs: number) {
    this.#holdForMs = holdForMs
  }

  /** `targets`: those that there are; of others an answer says nothing. */
  heard(
    answer: FleetAnswer,
    targets: readonly Target[],
    now: { readonly monotonicMs: number; readonly wallMs: number },
  ): Heard {
    this.#pass(now.monotonicMs)
    if (answer.kind === 'unknown') return { outcome: answer.reason, holds: [] }
    if (!(Math.abs(now.wallMs - answer.atMs) <= mostAgeMs)) return { outcome: 'stale', holds: [] }
    const untilMs = now.monotonicMs + this.#holdForMs
    const holds = targets.flatMap((target) => {
      const name = nameOf(target)
      const ratio = answer.ratios.find((one) => nameOf(one) === name)
      if (!ratio || !(ratio.errorRatio > errorRatio) || this.#held.has(name)) return []
      this.#held.set(name, { kind: 'holding', target, untilMs })
      return [{ ...target, untilMs, errorRatio: ratio.errorRatio }]
    })
    return { outcome: 'known', holds }
  }

  /** Is the hop, or one of its nodes, held now? */
  isHeld(hop: string, nowMs: number): boolean {
    this.#pass(nowMs)
    return [...this.#held.values()].some(
      ({ kind, target }) => kind === 'holding' && target.hop === hop,
    )
  }

  #pass(nowMs: number): void {
    for (const [name, held] of this.#held) {
      const { kind, target, untilMs } = held
      if (nowMs < untilMs) continue
      const restedAtMs = kind === 'holding' ? untilMs + this.#holdForMs : untilMs
      if (nowMs >= restedAtMs) this.#held.delete(name)
      else this.#held.set(name, { kind: 'resting', target, untilMs: restedAtMs })
    }
  }
}

function nameOf({ hop, node }: Target): string {
  return node === undefined ? hop : `${hop} ${node}`
}
