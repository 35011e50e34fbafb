import type { CallCounts, Hop } from './hop.ts'
import type { BreakerChange, BreakerState } from './phase.ts'

/** `node`: host and port, where there are several. */
type Changed = (change: BreakerChange, node: string | undefined) => void

/** What is asked of the breakers of one service from above, which loads no client and no opossum. */
export interface BreakerSet {
  /** The worst of them. */
  readonly state: BreakerState
  /** By node, where there are several. */
  readonly nodes: ReadonlyMap<string, BreakerState>
  /** Of those that are open, by node. */
  calls(): readonly (readonly [node: string | undefined, counts: Readonly<CallCounts>])[]
  onChange(changed: Changed): void
  /** As `Hop.tighten`; `undefined`: each of them. */
  tighten(node: string | undefined, untilMs: number, how: 'open' | 'limit', cause: string): void
}

/** The breakers of one service: one for each of its nodes, where it has several. */
export class Breakers implements BreakerSet {
  readonly #hops = new Map<Hop, string | undefined>()
  readonly #listeners: Changed[] = []

  add(hop: Hop, node?: string): void {
    for (const one of this.#hops.keys()) if (one.isClosed) this.#hops.delete(one)
    this.#hops.set(hop, node)
    hop.onChange((change) => {
      for (const changed of this.#listeners) changed(change, node)
    })
  }

  get nodes(): ReadonlyMap<string, BreakerState> {
    const named = this.#open.flatMap(([hop, node]) =>
      node === undefined ? [] : [[node, hop.state] as const],
    )
    return new Map(named)
  }

  get state(): BreakerState {
    const states = this.#open.map(([{ state }]) => state)
    return (['open', 'half-open'] as const).find((state) => states.includes(state)) ?? 'closed'
  }

  /** Those of nodes that are gone say nothing any more. */
  get #open(): readonly (readonly [Hop, string | undefined])[] {
    return [...this.#hops].filter(([hop]) => !hop.isClosed)
  }

  calls(): readonly (readonly [string | undefined, Readonly<CallCounts>])[] {
    return [...this.#hops].map(([hop, node]) => [node, hop.calls] as const)
  }

  /** Called with each change of a state. */
  onChange(changed: Changed): void {
    this.#listeners.push(changed)
  }

  tighten(node: string | undefined, untilMs: number, how: 'open' | 'limit', cause: string): void {
    for (const [hop, own] of this.#hops) {
      if (node === undefined || node === own) hop.tighten(untilMs, how, cause)
    }
  }
}
