import type { Clock } from '../model/clock.ts'

/** Taken before a test framework could put its own in its place. */
export const immediate = setImmediate

interface Timer {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

/**
 * Time that stands still until a test moves it. Both clocks move together, unless the test steps
 * one of them. What was deferred runs when the test ends the turn.
 */
export class VirtualClock implements Clock {
  #monotonicMs = 1_000
  #wallMs = 1_700_000_000_000
  #timers = new Set<Timer>()
  #order = 0
  #deferred: (() => void)[] = []
  /** How often the clocks were looked at. */
  looks = 0

  monotonicMs(): number {
    this.looks++
    return this.#monotonicMs
  }

  wallMs(): number {
    return this.#wallMs
  }

  defer(run: () => void): void {
    this.#deferred.push(run)
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#monotonicMs + ms, order: this.#order++, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** Timers that wait for their time. */
  get timers(): number {
    return this.#timers.size
  }

  /** Ends the turn: what was deferred runs, and every promise that can settle does, until all is quiet. */
  async settle(): Promise<void> {
    do {
      for (const run of this.#deferred.splice(0)) run()
      await quiet()
    } while (this.#deferred.length > 0)
  }

  /** Lets both clocks run on by `ms`, timer by timer. */
  async advance(ms: number): Promise<void> {
    await this.settle()
    const untilMs = this.#monotonicMs + ms
    while (this.fireNext(untilMs)) await this.settle()
    this.#move(untilMs - this.#monotonicMs)
    await this.settle()
  }

  /** Moves on to the next timer, if it is due by then, and runs it; whether there was one. */
  fireNext(untilMs = Number.POSITIVE_INFINITY): boolean {
    const timer = this.#next(untilMs)
    if (!timer) return false
    this.#timers.delete(timer)
    this.#move(timer.atMs - this.#monotonicMs)
    timer.run()
    return true
  }

  /** Both clocks move, and no timer fires: a process that was stopped and goes on. */
  stop(ms: number): void {
    this.#move(ms)
  }

  /** The wall clock alone: somebody sets it, or the machine was suspended. */
  stepWall(ms: number): void {
    this.#wallMs += ms
  }

  #move(ms: number): void {
    this.#monotonicMs += Math.max(0, ms)
    this.#wallMs += Math.max(0, ms)
  }

  #next(untilMs: number): Timer | undefined {
    let next: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.atMs > untilMs) continue
      if (!next || timer.atMs < next.atMs || (timer.atMs === next.atMs && timer.order < next.order))
        next = timer
    }
    return next
  }
}

/** Resolves when no promise is left that can settle by itself. */
export function quiet(): Promise<void> {
  return new Promise((resolve) => immediate(resolve))
}
