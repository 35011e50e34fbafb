import type { Slot } from '../../model/l1-port.ts'

/**
 * Who goes when there is no room. The region owns the entries and the bounds; a policy only orders
 * their slots. What it knows of them it keeps in columns of its own, so that a hit allocates nothing
 * and looks nothing up.
 */
export interface EvictionPolicy {
  /** From now on slots below `capacity` may come; told before the first one does. */
  grow(capacity: number): void
  /** An entry came to a slot that is not in the order; `hash` is its key's. */
  admit(slot: Slot, hash: number): void
  hit(slot: Slot): void
  /** The entry left by an invalidation or an expiry. */
  remove(slot: Slot): void
  /** Takes the next to go out of the order; `undefined` when nothing is left. `hashAt`: as it was admitted. */
  evict(hashAt: (slot: Slot) => number): Slot | undefined
  clear(): void
}
