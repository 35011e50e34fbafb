/**
 * The writes a region was told of that its floor doesn't see yet (DESIGN §3): a value that doesn't
 * see them may not enter. Kept by stripe, so that a write of one id doesn't keep others out; and
 * bounded: above `mostXids` they are merged to the largest xid, and a value must then be younger
 * than everything that was in progress at the time, which keeps out more than need be for as long
 * as those transactions last.
 */
import { type Incarnation, type Snapshot, visible, type WriteId } from '../model/snapshot.ts'

const stripes = 4_096
const mostXids = 65_536

export class Stripes {
  readonly #byStripe = new Map<number, WriteId[]>()
  #count = 0
  /** The largest merged xid of each incarnation. */
  #merged: readonly WriteId[] = []

  add(hash: number, write: WriteId): void {
    const stripe = hash % stripes
    const known = this.#byStripe.get(stripe)
    if (known?.some((one) => one.xid === write.xid && one.incarnation === write.incarnation)) return
    if (known) known.push(write)
    else this.#byStripe.set(stripe, [write])
    if (++this.#count > mostXids) this.#merge()
  }

  /** May a value that was read under this snapshot enter? */
  admits(hash: number, snapshot: Snapshot): boolean {
    if (!this.#merged.every((write) => isBehind(write, snapshot))) return false
    const known = this.#byStripe.get(hash % stripes)
    return known === undefined || known.every((write) => visible(write, snapshot))
  }

  /** Forgets what the floor sees. */
  forget(floor: Snapshot): void {
    this.#merged = this.#merged.filter((write) => !isBehind(write, floor))
    this.#keep((write) => !visible(write, floor))
  }

  /** The xids of another life of the database say nothing about this one. */
  forgetOthers(incarnation: Incarnation): void {
    const isOfThis = (write: WriteId): boolean => write.incarnation === incarnation
    this.#merged = this.#merged.filter(isOfThis)
    this.#keep(isOfThis)
  }

  #keep(isKept: (write: WriteId) => boolean): void {
    for (const [stripe, known] of this.#byStripe) {
      const kept = known.filter(isKept)
      this.#count -= known.length - kept.length
      if (kept.length === 0) this.#byStripe.delete(stripe)
      else if (kept.length < known.length) this.#byStripe.set(stripe, kept)
    }
  }

  get count(): number {
    return this.#count
  }

  #merge(): void {
    const largest = new Map<Incarnation, WriteId>()
    for (const write of [...this.#merged, ...[...this.#byStripe.values()].flat()]) {
      const known = largest.get(write.incarnation)
      if (!known || write.xid > known.xid) largest.set(write.incarnation, write)
    }
    this.#merged = [...largest.values()]
    this.#byStripe.clear()
    this.#count = 0
  }
}

function isBehind(write: WriteId, snapshot: Snapshot): boolean {
  return write.incarnation === snapshot.incarnation && write.xid < snapshot.xmin
}
