/**
 * Hands the histories of all processes to the oracle while they come in. A read is judged once
 * every process has told what it did before that read began: only then all the writes are known
 * that it could have missed.
 */

import { type Operation, readChunk, type Tier } from './history.ts'
import { LatencyHistogram } from './latency.ts'
import { Oracle, type Verdict } from './oracle.ts'

export interface Counts {
  /** Ids that were answered: a batch counts each of its ids. */
  readonly reads: number
  readonly strongReads: number
  readonly ticketedReads: number
  readonly writes: number
  readonly unfencedWrites: number
  /** Rows that plain SQL has written. */
  readonly foreignWrites: number
}

interface Pending {
  readonly process: number
  /** As it came: a process that falls behind must not cost an object a read. */
  readonly chunk: Uint8Array
  readonly untilNs: number
}

export class Docket {
  readonly #oracle: Oracle
  /** Up to when each process has told all. */
  readonly #toldUntilNs: number[]
  readonly #counts = {
    reads: 0,
    strongReads: 0,
    ticketedReads: 0,
    writes: 0,
    unfencedWrites: 0,
    foreignWrites: 0,
  }
  readonly #foreign: number | undefined
  readonly latency: Readonly<Record<Tier, LatencyHistogram>> = {
    l1: new LatencyHistogram(),
    l2: new LatencyHistogram(),
    source: new LatencyHistogram(),
  }
  #pending: Pending[] = []

  /** With `hasForeign` one process more writes plain SQL: the last. */
  constructor(processes: number, boundMs: number, hasForeign = false) {
    this.#foreign = hasForeign ? processes : undefined
    this.#oracle = new Oracle(boundMs, hasForeign)
    const all = processes + (hasForeign ? 1 : 0)
    this.#toldUntilNs = new Array<number>(all).fill(Number.NEGATIVE_INFINITY)
  }

  /** What `process` did, told completely up to `untilNs`. */
  add(process: number, chunk: Uint8Array, untilNs: number): void {
    for (const operation of readChunk(chunk)) {
      this.#count(operation, process)
      if (operation.kind === 'write') this.#oracle.addWrite(operation, process)
    }
    this.#pending.push({ process, chunk, untilNs })
    this.#toldUntilNs[process] = untilNs
    this.#judge()
  }

  get counts(): Counts {
    return this.#counts
  }

  /** Of the reads that could be judged so far. */
  get verdict(): Verdict {
    return this.#oracle.verdict
  }

  #judge(): void {
    const knownUntilNs = Math.min(...this.#toldUntilNs)
    const isKnown = ({ untilNs }: Pending): boolean => untilNs <= knownUntilNs
    for (const { process, chunk } of this.#pending.filter(isKnown)) {
      for (const operation of readChunk(chunk)) {
        if (operation.kind === 'read') this.#oracle.judge(operation, process)
      }
    }
    this.#pending = this.#pending.filter((one) => !isKnown(one))
  }

  #count(operation: Operation, process: number): void {
    if (process === this.#foreign) {
      this.#counts.foreignWrites++
      return
    }
    if (operation.kind === 'write') {
      this.#counts.writes++
      if (!operation.fenced) this.#counts.unfencedWrites++
      return
    }
    this.#counts.reads++
    if (operation.consistency === 'strong') this.#counts.strongReads++
    if (operation.ticketVersion > 0) this.#counts.ticketedReads++
    if (operation.tier) this.latency[operation.tier].record(operation.endNs - operation.startNs)
  }
}
