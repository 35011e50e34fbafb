/**
 * Asks the source for its snapshot a few times a second, and at once for whoever needs one that is
 * younger than now: what both planes do, each with what it asks for beside the snapshot.
 */
import type { Reading } from '../model/clock.ts'
import { LockstepError } from '../model/errors.ts'
import type { Probe } from '../model/outbox-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { abortable, type Deferred, deferred, sleep, withDeadline } from '../resilience/deadline.ts'
import type { PlaneOptions } from './plane.ts'

/** `T`: what the source is asked for. */
export interface ProberOptions<T extends Probe> extends PlaneOptions {
  readonly ask: (signal: AbortSignal) => Promise<T>
  /** `t0`: read before the source was asked, or it would prove more than it knows. */
  readonly answered: (t0: Reading, answer: T) => void
  /** How often it is asked where nobody needs to know sooner. */
  readonly intervalMs: () => number
}

/** Between two polls that somebody asked for: who wakes often doesn't make the source busy. */
const leastPauseMs = 10

export class Prober<T extends Probe> {
  readonly #options: ProberOptions<T>
  readonly #closing = new AbortController()
  #asked: Deferred<Snapshot>[] = []
  #nap = new AbortController()
  #ended: Promise<void> | undefined
  #isFailing = false
  #wakeAtMs = 0
  #cancelWake: (() => void) | undefined

  constructor(options: ProberOptions<T>) {
    this.#options = options
    options.outbox.listen(() => this.#wake())
  }

  /** Resolves with the first probe; rejects when there is none to be had. */
  async start(): Promise<void> {
    await this.#ask()
    this.#ended = this.#run()
  }

  /** A snapshot of the primary that is taken after this call. */
  async fresh(signal: AbortSignal): Promise<Snapshot> {
    this.#closing.signal.throwIfAborted()
    const asked = deferred<Snapshot>()
    this.#asked.push(asked)
    this.poke()
    return abortable(asked.promise, signal)
  }

  /** Asks as soon as the present question is answered. */
  poke(): void {
    this.#nap.abort()
  }

  /** Asks soon: whoever calls it often is heard some times a second. */
  #wake(): void {
    if (this.#closing.signal.aborted) return
    const { clock } = this.#options
    const waitMs = this.#wakeAtMs - clock.monotonicMs()
    if (waitMs <= 0) {
      this.#wakeAtMs = clock.monotonicMs() + leastPauseMs
      this.poke()
    } else {
      this.#cancelWake ??= clock.after(waitMs, () => {
        this.#cancelWake = undefined
        this.#wake()
      })
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#cancelWake?.()
    this.poke()
    await this.#ended
    for (const asked of this.#asked.splice(0)) asked.reject(this.#closing.signal.reason)
  }

  async #run(): Promise<void> {
    const { clock, intervalMs } = this.#options
    while (!this.#closing.signal.aborted) {
      await sleep(intervalMs(), this.#nap.signal, clock)
      if (this.#closing.signal.aborted) return
      this.#nap = new AbortController()
      try {
        await this.#ask()
        this.#isFailing = false
      } catch (error) {
        await this.#failed(error)
      }
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { clock, intervalMs, listener, log } = this.#options
    listener.stalled()
    if (this.#closing.signal.aborted) return
    if (!this.#isFailing)
      log.warn({ err: error }, 'the source has no snapshot to give; L1 will not be served')
    this.#isFailing = true
    // Whoever asks for a snapshot pokes; a source that refuses must not be asked without a pause.
    await sleep(intervalMs(), this.#closing.signal, clock)
  }

  async #ask(): Promise<void> {
    const { clock, pollDeadlineMs } = this.#options
    const asked = this.#asked
    this.#asked = []
    try {
      const t0: Reading = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
      const snapshot = await withDeadline(
        pollDeadlineMs,
        // It may be what a start fails with.
        () =>
          new LockstepError('SOURCE_TIMEOUT', `the outbox did not answer in ${pollDeadlineMs} ms`),
        this.#closing.signal,
        clock,
        (signal) => this.#probe(t0, signal),
      )
      for (const one of asked) one.resolve(snapshot)
    } catch (error) {
      for (const one of asked) one.reject(error)
      throw error
    }
  }

  async #probe(t0: Reading, signal: AbortSignal): Promise<Snapshot> {
    const { answered, ask, heard, join, listener } = this.#options
    for (;;) {
      await join(signal)
      const answer = await ask(signal)
      // Too late: another one may have been asked meanwhile, and answered.
      signal.throwIfAborted()
      if (!heard(answer)) continue
      listener.stalled()
      answered(t0, answer)
      return answer.snapshot
    }
  }
}
