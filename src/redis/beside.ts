/** What the record of the barrier says of the values that were read with it. */
import { decodeBarrierRecord } from '../model/barrier-record.ts'
import type { FilterHeader } from '../model/bloom.ts'
import { covers, type Snapshot } from '../model/snapshot.ts'

export interface Beside {
  /** L2 had been told of every write that it sees; `undefined`: nothing is known. */
  readonly barrier: Snapshot | undefined
  /** What a value has to cover. */
  readonly generation: Snapshot | undefined
}

export const nothingBeside: Beside = { barrier: undefined, generation: undefined }

/** Reads a record once, and answers the same snapshots for as long as its bytes are the same. */
export class BesideReader {
  readonly #owner: Buffer
  #bytes = Buffer.alloc(0)
  #beside = nothingBeside

  /** `owner`: of the records of the node that is read. */
  constructor(owner: Buffer) {
    this.#owner = owner
  }

  read(bytes: Buffer | null | undefined): Beside {
    if (!bytes || bytes.length === 0) return nothingBeside
    if (!this.#bytes.equals(bytes)) {
      this.#beside = this.#parse(bytes)
      // A copy, because the bytes are part of all that the socket read at a time.
      this.#bytes = Buffer.from(bytes)
    }
    return this.#beside
  }

  #parse(bytes: Buffer): Beside {
    const record = decodeBarrierRecord(bytes)
    if (!record) return nothingBeside
    // One that has come with its slot says nothing of what else lies here.
    const isValid = record.isValid && record.owner.equals(this.#owner)
    return { barrier: isValid ? record.barrier : undefined, generation: record.generation }
  }
}

/** Is the value one that its node may have forgotten the writes of? Of another incarnation none is proven. */
export function isOutlived(snapshot: Snapshot, { generation }: Beside): boolean {
  return (
    generation !== undefined &&
    generation.incarnation === snapshot.incarnation &&
    !covers(snapshot, generation)
  )
}

/**
 * May the filter lack ids that exist: of writes that its node may have forgotten, or of another life
 * of the database, in which what was deleted before the filter was built may exist again?
 */
export function isFilterOutlived(
  { incarnation, xid }: FilterHeader,
  { barrier, generation }: Beside,
): boolean {
  if (barrier !== undefined && barrier.incarnation !== incarnation) return true
  if (generation === undefined) return false
  return generation.incarnation !== incarnation || generation.xmax > xid
}
