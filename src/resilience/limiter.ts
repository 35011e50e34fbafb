/**
 * At most so many calls at once, however many want to. The others wait in a bounded queue, by rank and
 * then by age, and no longer than its deadline. What can't be waited for is shed: from the lowest rank
 * the youngest, so that who has waited longest is the next to run.
 */
import type { Clock } from '../model/clock.ts'
import { abortable, type Deferred, deferred } from './deadline.ts'

/** How many calls may run at once, now. */
export interface Limit {
  readonly present: number
  /** A call has ended: what it took, how many ran when it began, and whether it had an answer. */
  ended(tookMs: number, running: number, isAnswered: boolean): void
}

export const fixedLimit = (present: number): Limit => ({ present, ended: () => {} })

/** Whose turn it is next: the lowest rank comes first. */
export class Turn {
  #rank: number
  /** Told while it waits. */
  raised: ((from: number) => void) | undefined

  constructor(rank: number) {
    this.#rank = rank
  }

  get rank(): number {
    return this.#rank
  }

  /** Somebody more urgent waits for the same call. */
  raise(rank: number): void {
    if (rank >= this.#rank) return
    const from = this.#rank
    this.#rank = rank
    this.raised?.(from)
  }
}

export interface LimiterOptions {
  readonly limit: Limit
  /** Calls that may wait. */
  readonly queueLimit: number
  readonly queueDeadlineMs: number
  /** Ranks go from 0 to one less. */
  readonly ranks: number
  /** What a call of this rank gets that is not run. */
  readonly shed: (rank: number) => Error
  readonly clock: Clock
}

interface Waiting {
  readonly turn: Turn
  readonly lateAtMs: number
  /** Of those that wait the older has the smaller. */
  readonly order: number
  readonly place: Deferred<void>
  hasPlace: boolean
}

export class Limiter {
  readonly #options: LimiterOptions
  /** By rank, the oldest first. */
  readonly #queues: Waiting[][]
  #running = 0
  #waiting = 0
  #lastOrder = 0
  #cancelRing = (): void => {}

  constructor(options: LimiterOptions) {
    this.#options = options
    this.#queues = Array.from({ length: options.ranks }, () => [])
  }

  /**
   * A call whose signal aborts gives its place back, heeds it the signal or not: what hangs must not
   * stop the rest for good.
   */
  async run<T>(turn: Turn, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    await this.#enter(turn, signal)
    const { limit, clock } = this.#options
    const running = this.#running
    const beganAtMs = clock.monotonicMs()
    let isAnswered = false
    try {
      const answer = await abortable(call(), signal)
      isAnswered = true
      return answer
    } finally {
      limit.ended(clock.monotonicMs() - beganAtMs, running, isAnswered)
      this.#leave()
    }
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting
  }

  /** How many may run at once, now. */
  get limit(): number {
    return this.#options.limit.present
  }

  /** Would a call of this rank be shed at once? */
  isFullFor(rank: number): boolean {
    return this.#waiting >= this.#options.queueLimit && this.#lowestBelow(rank) === undefined
  }

  async #enter(turn: Turn, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#running < this.limit && this.#waiting === 0) {
      this.#running++
      return
    }
    if (this.#waiting >= this.#options.queueLimit) this.#makeRoom(turn.rank)
    const waiting = this.#wait(turn)
    try {
      await abortable(waiting.place.promise, signal)
    } catch (error) {
      // The turn came at the very moment of the abort: it is passed on.
      if (waiting.hasPlace) this.#leave()
      else this.#remove(waiting, turn.rank)
      throw error
    } finally {
      turn.raised = undefined
    }
  }

  #wait(turn: Turn): Waiting {
    const { clock, queueDeadlineMs } = this.#options
    const waiting = {
      turn,
      lateAtMs: clock.monotonicMs() + queueDeadlineMs,
      order: ++this.#lastOrder,
      place: deferred<void>(),
      hasPlace: false,
    }
    this.#queueOf(turn.rank).push(waiting)
    turn.raised = (from) => this.#move(waiting, from)
    if (++this.#waiting === 1) this.#ringFor(waiting)
    return waiting
  }

  /** Places go to those who wait, so that nobody who comes later overtakes. */
  #leave(): void {
    this.#running--
    while (this.#running < this.limit) {
      const next = this.#queues.find((queue) => queue.length > 0)?.[0]
      if (!next) return
      this.#remove(next, next.turn.rank)
      this.#running++
      next.hasPlace = true
      next.place.resolve()
    }
  }

  #makeRoom(rank: number): void {
    const youngest = this.#lowestBelow(rank)?.at(-1)
    if (!youngest) throw this.#options.shed(rank)
    this.#shed(youngest)
  }

  /** The queue that is shed for a call of this rank. */
  #lowestBelow(rank: number): Waiting[] | undefined {
    return this.#queues.findLast((queue, other) => other > rank && queue.length > 0)
  }

  #shed(waiting: Waiting): void {
    const { rank } = waiting.turn
    this.#remove(waiting, rank)
    waiting.place.reject(this.#options.shed(rank))
  }

  #move(waiting: Waiting, from: number): void {
    const queue = this.#queueOf(from)
    const place = queue.indexOf(waiting)
    if (place < 0) return
    queue.splice(place, 1)
    const target = this.#queueOf(waiting.turn.rank)
    target.splice(target.findLastIndex(({ order }) => order < waiting.order) + 1, 0, waiting)
  }

  #remove(waiting: Waiting, rank: number): void {
    const queue = this.#queueOf(rank)
    const place = queue.indexOf(waiting)
    if (place < 0) return
    queue.splice(place, 1)
    if (--this.#waiting === 0) this.#cancelRing()
  }

  #queueOf(rank: number): Waiting[] {
    return this.#queues[rank] as Waiting[]
  }

  /** One timer for all: each waits as long as every other, so the oldest is the first to be late. */
  #ringFor({ lateAtMs }: Waiting): void {
    const { clock } = this.#options
    const inMs = Math.max(0, lateAtMs - clock.monotonicMs())
    this.#cancelRing = clock.after(inMs, () => this.#ring())
  }

  #ring(): void {
    const nowMs = this.#options.clock.monotonicMs()
    const late = this.#queues.flat().filter(({ lateAtMs }) => lateAtMs <= nowMs)
    for (const waiting of late) this.#shed(waiting)
    const [oldest] = this.#queues.flatMap(([first]) => first ?? []).toSorted(byAge)
    if (oldest) this.#ringFor(oldest)
  }
}

const byAge = (one: Waiting, other: Waiting): number => one.order - other.order
