/**
 * What invalidations add to the Bloom filters of their entities (DESIGN §8): on a single server in the
 * call that drops the values, on a cluster in one of their own, because they lie in other slots.
 */
import type { Seed } from '../model/bloom.ts'
import type { Clock } from '../model/clock.ts'
import type { Drop } from '../model/l2-port.ts'
import type { EntityIds } from '../model/source-port.ts'
import type { RedisClient } from './call.ts'
import { hashesOf } from './filter-answers.ts'
import type { KeySpace } from './keys.ts'
import type { RedisNodes } from './nodes.ts'
import { onEach } from './on-each.ts'
import { readScripts } from './scripts.ts'

export interface FilterAddsOptions {
  readonly redis: RedisClient
  readonly nodes: RedisNodes
  readonly keys: KeySpace
  readonly clock: Clock
  readonly seedOf: (entity: string) => Seed
}

/** Ids that one call adds on a cluster: the node does nothing else meanwhile. */
const mostInCall = 256

interface Adds {
  readonly keys: readonly string[]
  readonly args: readonly Buffer[]
}

export class RedisFilterAdds {
  readonly #options: FilterAddsOptions
  readonly #script = readScripts().remember

  constructor(options: FilterAddsOptions) {
    this.#options = options
  }

  /** For invalidate.lua: per entity two keys and an argument. */
  inCall(drops: readonly Drop[]): Adds {
    return this.#options.nodes.only ? this.#of(byEntity(drops, drops.length)) : none
  }

  /** What is left to be added by itself; calls `lost` for what could not be. */
  async apart(drops: readonly Drop[], lost: (cause: unknown) => void): Promise<void> {
    const { redis, nodes, keys, clock } = this.#options
    if (nodes.only) return
    await onEach<EntityIds, void>(redis, nodes, clock, byEntity(drops, mostInCall), {
      keyOf: ({ entity }) => keys.filter(entity, 0),
      call: (some) => ({ script: this.#script, ...this.#of(some) }),
      read: (_, some) => some.map(() => undefined),
      unavailable: lost,
      idsPerRound: 1,
    })
  }

  #of(some: readonly EntityIds[]): Adds {
    const { keys, seedOf } = this.#options
    return {
      keys: some.flatMap(({ entity }) => [keys.filter(entity, 0), keys.filter(entity, 1)]),
      args: some.map(({ entity, ids }) => hashesOf(seedOf(entity), ids)),
    }
  }
}

const none: Adds = { keys: [], args: [] }

/** At most so many ids of an entity at once. */
function byEntity(drops: readonly Drop[], most: number): readonly EntityIds[] {
  const all = new Map<string, string[]>()
  for (const { entity, id } of drops) {
    const ids = all.get(entity)
    if (ids) ids.push(id)
    else all.set(entity, [id])
  }
  return [...all].flatMap(([entity, ids]) =>
    Array.from({ length: Math.ceil(ids.length / most) }, (_, nth) => ({
      entity,
      ids: ids.slice(nth * most, (nth + 1) * most),
    })),
  )
}
