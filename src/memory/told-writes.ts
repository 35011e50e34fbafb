/**
 * The last write that this process was told of, by id: what lies in L2 and doesn't see it is known to
 * be wrong, however it came to lie there (I7). A Redis that was away for a while may have much of that
 * when it is back, until the relay has told it.
 *
 * Two maps that take turns bound it: the older one goes when the younger is full. What is forgotten
 * is no more than unproven, as ever.
 */
import type { L1Key } from '../model/id.ts'
import { type Snapshot, visible, type WriteId } from '../model/snapshot.ts'

const mostInEach = 16_384

export class ToldWrites {
  #young = new Map<L1Key, WriteId>()
  #old = new Map<L1Key, WriteId>()

  add(key: L1Key, write: WriteId): void {
    const known = this.#find(key)
    // One that is told of late says less.
    if (known && known.incarnation === write.incarnation && known.xid >= write.xid) return
    if (this.#young.size >= mostInEach && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, write)
  }

  /** Does what was read under this snapshot surely miss a write of the id? */
  isMissedBy(key: L1Key, snapshot: Snapshot): boolean {
    const write = this.#find(key)
    if (!write || write.incarnation !== snapshot.incarnation) return false
    return !visible(write, snapshot)
  }

  get count(): number {
    return this.#young.size + this.#old.size
  }

  #find(key: L1Key): WriteId | undefined {
    return this.#young.get(key) ?? this.#old.get(key)
  }
}
