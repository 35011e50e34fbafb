/**
 * Judges what readers were told by what had been written when they asked. It knows nothing of the
 * cache: versions of a row grow with each write, and times are of one clock for all processes.
 *
 * A read *misses* a write of its row when that had returned before the read began and the read saw
 * an older version. By the promises (DESIGN §1): a strong read misses no fenced write (I4), a read
 * with a ticket not the ticket's write (I10), and a bounded read none that had returned more than
 * the bound before (I3). Writes and reads that overlap may be seen in either order.
 *
 * A write that Redis was not told of before it returned is one that an answer of Redis may miss for
 * longer: it binds the answers that say that they are proven, and all answers where the entity is
 * declared to have foreign writes.
 */
import type { Read, Write } from './history.ts'

export interface Verdict {
  /** Reads of rows that a write of another process was the newest of: the answer had to come over. */
  readonly crossProcessChecks: number
  /** Strong reads that missed a fenced write, and reads that missed the write of their ticket. */
  readonly staleStrong: number
  /** Bounded reads that missed a write by more than the bound. */
  readonly staleBeyondBound: number
  /** Of all bounded reads: how long before the read the oldest write that it missed had returned. */
  readonly maxStaleMs: number
  /** The first stale answers, in words. */
  readonly examples: readonly string[]
}

interface Returned {
  readonly endNs: number
  readonly version: number
  readonly process: number
  readonly fenced: boolean
  /** Of this write and all that returned before it. */
  newestVersion: number
  newestProcess: number
  newestFenced: number
}

const mostExamples = 5

export class Oracle {
  readonly #boundNs: number
  readonly #isForeign: boolean
  /** By row, in the order in which they returned. */
  readonly #writes = new Map<number, Returned[]>()
  readonly #examples: string[] = []
  #crossProcessChecks = 0
  #staleStrong = 0
  #staleBeyondBound = 0
  #maxStaleNs = 0

  /** `isForeign`: the rows are those of an entity with `foreignWrites: true`. */
  constructor(boundMs: number, isForeign = false) {
    this.#boundNs = boundMs * 1e6
    this.#isForeign = isForeign
  }

  addWrite({ id, version, endNs, fenced }: Write, process: number): void {
    const writes = this.#writes.get(id) ?? []
    if (writes.length === 0) this.#writes.set(id, writes)
    const place = countEndedBefore(writes, endNs)
    const write = {
      endNs,
      version,
      process,
      fenced,
      newestVersion: 0,
      newestProcess: 0,
      newestFenced: 0,
    }
    writes.splice(place, 0, write)
    sumUpFrom(writes, place)
  }

  /** Every write that returned before the read began must have been added. */
  judge(read: Read, process: number): void {
    const writes = this.#writes.get(read.id) ?? []
    const last = writes[countEndedBefore(writes, read.startNs) - 1]
    if (last && last.newestProcess !== process) this.#crossProcessChecks++
    const isStrong = read.consistency === 'strong'
    const due = Math.max(read.ticketVersion, isStrong ? (last?.newestFenced ?? 0) : 0)
    if (read.version < due) this.#strong(read, process, due)
    if (!isStrong && last && read.version < last.newestVersion) {
      const isBound = this.#isForeign || read.isProven
      const missed = writes.find(
        ({ fenced, version }) => version > read.version && (fenced || isBound),
      )
      if (missed && missed.endNs < read.startNs) this.#bounded(read, process, missed)
    }
  }

  get verdict(): Verdict {
    return {
      crossProcessChecks: this.#crossProcessChecks,
      staleStrong: this.#staleStrong,
      staleBeyondBound: this.#staleBeyondBound,
      maxStaleMs: Number((this.#maxStaleNs / 1e6).toFixed(3)),
      examples: this.#examples,
    }
  }

  #strong(read: Read, process: number, version: number): void {
    this.#staleStrong++
    const kind = read.ticketVersion > 0 ? 'a read with a ticket' : 'a strong read'
    this.#example(
      `${kind} of ${read.id} in process ${process} saw version ${read.version} instead of ${version}`,
    )
  }

  #bounded(read: Read, process: number, missed: Returned): void {
    const staleNs = read.startNs - missed.endNs
    this.#maxStaleNs = Math.max(this.#maxStaleNs, staleNs)
    if (staleNs <= this.#boundNs) return
    this.#staleBeyondBound++
    this.#example(
      `a read of ${read.id} in process ${process} saw version ${read.version}, ${Math.round(staleNs / 1e6)} ms after process ${missed.process} had written ${missed.version}`,
    )
  }

  #example(text: string): void {
    if (this.#examples.length < mostExamples) this.#examples.push(text)
  }
}

function countEndedBefore(writes: readonly Returned[], ns: number): number {
  let low = 0
  let high = writes.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((writes[middle] as Returned).endNs < ns) low = middle + 1
    else high = middle
  }
  return low
}

function sumUpFrom(writes: readonly Returned[], place: number): void {
  for (let index = place; index < writes.length; index++) {
    const write = writes[index] as Returned
    const before = writes[index - 1]
    const isNewest = write.version > (before?.newestVersion ?? -1)
    write.newestVersion = isNewest ? write.version : (before?.newestVersion ?? 0)
    write.newestProcess = isNewest ? write.process : (before?.newestProcess ?? 0)
    write.newestFenced = Math.max(write.fenced ? write.version : 0, before?.newestFenced ?? 0)
  }
}
