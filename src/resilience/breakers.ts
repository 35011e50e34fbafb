import type { CallCounts, Hop } from './hop.ts'
import type { BreakerReason, BreakerState } from './phase.ts'

type Changed = (state: BreakerState, reason: BreakerReason, node: string | undefined) => void

/** What is asked of the breakers of one service from above, which loads no client and no opossum. */
export interface BreakerSet {
  /** The worst of them. */
  readonly state: BreakerState
  /** Of those that are open, by node. */
  calls(): readonly (readonly [node: string | undefined, counts: Readonly<CallCounts>])[]
  onChange(changed: Changed): void
  /** As `Hop.tighten`; `undefined`: each of them. */
  tighten(node: string | undefined, untilMs: number, how: 'open' | 'limit'): void
}

/** The breakers of one service: one for each of its nodes, where it has several. */
export class Breakers implements BreakerSet {
  readonly #hops = new Map<Hop, string | undefined>()
  readonly #listeners: Changed[] = []

  add(hop: Hop, node?: string): void {
    for (const one of this.#hops.keys()) if (one.isClosed) this.#hops.delete(one)
    this.#hops.set(hop, node)
    hop.onChange((state, reason) => {
      for (const changed of this.#listeners) changed(state, reason, node)
    })
  }

  get state(): BreakerState {
    const states = [...this.#hops.keys()].filter((hop) => !hop.isClosed).map(({ state }) => state)
    return (['open', 'half-open'] as const).find((state) => states.includes(state)) ?? 'closed'
  }

  calls(): readonly (readonly [string | undefined, Readonly<CallCounts>])[] {
    return [...this.#hops].map(([hop, node]) => [node, hop.calls] as const)
  }

  /** Called with each change of a state; `node`: host and port, where there are several. */
  onChange(changed: Changed): void {
    this.#listeners.push(changed)
  }

  tighten(node: string | undefined, untilMs: number, how: 'open' | 'limit'): void {
    for (const [hop, own] of this.#hops) {
      if (node === undefined || node === own) hop.tighten(untilMs, how)
    }
  }
}
