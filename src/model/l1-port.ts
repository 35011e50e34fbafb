/** What the coordinator needs of L1: it neither fails nor waits. */
import type { L1Key } from './id.ts'
import type { Snapshot, WriteId } from './snapshot.ts'

/** A value as this process has it, with what proves it. */
export interface Candidate {
  /** `undefined`: the id does not exist. */
  readonly value: unknown
  /** Callers may share `value` (it is frozen, or nobody asked for that); else each gets a copy. */
  readonly isShared: boolean
  readonly snapshot: Snapshot
  /** On the monotonic clock: when it was loaded, and its soft expiry. */
  readonly loadedAtMs: number
  readonly freshUntilMs: number
  readonly weightBytes: number
}

declare const slotBrand: unique symbol
/**
 * Where a value lies in its region: until the next call that fills, tells or resets, and so never
 * over an `await`. Afterwards another value may lie there.
 */
export type Slot = number & { readonly [slotBrand]: 'Slot' }

/** One entity's part of L1. A hit reads what it needs of its slot, and allocates nothing. */
export interface Region {
  find(key: L1Key): Slot | undefined
  /** Somebody was given the value. */
  hit(slot: Slot): void
  valueAt(slot: Slot): unknown
  /** The value already resolved: the same promise for as long as the value lies there. */
  promiseAt(slot: Slot): Promise<unknown>
  isShared(slot: Slot): boolean
  freshUntilMs(slot: Slot): number
  /** All of it, to be kept. */
  candidateAt(slot: Slot): Candidate
  /** Whether it was let in. */
  fillFromSource(key: L1Key, candidate: Candidate): boolean
  /** Whether it was let in; `barrier`: what lay beside it in L2. */
  fillFromL2(key: L1Key, candidate: Candidate, barrier: Snapshot | undefined): boolean
  /** Does what was read under this snapshot miss a write of the id that this process was told of? */
  isOutdated(key: L1Key, snapshot: Snapshot): boolean
  /**
   * Would what is read under this snapshot be outdated? Then what it returns wants a snapshot that was
   * taken since: a write that this doesn't see either has not committed, and outdates nothing until it
   * is told of again.
   */
  doubt(key: L1Key, snapshot: Snapshot): ((fresh: Snapshot) => void) | undefined
  /**
   * Acts on a write: drops the value if it doesn't see it, and remembers the xid for fills until
   * the floor sees it.
   */
  told(key: L1Key, write: WriteId): void
  /** Drops what is older than the snapshot: a newer value is known, and has no place here. */
  dropOlder(key: L1Key, than: Snapshot): void
  /** Trust moved: values need to cover `floor` from now on, and what it sees is forgotten. */
  settle(floor: Snapshot): void
  /** Trust is gone: nothing is kept, nothing enters until the next `settle`. */
  reset(): void
  readonly count: number
  readonly weightBytes: number
  /** Since the start: values that were let in, refused, dropped by an invalidation, evicted for room. */
  readonly fills: number
  readonly refusedFills: number
  readonly drops: number
  readonly evictions: number
}
