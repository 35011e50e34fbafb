/** What a policy keeps in an entry itself, so that a hit allocates nothing and looks nothing up. */
export interface Evictable {
  readonly hash: number
  /** Hits, as far as the policy counts them; a hit may only bump it. */
  frequency: number
  queue: number
  previous: Evictable | undefined
  next: Evictable | undefined
}

/** Who goes when there is no room. The region owns the map and the bounds; a policy only orders. */
export interface EvictionPolicy {
  admit(entry: Evictable): void
  hit(entry: Evictable): void
  /** The entry left by an invalidation or an expiry. */
  remove(entry: Evictable): void
  /** Takes the next to go out of the order; `undefined` when nothing is left. */
  evict(): Evictable | undefined
  clear(): void
}
