/**
 * The relay (DESIGN §6): finishes what writers could not, and what was never theirs to finish. Rows
 * that a destination has not been told of are claimed, told and marked; once it has been told of
 * every write that a snapshot sees, that snapshot is its barrier.
 *
 * One instance of a namespace does it at a time, which only spares work: two relays tell twice, and
 * both tell the truth. No cursor and no order are needed, so a long transaction delays
 * nobody.
 */
import type { Clock } from '../model/clock.ts'
import type { Logger } from '../model/log.ts'
import type { Destination, Outbox, Owed, Progress } from '../model/outbox-port.ts'
import { abortable, deferred, sleep, unanswered, withDeadline } from '../resilience/deadline.ts'
import type { RelayDestination } from './destinations.ts'
import { Errand, type ErrandOptions } from './errand.ts'
import type { Repeats } from './repeats.ts'

export interface RelayOptions {
  /** This one, by its name. */
  readonly instance: string
  readonly outbox: Outbox
  readonly destinations: readonly RelayDestination[]
  /** `undefined`: without L2 there is nothing to repeat. */
  readonly repeats: Repeats | undefined
  readonly clock: Clock
  readonly log: Logger
  /** How often it looks. */
  readonly intervalMs: number
  readonly barrierIntervalMs: number
  /** Younger rows are left to their writer. */
  readonly minAgeMs: number
  readonly retentionMs: number
  readonly deadlineMs: number
  /** It has begun to relay, or ended. */
  readonly changed?: (isRelaying: boolean) => void
}

/** After which it says again that it relays: no transaction of the database gets older. */
const termMs = 30_000

export class Relay {
  readonly #options: RelayOptions
  readonly #closing = new AbortController()
  readonly #errands: readonly Errand[]
  #nap = new AbortController()
  #ended: Promise<void> | undefined
  #isDue = false
  /** It relays, or is about to see whether it may. */
  #isTrying = false
  #chores: Promise<void> | undefined
  #pruneAtMs = Number.NEGATIVE_INFINITY
  #progress: Progress | undefined
  readonly #begun = deferred<void>()
  #isRelaying = false

  constructor(options: RelayOptions) {
    this.#options = options
    const { clock, log, outbox, minAgeMs, barrierIntervalMs, deadlineMs } = options
    const shared: Omit<ErrandOptions, 'destination'> = {
      outbox,
      clock,
      log,
      minAgeMs,
      barrierIntervalMs,
      deadlineMs,
      closing: this.#closing.signal,
    }
    this.#errands = options.destinations.map(
      (destination) => new Errand({ ...shared, destination }),
    )
  }

  /** Does this instance relay now? */
  get isRelaying(): boolean {
    return this.#isRelaying
  }

  start(): void {
    this.#ended = this.#run()
  }

  /** Nobody relays: this instance tries to. */
  due(): void {
    if (this.#isTrying || this.#isDue) return
    this.#isDue = true
    this.#nap.abort()
  }

  /**
   * Resolves when another instance relays, or this one has begun to: where nothing was left to do
   * there are barriers by then, or none are to be had.
   */
  async begun(signal: AbortSignal): Promise<void> {
    if (this.#isDue || this.#isTrying) await abortable(this.#begun.promise, signal)
  }

  /** What a destination has not been told of, as far as this instance knows. */
  owed(destination: Destination): Owed | undefined {
    return this.isRelaying ? this.#progress?.owed[destination] : undefined
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#nap.abort()
    await this.#ended
  }

  async #run(): Promise<void> {
    const { clock, instance, intervalMs, log, outbox } = this.#options
    while (!this.#closing.signal.aborted) {
      if (!this.#isDue) await sleep(termMs, this.#nap.signal, clock)
      this.#nap = new AbortController()
      if (!this.#isDue || this.#closing.signal.aborted) continue
      this.#isDue = false
      this.#isTrying = true
      try {
        await this.#relay()
      } catch (error) {
        log.debug({ err: error }, 'the outbox cannot be relayed now')
        await sleep(intervalMs, this.#closing.signal, clock)
      } finally {
        outbox.resign(instance)
        this.#begun.resolve()
        this.#isTrying = false
        this.#change(false)
        this.#progress = undefined
      }
    }
    await Promise.all([this.#errandsEnded(), this.#chores])
  }

  /** Until somebody else does it. */
  async #relay(): Promise<void> {
    const { clock, instance, intervalMs, outbox, repeats } = this.#options
    let sinceMs = Number.NEGATIVE_INFINITY
    repeats?.begin()
    for (const errand of this.#errands) errand.begin()
    while (!this.#closing.signal.aborted) {
      const nowMs = clock.monotonicMs()
      if (nowMs - sinceMs > termMs) {
        if (!(await this.#inTime((signal) => outbox.lead(instance, signal)))) return
        sinceMs = nowMs
        this.#change(true)
      }
      const asked = Object.fromEntries(this.#errands.map(({ name, asked }) => [name, asked]))
      const progress = await this.#inTime((signal) => outbox.progress(asked, signal))
      const isFirst = this.#progress === undefined
      this.#progress = progress
      for (const errand of this.#errands) errand.consider(progress)
      if (isFirst) void this.#errandsEnded().then(() => this.#begun.resolve())
      repeats?.note(progress)
      this.#chores ??= this.#tidy().finally(() => {
        this.#chores = undefined
      })
      await sleep(intervalMs, this.#closing.signal, clock)
    }
  }

  async #errandsEnded(): Promise<void> {
    await Promise.all(this.#errands.map((errand) => errand.ended()))
  }

  #change(isRelaying: boolean): void {
    if (isRelaying === this.#isRelaying) return
    this.#isRelaying = isRelaying
    this.#options.changed?.(isRelaying)
  }

  /** Beside the rest: neither a slow Redis nor a large prune may hold up the barriers. */
  async #tidy(): Promise<void> {
    const { log, repeats } = this.#options
    // Each by itself: rows that can't be told again must not keep those that were from being removed.
    for (const chore of [() => repeats?.run(this.#closing.signal), () => this.#prune()]) {
      await Promise.resolve(chore()).catch((error: unknown) => {
        log.debug({ err: error }, 'the outbox cannot be tidied now')
      })
    }
  }

  async #prune(): Promise<void> {
    const { clock, outbox, retentionMs } = this.#options
    if (clock.monotonicMs() < this.#pruneAtMs) return
    this.#pruneAtMs = clock.monotonicMs() + retentionMs / 10
    await this.#inTime((signal) => outbox.prune(retentionMs, signal))
  }

  #inTime<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, deadlineMs } = this.#options
    const late = unanswered(deadlineMs, 'the outbox')
    return withDeadline(deadlineMs, late, this.#closing.signal, clock, call)
  }
}
