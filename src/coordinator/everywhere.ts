/**
 * A write that waits until no instance serves what it replaced. Each says what it has acted on as
 * long as somebody waits; one that says nothing has lost its trust when B is over, because what it
 * trusts in was asked for before the write had committed (I3). So nobody waits longer than B.
 */
import type { Clock, Reading } from '../model/clock.ts'
import type { Logger } from '../model/log.ts'
import type { Instances, Probe } from '../model/outbox-port.ts'
import type { Incarnation, Snapshot, WriteId } from '../model/snapshot.ts'
import { parseTicket, type Ticket } from '../model/ticket.ts'
import { sleep, unanswered, withDeadline } from '../resilience/deadline.ts'
import type { Probes } from './probes.ts'

export interface EverywhereOptions {
  readonly instances: Instances
  readonly instance: string
  readonly probes: Probes
  readonly clock: Clock
  readonly log: Logger
  /** B. */
  readonly boundMs: number
  readonly closing: AbortSignal
}

/** How often an instance says that it runs: forgotten it would be trusted by nobody but itself. */
const joinEveryMs = 10_000
const lookEveryMs = 10

export class Everywhere {
  readonly #options: EverywhereOptions
  #joinedAt: Reading | undefined
  #incarnation: Incarnation | undefined
  #isAwaited = false
  readonly #waiting = new Set<Promise<unknown>>()
  #acknowledging: Promise<void> | undefined
  #next: Snapshot | undefined

  constructor(options: EverywhereOptions) {
    this.#options = options
  }

  /** Before each probe: nothing is proven to an instance that nobody would wait for. */
  async join(signal: AbortSignal): Promise<void> {
    const { clock, instance, instances } = this.#options
    const now = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
    if (this.#joinedAt && isRecent(this.#joinedAt, now)) return
    await instances.join(instance, signal)
    this.#joinedAt = now
  }

  /** Whether the probe may be proven. Not if a crash may have taken back that this instance had joined. */
  probed({ isAwaited, snapshot: { incarnation } }: Probe): boolean {
    this.#isAwaited = isAwaited
    const isKnown = this.#incarnation === undefined || this.#incarnation === incarnation
    this.#incarnation = incarnation
    if (!isKnown) this.#joinedAt = undefined
    return isKnown
  }

  /** This instance has acted on all that the snapshot sees. */
  proven(snapshot: Snapshot): void {
    if (!this.#isAwaited) return
    this.#next = snapshot
    this.#acknowledging ??= this.#acknowledge().finally(() => {
      this.#acknowledging = undefined
    })
  }

  /**
   * Settles as the write does, but resolves only when every instance has acted on it or lost its
   * trust: after B at the latest. Rejects with `CLOSED` when this one is closed before that.
   */
  async after<R extends { readonly ticket: Ticket }>(written: Promise<R>): Promise<R> {
    const reached = written.then(async (result) => {
      await Promise.all(parseTicket(result.ticket).map((write) => this.#reached(write)))
      return result
    })
    this.#waiting.add(reached)
    try {
      return await reached
    } finally {
      this.#waiting.delete(reached)
    }
  }

  /** Resolves when nobody waits any more. */
  async drain(): Promise<void> {
    await Promise.allSettled(this.#waiting)
  }

  async #reached(write: WriteId): Promise<void> {
    const { boundMs, clock, closing, instances, probes } = this.#options
    const untilMs = clock.monotonicMs() + boundMs
    const left = (): number => Math.max(0, untilMs - clock.monotonicMs())
    const late = (): Error => new Error('B is over')
    try {
      // In a new incarnation of the database an instance may be unknown that was known in the one before.
      if (probes.isYoung(clock.monotonicMs())) throw late()
      await withDeadline(left(), late, closing, clock, async (signal) => {
        await instances.askAll(signal)
        while (!(await instances.isEverywhere(write, signal))) {
          await sleep(lookEveryMs, signal, clock)
          signal.throwIfAborted()
        }
      })
    } catch {
      await sleep(left(), closing, clock)
      closing.throwIfAborted()
    }
  }

  /** Not waited for: who leaves without a word is forgotten later. */
  async leave(): Promise<void> {
    const { boundMs, clock, instance, instances, log } = this.#options
    await this.#acknowledging
    if (!this.#joinedAt) return
    const late = unanswered(boundMs)
    await withDeadline(boundMs, late, undefined, clock, (signal) =>
      instances.leave(instance, signal),
    ).catch((error: unknown) => log.debug({ err: error }, 'left without a word'))
  }

  /** Never rejects; the newest snapshot is the one that counts. */
  async #acknowledge(): Promise<void> {
    const { boundMs, clock, closing, instance, instances, log } = this.#options
    const late = unanswered(boundMs)
    for (let next = this.#next; next && !closing.aborted; next = this.#next) {
      const snapshot = next
      this.#next = undefined
      await withDeadline(boundMs, late, closing, clock, (signal) =>
        instances.acknowledge(instance, snapshot, signal),
      ).catch((error: unknown) => log.debug({ err: error }, 'somebody waits longer for a write'))
    }
  }
}

function isRecent(then: Reading, now: Reading): boolean {
  return now.monotonicMs - then.monotonicMs < joinEveryMs && now.wallMs - then.wallMs < joinEveryMs
}
