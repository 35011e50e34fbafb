import { AsyncLocalStorage } from 'node:async_hooks'
import { type Duration, durationMs } from '../model/duration.ts'
import { immediate, quiet, VirtualClock } from './virtual-clock.ts'

/**
 * The time of a cache under test. It stands still, but for two things: the test lets it pass, or a
 * call that somebody waits for can't go on without (a back-off, a deadline, a load that `trouble`
 * makes slow): then it moves on by itself, just as far as that call needs. While a loader or the
 * callback of a write runs it doesn't move by itself.
 */
export interface TestClock {
  /**
   * Lets so much time pass, as milliseconds or like `'10m'`; resolves when everything that was due
   * has been done. `advance(0)` lets what goes on behind an answer (a refresh) be done.
   */
  advance(duration: Duration): Promise<void>
  /** Milliseconds since 1970 by this clock; it begins at the same moment in every test. */
  now(): number
}

/** Code of the test's own that the cache waits for. */
interface Outside {
  /** Calls of the cache that it waits for in turn. */
  calls: number
}

/** Taken before a test framework could put its own in its place. */
const nextTick = process.nextTick.bind(process)

/** What goes on behind the answers comes round in less, also after it failed. */
const lastRoundsMs = 1_000

export class AutoClock extends VirtualClock implements TestClock {
  readonly #outside = new Set<Outside>()
  readonly #within = new AsyncLocalStorage<Outside>()
  #calls = 0
  #isNudged = false
  #isAdvancing = false
  #advanced: Promise<void> = Promise.resolve()

  override defer(run: () => void): void {
    nextTick(run)
  }

  now(): number {
    return this.wallMs()
  }

  override async advance(duration: Duration): Promise<void> {
    const ms = durationMs('duration', duration)
    this.#advanced = this.#advanced.then(() => this.#advance(ms))
    return this.#advanced
  }

  /** A call of the cache that somebody waits for. */
  waitedFor<T>(call: Promise<T>): Promise<T> {
    const within = this.#within.getStore()
    this.#calls++
    if (within) within.calls++
    const done = (): void => {
      this.#calls--
      if (within) within.calls--
    }
    call.then(done, done)
    this.#nudge()
    return call
  }

  /** Runs code of the test's own; once the signal aborts, nobody waits for it any more. */
  outside<T>(run: () => PromiseLike<T> | T, signal?: AbortSignal): Promise<T> {
    const one: Outside = { calls: 0 }
    this.#outside.add(one)
    const end = (): void => {
      signal?.removeEventListener('abort', end)
      if (this.#outside.delete(one)) this.#nudge()
    }
    signal?.addEventListener('abort', end, { once: true })
    if (signal?.aborted) end()
    return this.#within.run(one, async () => run()).finally(end)
  }

  get #isHeld(): boolean {
    return [...this.#outside].some(({ calls }) => calls === 0)
  }

  /** Moves on to the next timer, once everything that needs no time has been done. */
  #nudge(): void {
    if (this.#isNudged) return
    this.#isNudged = true
    immediate(() => {
      this.#isNudged = false
      if (this.#isAdvancing || this.#calls === 0) return
      if (this.fireNext(this.#isHeld ? this.monotonicMs() : undefined)) this.#nudge()
    })
  }

  async #advance(ms: number): Promise<void> {
    this.#isAdvancing = true
    const untilMs = this.monotonicMs() + ms
    await quiet()
    const isWaitedFor = (): boolean => this.#calls > 0 || this.#outside.size > 0
    while (isWaitedFor() && this.fireNext(untilMs)) await quiet()
    // Nobody waits: of the rounds in the background the last ones are enough, and a week is no work.
    this.stop(untilMs - lastRoundsMs - this.monotonicMs())
    await quiet()
    while (this.fireNext(untilMs)) await quiet()
    this.stop(untilMs - this.monotonicMs())
    this.#isAdvancing = false
    this.#nudge()
  }
}
