import { codeOf, count, type ReadCounters } from '../telemetry/counters.ts'
import type { Answer } from './wanted.ts'

/** Who waits: for one id, or for many, each in its place. */
export interface Recipient {
  answered(answer: Answer, place: number): void
  failed(error: unknown, place: number): void
}

/**
 * Where a reader's outcome goes, and where it is counted: once for each reader, who may have gone by
 * its signal before. The first outcome is the one.
 */
export class Reply {
  readonly #counters: ReadCounters
  readonly #to: Recipient
  readonly #place: number
  #isSettled = false

  constructor(counters: ReadCounters, to: Recipient, place: number) {
    this.#counters = counters
    this.#to = to
    this.#place = place
  }

  resolve(answer: Answer): void {
    if (this.#isSettled) return
    this.#isSettled = true
    countAnswer(this.#counters, answer)
    this.#to.answered(answer, this.#place)
  }

  reject(error: unknown): void {
    if (this.#isSettled) return
    this.#isSettled = true
    count(this.#counters.readFailures, codeOf(error))
    this.#to.failed(error, this.#place)
  }
}

function countAnswer(counters: ReadCounters, { candidate, tier, state }: Answer): void {
  const isAbsent = candidate.value === undefined
  if (tier === 'source') counters[isAbsent ? 'sourceAbsent' : 'sourceReads']++
  else if (isAbsent) counters.l2Absent++
  else counters[state === 'fresh' ? 'l2Hits' : 'l2StaleHits']++
}
