/**
 * One entity's part of L1, and the fill rule that keeps I1 in it (DESIGN §3): what enters sees
 * every write that this process was told of. A value from the source must see all that the floor
 * sees, and each xid of its stripe. A value from L2 may be old and right: it must see the xids of
 * its stripe, of which none may have been forgotten since it was read.
 *
 * The floor is a snapshot that every write this process was told of lies behind or in the stripes.
 */

import { hashOf } from '../model/hash.ts'
import type { L1Key } from '../model/id.ts'
import type { Candidate, Region, Slot } from '../model/l1-port.ts'
import {
  covers,
  type Incarnation,
  type Snapshot,
  visible,
  type WriteId,
} from '../model/snapshot.ts'
import { Entries } from './entries.ts'
import type { EvictionPolicy } from './policies/policy.ts'
import { Stripes } from './stripes.ts'
import { ToldWrites } from './told-writes.ts'

export interface RegionBounds {
  readonly maxEntries: number
  readonly maxBytes: number
}

/**
 * What an entry takes beside its value at most: when Map and columns have just grown, and with its
 * share of the ghosts. Full ones take 160 (110 beyond the Map), or 48 less until it is asked for.
 */
export const entryOverheadBytes = 256

/** Somebody may still tell of a write that began before the last few crashes. */
const mostOver = 8

export class L1Region implements Region {
  readonly #stripes = new Stripes()
  readonly #toldWrites = new ToldWrites()
  readonly #bounds: RegionBounds
  readonly #policy: EvictionPolicy
  readonly #entries: Entries
  #floor: Snapshot | undefined
  /** Of the last floor; and those before it, the latest last: lives of the database that are over. */
  #incarnation: Incarnation | undefined
  #over: readonly Incarnation[] = []
  #weightBytes = 0
  fills = 0
  refusedFills = 0
  drops = 0
  evictions = 0

  constructor(bounds: RegionBounds, policy: EvictionPolicy) {
    this.#bounds = bounds
    this.#policy = policy
    this.#entries = new Entries(bounds.maxEntries)
  }

  find(key: L1Key): Slot | undefined {
    return this.#entries.find(key)
  }

  hit(slot: Slot): void {
    this.#policy.hit(slot)
  }

  valueAt(slot: Slot): unknown {
    return this.#entries.valueAt(slot)
  }

  promiseAt(slot: Slot): Promise<unknown> {
    return this.#entries.promiseAt(slot)
  }

  isShared(slot: Slot): boolean {
    return this.#entries.isShared(slot)
  }

  freshUntilMs(slot: Slot): number {
    return this.#entries.freshUntilMs(slot)
  }

  candidateAt(slot: Slot): Candidate {
    const entries = this.#entries
    return {
      value: entries.valueAt(slot),
      isShared: entries.isShared(slot),
      snapshot: entries.snapshotAt(slot),
      loadedAtMs: entries.loadedAtMs(slot),
      freshUntilMs: entries.freshUntilMs(slot),
      weightBytes: entries.weightBytesAt(slot),
    }
  }

  fillFromSource(key: L1Key, candidate: Candidate): boolean {
    const isProven = this.#floor !== undefined && covers(candidate.snapshot, this.#floor)
    return this.#counted(isProven && this.#admit(key, candidate))
  }

  fillFromL2(key: L1Key, candidate: Candidate, barrier: Snapshot | undefined): boolean {
    const isProven =
      this.#floor !== undefined &&
      barrier !== undefined &&
      candidate.snapshot.incarnation === this.#floor.incarnation &&
      covers(barrier, this.#floor)
    return this.#counted(isProven && this.#admit(key, candidate))
  }

  told(key: L1Key, write: WriteId): void {
    const known = this.#entries.find(key)
    if (known !== undefined && !visible(write, this.#entries.snapshotAt(known))) {
      this.#remove(known)
      this.drops++
    }
    // No floor will ever see a write of a life that is over, and nothing that is loaded now misses it.
    if (this.#over.includes(write.incarnation)) return
    this.#toldWrites.add(key, write)
    if (this.#floor === undefined || !visible(write, this.#floor)) {
      this.#stripes.add(hashOf(key), write)
    }
  }

  isOutdated(key: L1Key, snapshot: Snapshot): boolean {
    return this.#toldWrites.isMissedBy(key, snapshot)
  }

  doubt(key: L1Key, snapshot: Snapshot): ((fresh: Snapshot) => void) | undefined {
    return this.#toldWrites.doubt(key, snapshot)
  }

  dropOlder(key: L1Key, than: Snapshot): void {
    const known = this.#entries.find(key)
    if (known !== undefined && covers(than, this.#entries.snapshotAt(known))) this.#remove(known)
  }

  settle(floor: Snapshot): void {
    if (this.#floor === floor) return
    if (this.#floor?.incarnation !== floor.incarnation) this.#begin(floor.incarnation)
    this.#floor = floor
    this.#stripes.forget(floor)
  }

  #begin(incarnation: Incarnation): void {
    const before = this.#incarnation === undefined ? [] : [this.#incarnation]
    this.#over = [...this.#over, ...before].filter((one) => one !== incarnation).slice(-mostOver)
    this.#incarnation = incarnation
    this.#stripes.forgetOthers(incarnation)
  }

  reset(): void {
    this.#entries.clear()
    this.#policy.clear()
    this.#weightBytes = 0
    this.#floor = undefined
  }

  get count(): number {
    return this.#entries.count
  }

  get weightBytes(): number {
    return this.#weightBytes
  }

  candidates(): Candidate[] {
    return [...this.#entries.slots()].map((slot) => this.candidateAt(slot))
  }

  #counted(isKept: boolean): boolean {
    if (isKept) this.fills++
    else this.refusedFills++
    return isKept
  }

  #admit(key: L1Key, candidate: Candidate): boolean {
    const hash = hashOf(key)
    if (!this.#stripes.admits(hash, candidate.snapshot)) return false
    const entries = this.#entries
    const known = entries.find(key)
    // Two loads may end in either order; the one that sees less must not replace the other.
    if (known !== undefined && !covers(candidate.snapshot, entries.snapshotAt(known))) return false
    const weightBytes = candidate.weightBytes + entryOverheadBytes
    if (weightBytes > this.#bounds.maxBytes) return false
    if (known !== undefined) this.#remove(known)
    this.#makeRoom(weightBytes)
    const { capacity } = entries
    const slot = entries.add(key, candidate, weightBytes)
    if (entries.capacity > capacity) this.#policy.grow(entries.capacity)
    this.#weightBytes += entries.weightBytesAt(slot)
    this.#policy.admit(slot, hash)
    return true
  }

  #makeRoom(weightBytes: number): void {
    while (
      this.#entries.count >= this.#bounds.maxEntries ||
      this.#weightBytes + weightBytes > this.#bounds.maxBytes
    ) {
      const victim = this.#policy.evict(this.#hashAt)
      if (victim === undefined) return
      this.#release(victim)
      this.evictions++
    }
  }

  readonly #hashAt = (slot: Slot): number => hashOf(this.#entries.keyAt(slot))

  #remove(slot: Slot): void {
    this.#policy.remove(slot)
    this.#release(slot)
  }

  #release(slot: Slot): void {
    this.#weightBytes -= this.#entries.weightBytesAt(slot)
    this.#entries.release(slot)
  }
}
