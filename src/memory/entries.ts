/**
 * What lies in a region, as columns: an entry is a number, its slot, and each thing that is known of
 * it lies at that place of an array of its own. An object for each entry would take twice the
 * memory: a header, its pointers, a word for every flag and small number.
 *
 * A slot that was released is given to the next entry. So a slot means an entry only until the next
 * release, and nobody keeps one over an `await`.
 */
import type { L1Key } from '../model/id.ts'
import type { Candidate, Slot } from '../model/l1-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { lengthened, lengthenedList } from './columns.ts'

const leastCapacity = 64
/** What 32 bits hold: 49 days, or 4 GiB. */
const mostInColumn = 2 ** 32 - 1

export class Entries {
  readonly #mostEntries: number
  readonly #slots = new Map<L1Key, Slot>()
  /** Released and not yet given out again. */
  #released: Slot[] = []
  /** Slots from here on were never given out. */
  #nextSlot = 0
  #capacity = 0
  #keys: (L1Key | undefined)[] = []
  #values: unknown[] = []
  /** The values already resolved, of the entries that somebody has asked for. */
  #promises: (Promise<unknown> | undefined)[] = []
  #snapshots: (Snapshot | undefined)[] = []
  #isShared = new Uint8Array(0)
  #weightBytes = new Uint32Array(0)
  #freshUntilMs = new Float64Array(0)
  /** From its load to its soft expiry. */
  #lifeMs = new Uint32Array(0)

  /** `mostEntries`: never more than this at once, as whoever takes slots makes sure of. */
  constructor(mostEntries: number) {
    this.#mostEntries = mostEntries
  }

  get count(): number {
    return this.#slots.size
  }

  /** Every slot is below it. */
  get capacity(): number {
    return this.#capacity
  }

  find(key: L1Key): Slot | undefined {
    return this.#slots.get(key)
  }

  slots(): IterableIterator<Slot> {
    return this.#slots.values()
  }

  /** The key must not be there yet. */
  add(key: L1Key, candidate: Candidate, weightBytes: number): Slot {
    const slot = this.#released.pop() ?? this.#newSlot()
    const freshUntilMs = Math.floor(candidate.freshUntilMs)
    this.#slots.set(key, slot)
    this.#keys[slot] = key
    this.#values[slot] = candidate.value
    this.#snapshots[slot] = candidate.snapshot
    this.#isShared[slot] = candidate.isShared ? 1 : 0
    this.#weightBytes[slot] = inColumn(weightBytes)
    this.#freshUntilMs[slot] = freshUntilMs
    this.#lifeMs[slot] = inColumn(freshUntilMs - Math.floor(candidate.loadedAtMs))
    return slot
  }

  release(slot: Slot): void {
    this.#slots.delete(this.#keys[slot] as L1Key)
    this.#keys[slot] = undefined
    this.#values[slot] = undefined
    this.#promises[slot] = undefined
    this.#snapshots[slot] = undefined
    this.#released.push(slot)
  }

  /** Keeps its columns: what was needed once will be needed again. */
  clear(): void {
    this.#slots.clear()
    this.#keys.fill(undefined)
    this.#values.fill(undefined)
    this.#promises.fill(undefined)
    this.#snapshots.fill(undefined)
    this.#released = []
    this.#nextSlot = 0
  }

  keyAt(slot: Slot): L1Key {
    return this.#keys[slot] as L1Key
  }

  valueAt(slot: Slot): unknown {
    return this.#values[slot]
  }

  /** Always the same one, made when it is first asked for: many entries leave unasked, and it weighs most. */
  promiseAt(slot: Slot): Promise<unknown> {
    return this.#promises[slot] ?? this.#resolve(slot)
  }

  snapshotAt(slot: Slot): Snapshot {
    return this.#snapshots[slot] as Snapshot
  }

  isShared(slot: Slot): boolean {
    return this.#isShared[slot] === 1
  }

  weightBytesAt(slot: Slot): number {
    return this.#weightBytes[slot] as number
  }

  freshUntilMs(slot: Slot): number {
    return this.#freshUntilMs[slot] as number
  }

  loadedAtMs(slot: Slot): number {
    return this.freshUntilMs(slot) - (this.#lifeMs[slot] as number)
  }

  #resolve(slot: Slot): Promise<unknown> {
    const promise = Promise.resolve(this.#values[slot])
    this.#promises[slot] = promise
    return promise
  }

  #newSlot(): Slot {
    if (this.#nextSlot === this.#capacity) this.#grow()
    return this.#nextSlot++ as Slot
  }

  #grow(): void {
    const capacity = Math.min(this.#mostEntries, Math.max(leastCapacity, this.#capacity * 2))
    this.#keys = lengthenedList(this.#keys, capacity)
    this.#values = lengthenedList(this.#values, capacity)
    this.#promises = lengthenedList(this.#promises, capacity)
    this.#snapshots = lengthenedList(this.#snapshots, capacity)
    this.#isShared = lengthened(this.#isShared, capacity)
    this.#weightBytes = lengthened(this.#weightBytes, capacity)
    this.#freshUntilMs = lengthened(this.#freshUntilMs, capacity)
    this.#lifeMs = lengthened(this.#lifeMs, capacity)
    this.#capacity = capacity
  }
}

function inColumn(amount: number): number {
  return Math.min(Math.max(0, amount), mostInColumn)
}
