/**
 * One hop to a service: a deadline and a circuit breaker around each call, so that a service that
 * hangs costs its deadline a few times and then nothing until it answers again (I7). The breaker
 * counts what says that the service is ill, not what it refuses.
 *
 * When it opens is said by `failure-window.ts`. How it comes back is not opossum's way, one call whose
 * outcome decides: one lucky call after an outage would let everybody in at once. Instead several calls
 * try, as many must be answered, and then a share of all calls is let through that grows (`phase.ts`).
 * Where somebody stands in for the service these are calls of the hop's own: nobody waits for a deadline
 * to find out that it still hangs. Open it stays longer each time, up to a bound, so that a service
 * that keeps falling over is left alone, and the number of changes is bounded by time.
 *
 * `tighten` is for who knows more than this process does: it only takes away, and ends by itself.
 */
import { type Clock, systemClock } from '../model/clock.ts'
import { longestHoldMs } from '../model/fleet.ts'
import { unanswered } from './deadline.ts'
import { Deadlines } from './deadlines.ts'
import { FailureWindow } from './failure-window.ts'
import { type BreakerSettings, breakerDefaults } from './hop-settings.ts'
import {
  type BreakerChange,
  type BreakerReason,
  type BreakerState,
  type HalfOpen,
  isLetThrough,
  type Phase,
  stateOf,
} from './phase.ts'
import { Abandoned, abandonedCall, type Outcomes, timedCall, unwrap } from './timed-call.ts'

export interface HopParts {
  readonly name: string
  readonly deadlineMs: number
  /** Is this error an answer of a service that is well? */
  readonly isAnswer: (error: unknown) => boolean
  readonly settings?: Partial<BreakerSettings>
  /**
   * Nothing but failures for so long, and enough of them, opens it, however much was answered before.
   * Without it the window alone does: a process that stood still has deadlines that are over, too.
   */
  readonly silenceMs?: number
  /**
   * What tries instead of the calls of others while it is half-open; `undefined`, or with nothing that
   * it could ask: these do.
   */
  readonly probe?: (() => Promise<unknown> | undefined) | undefined
  /** What a call that is not made rejects with. */
  readonly refusal?: () => Error
  readonly clock?: Clock
  /** From 0 to 1: spreads the ends of what many processes opened together. */
  readonly random?: () => number
}

/** Calls since the start; `refused` were not made. */
export interface CallCounts {
  answered: number
  failed: number
  refused: number
}

type Call<T = unknown> = () => Promise<T>
type Changed = (change: BreakerChange) => void

/** By so much of its time it ends sooner, by chance. */
const jitter = 0.1

const uncounted: Outcomes = { answered: () => {}, failed: (error, reject) => reject(error) }

export class Hop {
  readonly calls: CallCounts = { answered: 0, failed: 0, refused: 0 }
  readonly #window: FailureWindow
  readonly #parts: HopParts
  readonly #settings: BreakerSettings
  readonly #clock: Clock
  readonly #late: () => Error
  readonly #deadlines: Deadlines
  readonly #listeners: Changed[] = []
  #phase: Phase = { kind: 'closed' }
  #reason: BreakerReason = 'local'
  #cause: unknown
  /** The last failure that was counted. */
  #failure: unknown
  /** In a row, with no long time in between. */
  #openings = 0
  #closedAtMs = Number.NEGATIVE_INFINITY
  #limitedUntilMs = Number.NEGATIVE_INFINITY
  #endTimer = (): void => {}

  constructor(parts: HopParts) {
    const settings = { ...breakerDefaults, ...parts.settings }
    this.#parts = parts
    this.#settings = settings
    this.#clock = parts.clock ?? systemClock
    this.#late = unanswered(parts.deadlineMs)
    this.#deadlines = new Deadlines(parts.deadlineMs, this.#clock)
    this.#window = new FailureWindow({
      ...{ name: parts.name, settings, clock: this.#clock },
      silenceMs: parts.silenceMs ?? Number.POSITIVE_INFINITY,
      opened: () => {
        if (this.#phase.kind !== 'open') this.#open()
      },
    })
  }

  /**
   * Rejects when the breaker does not let the call through, the deadline is over, or the call itself
   * does. With a signal the deadline is its owner's: what aborts late enough counts as unanswered.
   */
  run<T>(call: Call<T>, signal?: AbortSignal): Promise<T> {
    const phase = this.#phase
    if (phase.kind === 'closed') return this.#fire(call, signal)
    return this.#runIn(phase, call, signal)
  }

  get state(): BreakerState {
    return stateOf(this.#phase)
  }

  /** Called with each change of the state. */
  onChange(changed: Changed): void {
    this.#listeners.push(changed)
  }

  /**
   * Holds it open, or limited to as many calls at once as it has probes, until then (monotonic, at
   * most five minutes from now). What the process itself has seen may be stricter, and stays so.
   */
  tighten(untilMs: number, how: 'open' | 'limit', cause?: string): void {
    const nowMs = this.#clock.monotonicMs()
    const endMs = Math.min(untilMs, nowMs + longestHoldMs)
    if (this.isClosed || !(endMs > nowMs)) return
    const { kind } = this.#phase
    if (how === 'limit') {
      this.#limitedUntilMs = Math.max(this.#limitedUntilMs, endMs)
      if (kind === 'open' || kind === 'half-open') return
      this.#because('fleet', cause)
      this.#limit()
      return
    }
    if (this.#phase.kind === 'open' && this.#phase.untilMs >= endMs) return
    this.#because('fleet', cause)
    this.#stayOpen(endMs - nowMs)
    this.#window.open()
  }

  get isClosed(): boolean {
    return this.#window.isShutDown
  }

  close(): void {
    this.#endTimer()
    this.#deadlines.close()
    this.#phase = { kind: 'closed' }
    this.#window.close()
  }

  // ---- calls

  #runIn<T>(phase: Phase, call: Call<T>, signal: AbortSignal | undefined): Promise<T> {
    const { probes } = this.#settings
    switch (phase.kind) {
      case 'closed':
        return this.#fire(call, signal)
      case 'open':
        return this.#refuse()
      case 'half-open':
        return !phase.isOwn && phase.running < probes
          ? this.#probe(phase, call, signal)
          : this.#refuse()
      case 'limited':
        return phase.running < probes ? this.#fireIn(phase, call, signal) : this.#refuse()
      case 'closing':
        return isLetThrough(phase, this.#clock.monotonicMs(), this.#settings)
          ? this.#fireIn(phase, call, signal)
          : this.#refuse()
      default:
        return phase satisfies never
    }
  }

  #fire<T>(call: Call<T>, signal: AbortSignal | undefined): Promise<T> {
    if (this.isClosed) return this.#refuse()
    this.#window.rotate()
    const called = this.#inTime(call, signal, this.#outcomes)
    return signal ? called.catch(unwrap) : called
  }

  readonly #outcomes: Outcomes = {
    answered: () => {
      this.calls.answered++
      this.#window.answered()
    },
    failed: (error, reject) => {
      if (this.#isAnswer(error)) {
        this.#outcomes.answered()
        return reject(error)
      }
      this.calls.failed++
      if (!this.#window.isOpen) this.#failure = error
      this.#window.failed(error, reject)
    },
  }

  #fireIn<T>(phase: { running: number }, call: Call<T>, signal?: AbortSignal): Promise<T> {
    phase.running++
    return this.#fire(call, signal).finally(() => {
      phase.running--
    })
  }

  async #probe<T>(phase: HalfOpen, call: Call<T>, signal: AbortSignal | undefined): Promise<T> {
    phase.running++
    try {
      const value = await this.#inTime(call, signal, uncounted)
      this.#tried(phase, true)
      return value
    } catch (error) {
      // Given up early: as if it had not been made.
      if (!(error instanceof Abandoned) || error.isLate) {
        this.#failure = error
        this.#tried(phase, this.#isAnswer(error))
      }
      return unwrap(error)
    } finally {
      phase.running--
    }
  }

  #tried(phase: HalfOpen, isAnswered: boolean): void {
    this.calls[isAnswered ? 'answered' : 'failed']++
    if (this.#phase !== phase) return
    if (!isAnswered) this.#open()
    else if (++phase.answered >= this.#settings.successes) this.#startClosing()
  }

  #refuse(): Promise<never> {
    this.calls.refused++
    const { name, refusal } = this.#parts
    return Promise.reject(refusal?.() ?? new Error(`the breaker of ${name} lets no call through`))
  }

  #inTime<T>(call: Call<T>, signal: AbortSignal | undefined, outcomes: Outcomes): Promise<T> {
    if (!signal) return timedCall(call, this.#deadlines, this.#late, outcomes)
    return abandonedCall(call, signal, this.#parts.deadlineMs, this.#clock, outcomes)
  }

  #isAnswer(error: unknown): boolean {
    return error instanceof Abandoned ? !error.isLate : this.#parts.isAnswer(error)
  }

  // ---- phases

  #open(): void {
    const { openForMs, openForAtMostMs } = this.#settings
    const nowMs = this.#clock.monotonicMs()
    const wasLongClosed = nowMs - this.#closedAtMs >= openForAtMostMs
    if (this.#phase.kind === 'closed' && wasLongClosed) this.#openings = 0
    const longMs = Math.min(openForAtMostMs, openForMs * 2 ** Math.min(this.#openings++, 20))
    this.#because('local', this.#failure)
    this.#stayOpen(longMs * (1 - jitter * (this.#parts.random ?? Math.random)()))
  }

  #because(reason: BreakerReason, cause: unknown): void {
    this.#reason = reason
    this.#cause = cause instanceof Abandoned ? this.#late() : cause
  }

  #stayOpen(forMs: number): void {
    const untilMs = this.#clock.monotonicMs() + forMs
    this.#enter({ kind: 'open', untilMs }, forMs, () => void this.#tryAgain())
  }

  /** Calls of its own, one after the other, until enough were answered. Never rejects. */
  async #tryAgain(): Promise<void> {
    const phase: HalfOpen = { kind: 'half-open', running: 0, answered: 0, isOwn: true }
    this.#enter(phase)
    while (this.#phase === phase) {
      const asked = this.#parts.probe?.()
      if (!asked) {
        phase.isOwn = false
        return
      }
      await this.#probe(phase, () => asked, undefined).catch(() => {})
    }
  }

  /** The window begins anew: what failed before the outage was noticed has been acted on. */
  #startClosing(): void {
    this.#window.beginAnew()
    this.#limit()
  }

  #limit(): void {
    const nowMs = this.#clock.monotonicMs()
    const leftMs = this.#limitedUntilMs - nowMs
    if (leftMs > 0) {
      const phase: Phase = { kind: 'limited', untilMs: this.#limitedUntilMs, running: 0 }
      this.#enter(phase, leftMs, () => this.#limit())
      return
    }
    const { rampUpMs } = this.#settings
    if (rampUpMs === 0) this.#end()
    else {
      const phase: Phase = { kind: 'closing', sinceMs: nowMs, running: 0, credit: 0 }
      this.#enter(phase, rampUpMs, () => this.#end())
    }
  }

  #end(): void {
    this.#closedAtMs = this.#clock.monotonicMs()
    this.#failure = undefined
    this.#enter({ kind: 'closed' })
  }

  /** `forMs`: when `then` follows by itself. */
  #enter(phase: Phase, forMs?: number, then = (): void => {}): void {
    this.#endTimer()
    const before = this.state
    this.#phase = phase
    this.#endTimer = forMs === undefined ? () => {} : this.#clock.after(forMs, then)
    const { state } = this
    if (state === before) return
    const change = { state, before, reason: this.#reason, cause: this.#cause }
    for (const changed of this.#listeners) changed(change)
  }
}
