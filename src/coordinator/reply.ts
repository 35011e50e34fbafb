import type { Clock } from '../model/clock.ts'
import { type Deferred, deferred } from '../resilience/deadline.ts'
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
  #offered: { readonly answer: Answer; readonly isGood: () => boolean } | undefined
  #cancel: (() => void) | undefined

  constructor(counters: ReadCounters, to: Recipient, place: number) {
    this.#counters = counters
    this.#to = to
    this.#place = place
  }

  /**
   * An answer for want of a better one: given after so long, or instead of an error, if it is still
   * good. The first that is offered counts.
   */
  offer(answer: Answer, isGood: () => boolean, waitMs: number, clock: Clock): void {
    if (this.#isSettled || this.#offered) return
    this.#offered = { answer, isGood }
    this.#cancel = clock.after(waitMs, () => this.#takeOffered())
  }

  resolve(answer: Answer): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#cancel?.()
    countAnswer(this.#counters, answer)
    this.#to.answered(answer, this.#place)
  }

  reject(error: unknown): void {
    this.#takeOffered()
    if (this.#isSettled) return
    this.#isSettled = true
    this.#cancel?.()
    count(this.#counters.readFailures, codeOf(error))
    this.#to.failed(error, this.#place)
  }

  #takeOffered(): void {
    if (this.#offered?.isGood()) this.resolve(this.#offered.answer)
  }
}

/** The outcomes of many ids: one promise for all of them. */
export class Outcomes implements Recipient {
  readonly answers: (Answer | undefined)[]
  readonly errors: unknown[] = []
  readonly #end: Deferred<void> = deferred()
  #left: number

  constructor(count: number) {
    this.answers = new Array(count)
    this.#left = count
    if (count === 0) this.#end.resolve()
  }

  /** Resolves when each place has its answer or its error. */
  get complete(): Promise<void> {
    return this.#end.promise
  }

  answered(answer: Answer, place: number): void {
    this.answers[place] = answer
    this.#settled()
  }

  failed(error: unknown, place: number): void {
    this.errors[place] = error
    this.#settled()
  }

  #settled(): void {
    if (--this.#left === 0) this.#end.resolve()
  }
}

function countAnswer(counters: ReadCounters, { candidate, tier, state }: Answer): void {
  const isAbsent = candidate.value === undefined
  if (tier === 'l1') counters.l1StaleHits++
  else if (tier === 'source') counters[isAbsent ? 'sourceAbsent' : 'sourceReads']++
  else if (isAbsent) counters.l2Absent++
  else counters[state === 'fresh' ? 'l2Hits' : 'l2StaleHits']++
}
