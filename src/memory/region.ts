/**
 * One entity's part of L1, and the fill rule that keeps I1 in it (DESIGN §3): what enters sees
 * every write that this process was told of. A value from the source must see all that the floor
 * sees, and each xid of its stripe. A value from L2 may be old and right: it must see the xids of
 * its stripe, of which none may have been forgotten since it was read.
 *
 * The floor is a snapshot that every write this process was told of lies behind or in the stripes.
 */
import type { L1Key } from '../model/id.ts'
import type { Candidate, Entry, Region } from '../model/ports.ts'
import { covers, type Snapshot, visible, type WriteId, type Xid } from '../model/snapshot.ts'
import { hashOf } from './hash.ts'
import type { Evictable, EvictionPolicy } from './policies/policy.ts'
import { Stripes } from './stripes.ts'

interface RegionEntry extends Entry, Evictable {
  readonly key: L1Key
}

export interface RegionBounds {
  readonly maxEntries: number
  readonly maxBytes: number
}

/** What an entry weighs beside its payload: map slot, entry, promise, links. */
export const entryOverheadBytes = 256

const none: ReadonlySet<Xid> = new Set()

export class L1Region implements Region {
  readonly #entries = new Map<L1Key, RegionEntry>()
  readonly #stripes = new Stripes()
  readonly #bounds: RegionBounds
  readonly #policy: EvictionPolicy
  #floor: Snapshot | undefined
  #isL2Open = false
  #weightBytes = 0
  mark = 0
  fills = 0
  refusedFills = 0
  drops = 0
  evictions = 0

  constructor(bounds: RegionBounds, policy: EvictionPolicy) {
    this.#bounds = bounds
    this.#policy = policy
  }

  find(key: L1Key): Entry | undefined {
    return this.#entries.get(key)
  }

  hit(entry: Entry): void {
    this.#policy.hit(entry as RegionEntry)
  }

  fillFromSource(key: L1Key, candidate: Candidate): boolean {
    const isProven = this.#floor !== undefined && covers(candidate.snapshot, this.#floor)
    return this.#counted(isProven && this.#admit(key, candidate))
  }

  fillFromL2(key: L1Key, candidate: Candidate, mark: number): boolean {
    const isProven =
      this.#isL2Open &&
      mark === this.mark &&
      candidate.snapshot.incarnation === this.#floor?.incarnation
    return this.#counted(isProven && this.#admit(key, candidate))
  }

  told(key: L1Key, write: WriteId, unapplied: boolean): void {
    const known = this.#entries.get(key)
    if (known && !visible(write, known.snapshot)) {
      this.#remove(known)
      this.drops++
    }
    if (unapplied || this.#floor === undefined || !visible(write, this.#floor)) {
      this.#stripes.add(hashOf(key), write)
    }
  }

  settle(floor: Snapshot, unapplied: ReadonlySet<Xid> | undefined): void {
    if (this.#floor?.incarnation !== floor.incarnation)
      this.#stripes.forgetOthers(floor.incarnation)
    this.#floor = floor
    const wasL2Open = this.#isL2Open
    this.#isL2Open = unapplied !== undefined
    const hasForgotten = this.#stripes.forget(floor, unapplied ?? none)
    // Writes that nobody could tell of while L2 was closed were never in the stripes.
    if (hasForgotten || (this.#isL2Open && !wasL2Open)) this.mark++
  }

  reset(): void {
    this.#entries.clear()
    this.#policy.clear()
    this.#weightBytes = 0
    this.#floor = undefined
    this.#isL2Open = false
    this.mark++
  }

  get count(): number {
    return this.#entries.size
  }

  get weightBytes(): number {
    return this.#weightBytes
  }

  entries(): IterableIterator<Entry> {
    return this.#entries.values()
  }

  #counted(isKept: boolean): boolean {
    if (isKept) this.fills++
    else this.refusedFills++
    return isKept
  }

  #admit(key: L1Key, candidate: Candidate): boolean {
    const hash = hashOf(key)
    if (!this.#stripes.admits(hash, candidate.snapshot)) return false
    const known = this.#entries.get(key)
    // Two loads may end in either order; the one that sees less must not replace the other.
    if (known && !covers(candidate.snapshot, known.snapshot)) return false
    const weightBytes = candidate.weightBytes + entryOverheadBytes
    if (weightBytes > this.#bounds.maxBytes) return false
    if (known) this.#remove(known)
    const entry: RegionEntry = {
      key,
      value: candidate.value,
      promise: Promise.resolve(candidate.value),
      isShared: candidate.isShared,
      snapshot: candidate.snapshot,
      // Whole numbers lie in the entry itself, fractions each in 16 bytes beside it.
      loadedAtMs: Math.floor(candidate.loadedAtMs),
      freshUntilMs: Math.floor(candidate.freshUntilMs),
      staleUntilMs: Math.floor(candidate.staleUntilMs),
      weightBytes,
      hash,
      frequency: 0,
      queue: 0,
      previous: undefined,
      next: undefined,
    }
    this.#makeRoom(weightBytes)
    this.#entries.set(key, entry)
    this.#weightBytes += weightBytes
    this.#policy.admit(entry)
    return true
  }

  #makeRoom(weightBytes: number): void {
    while (
      this.#entries.size >= this.#bounds.maxEntries ||
      this.#weightBytes + weightBytes > this.#bounds.maxBytes
    ) {
      const victim = this.#policy.evict() as RegionEntry | undefined
      if (!victim) return
      this.#entries.delete(victim.key)
      this.#weightBytes -= victim.weightBytes
      this.evictions++
    }
  }

  #remove(entry: RegionEntry): void {
    this.#policy.remove(entry)
    this.#entries.delete(entry.key)
    this.#weightBytes -= entry.weightBytes
  }
}
