/** What all instances say of their hot keys, added up; what is not said again is soon forgotten. */
import type { HotKey, HotList } from '../model/bus-ports.ts'

/** An instance that says nothing for so long has no hot keys any more. */
export const heardForMs = 1_000
/** Beyond either, who was heard of longest ago is forgotten: to add up more keys would hold everybody up. */
export const mostInstances = 256
export const mostKeys = 8_192

/** A key that several instances may read. */
export interface MergedKey extends HotKey {
  /** Who said so. */
  readonly instances: readonly string[]
}

interface Heard {
  readonly atMs: number
  readonly keys: readonly HotKey[]
}

export class HotLists {
  readonly #heard = new Map<string, Heard>()
  /** Of all that were heard of. */
  #keys = 0

  /** Instances that were heard of lately. */
  get count(): number {
    return this.#heard.size
  }

  add({ instance, keys }: HotList, nowMs: number): void {
    this.#forget(instance)
    if (keys.length === 0) return
    this.#heard.set(instance, { atMs: nowMs, keys })
    this.#keys += keys.length
    for (const oldest of this.#heard.keys()) {
      if (this.#heard.size <= mostInstances && this.#keys <= mostKeys) return
      this.#forget(oldest)
    }
  }

  /** By entity, the hottest first. */
  merged(nowMs: number): ReadonlyMap<string, readonly MergedKey[]> {
    const sums = new Map<string, Map<string, Sum>>()
    for (const [instance, { atMs, keys }] of this.#heard) {
      if (nowMs - atMs > heardForMs) {
        this.#forget(instance)
        continue
      }
      for (const key of keys) addTo(sums, key, instance)
    }
    return new Map(
      [...sums].map(([entity, byId]) => [
        entity,
        [...byId].map(([id, sum]) => mergedKey(entity, id, sum)).sort(hottestFirst),
      ]),
    )
  }

  #forget(instance: string): void {
    this.#keys -= this.#heard.get(instance)?.keys.length ?? 0
    this.#heard.delete(instance)
  }
}

interface Sum {
  readsPerSecond: number
  l1ReadsPerSecond: number
  readonly instances: Set<string>
}

function addTo(sums: Map<string, Map<string, Sum>>, key: HotKey, instance: string): void {
  const byId = sums.get(key.entity) ?? new Map<string, Sum>()
  sums.set(key.entity, byId)
  const sum = byId.get(key.id) ?? { readsPerSecond: 0, l1ReadsPerSecond: 0, instances: new Set() }
  byId.set(key.id, sum)
  // Twice in one list: once is enough.
  if (sum.instances.has(instance)) return
  sum.instances.add(instance)
  sum.readsPerSecond += key.readsPerSecond
  sum.l1ReadsPerSecond += key.readsPerSecond * key.l1Share
}

function mergedKey(entity: string, id: string, sum: Sum): MergedKey {
  const { readsPerSecond, l1ReadsPerSecond, instances } = sum
  const l1Share = readsPerSecond > 0 ? l1ReadsPerSecond / readsPerSecond : 0
  return { entity, id, readsPerSecond, l1Share, instances: [...instances] }
}

function hottestFirst(one: HotKey, other: HotKey): number {
  return other.readsPerSecond - one.readsPerSecond
}
