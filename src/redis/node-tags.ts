import type { Cluster } from 'ioredis'
import { slotOf } from './slot.ts'

/** Enough to find one for a node that has a single slot, nearly always. */
const mostTried = 200_000

/**
 * Hash tags whose slots a node of a cluster owns: the first of '0', '1', '2', … so that all who
 * know the same slots find the same.
 */
export class NodeTags {
  readonly #cluster: Cluster
  readonly #found = new Map<string, { readonly tag: string | undefined; readonly slot: number }>()
  readonly #forget = (): void => this.#found.clear()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    cluster.on('refresh', this.#forget)
  }

  /** `undefined`: none is known now. */
  of(node: string): string | undefined {
    const known = this.#found.get(node)
    if (known && (known.tag === undefined || this.#ownerOf(known.slot) === node)) return known.tag
    const found = this.#find(node)
    this.#found.set(node, found)
    return found.tag
  }

  close(): void {
    this.#cluster.off('refresh', this.#forget)
  }

  #find(node: string): { tag: string | undefined; slot: number } {
    // A tag in the prefix counts before ours: all keys lie in its slot, and on one node.
    const prefix = this.#cluster.options.keyPrefix ?? ''
    const isTagged = slotOf(`${prefix}{0}`) === slotOf(`${prefix}{1}`)
    for (let number = 0; number < (isTagged ? 1 : mostTried); number++) {
      const slot = slotOf(`${prefix}{${number}}`)
      if (this.#ownerOf(slot) === node) return { tag: String(number), slot }
    }
    return { tag: undefined, slot: -1 }
  }

  #ownerOf(slot: number): string | undefined {
    return this.#cluster.slots[slot]?.[0]
  }
}
