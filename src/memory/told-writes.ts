/**
 * The last write that this process was told of, by id: what lies in L2 and doesn't see it is known to
 * be wrong, however it came to lie there (I7). A Redis that was away for a while may have much of that
 * when it is back, until the relay has told it.
 *
 * It may be told of a write before that commits. What shows that it has not is no reason to load anew,
 * until it is told of again: after the COMMIT it surely is.
 *
 * Two maps that take turns bound it: the older one goes when the younger is full. What is forgotten
 * is no more than unproven, as ever.
 */
import type { L1Key } from '../model/id.ts'
import { type Snapshot, visible, type WriteId } from '../model/snapshot.ts'

const mostInEach = 16_384

interface Told {
  readonly write: WriteId
  /** It had not committed when this process had been told of it. */
  isOpen: boolean
}

export class ToldWrites {
  #young = new Map<L1Key, Told>()
  #old = new Map<L1Key, Told>()

  add(key: L1Key, write: WriteId): void {
    const known = this.#find(key)?.write
    // One that is told of late says less.
    if (known && known.incarnation === write.incarnation && known.xid > write.xid) return
    if (this.#young.size >= mostInEach && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, { write, isOpen: false })
  }

  /** Does what was read under this snapshot surely miss a write of the id? */
  isMissedBy(key: L1Key, snapshot: Snapshot): boolean {
    return this.#missed(key, snapshot) !== undefined
  }

  /** As `Region` has it. */
  doubt(key: L1Key, snapshot: Snapshot): ((fresh: Snapshot) => void) | undefined {
    const told = this.#missed(key, snapshot)
    // Told of again meanwhile it is another one in the map: this snapshot may be of before its COMMIT.
    return (
      told &&
      ((fresh) => {
        told.isOpen = !visible(told.write, fresh)
      })
    )
  }

  #missed(key: L1Key, snapshot: Snapshot): Told | undefined {
    const told = this.#find(key)
    if (!told || told.isOpen || told.write.incarnation !== snapshot.incarnation) return undefined
    return visible(told.write, snapshot) ? undefined : told
  }

  get count(): number {
    return this.#young.size + this.#old.size
  }

  #find(key: L1Key): Told | undefined {
    return this.#young.get(key) ?? this.#old.get(key)
  }
}
