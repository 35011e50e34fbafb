/**
 * Where one reading of the log stands in each partition. Records come without a hole, or something
 * was lost: removed before it was read, cut off by a leader that didn't have it, or the topic is
 * another one.
 */
export interface ReadBatch {
  readonly partition: number
  /** The offset that was asked for. */
  readonly fetchedOffset: string
  readonly messages: readonly {
    readonly offset: string
    readonly value: Buffer | null
    readonly batchContext?: { readonly partitionLeaderEpoch?: number }
  }[]
}

/** Of a partition, where the next record will lie. */
export interface End {
  readonly partition: number
  readonly high: string
}

export class Positions {
  readonly #next = new Map<number, bigint>()
  readonly #epochs = new Map<number, number>()

  constructor(ends: readonly End[]) {
    for (const { partition, high } of ends) this.#next.set(partition, BigInt(high))
  }

  /** Hands on what follows what was there before; `false` where something else does. */
  advance(batch: ReadBatch, heard: (value: Buffer | null) => void): boolean {
    const { partition, messages } = batch
    let next = this.#next.get(partition)
    if (next === undefined || BigInt(batch.fetchedOffset) !== next) return false
    for (const { offset, value, batchContext } of messages) {
      if (BigInt(offset) !== next || !this.#isSameLeader(partition, batchContext)) return false
      next++
      this.#next.set(partition, next)
      heard(value)
    }
    return true
  }

  /** A new leader may have less than the old one had, and offsets that hide it. */
  #isSameLeader(
    partition: number,
    context: { readonly partitionLeaderEpoch?: number } | undefined,
  ): boolean {
    const epoch = context?.partitionLeaderEpoch
    if (epoch === undefined) return true
    const known = this.#epochs.get(partition)
    this.#epochs.set(partition, epoch)
    return known === undefined || known === epoch
  }
}
