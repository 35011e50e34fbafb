/**
 * The durable plane without Kafka (DESIGN §6): every instance tails the outbox by snapshot
 * difference. One statement gives the rows that the last snapshot didn't see and the snapshot that
 * sees them, which is the probe that trust stands on. So L1's bound holds with PostgreSQL alone.
 *
 * A gap empties L1: another incarnation, rows that may have been removed before they were read
 * (`pruned` sees what the last snapshot doesn't), or more rows than one poll returns.
 */
import type { Clock, Reading } from '../model/clock.ts'
import type { Logger } from '../model/log.ts'
import type { Outbox, OutboxRow, Poll } from '../model/ports.ts'
import { covers, type Snapshot, visible, type WriteId, type Xid } from '../model/snapshot.ts'
import { abortable, type Deferred, deferred, sleep, withDeadline } from '../resilience/deadline.ts'
import type { TrustLoss } from '../telemetry/events.ts'
import type { Trust } from './trust.ts'

export interface TailOptions {
  readonly outbox: Outbox
  readonly trust: Trust
  /** Acts on one row: L1 drops what doesn't see it. `isNew`: no poll has returned it before. */
  readonly told: (row: OutboxRow, write: WriteId, isNew: boolean) => void
  readonly clock: Clock
  readonly log: Logger
  readonly pollIntervalMs: number
  readonly pollDeadlineMs: number
}

export class Tail {
  readonly #options: TailOptions
  readonly #closing = new AbortController()
  #last: Snapshot | undefined
  #asked: Deferred<Snapshot>[] = []
  #nap = new AbortController()
  #ended: Promise<void> | undefined
  #isFailing = false
  /** When each write that L2 has not been told of was first seen here, on the monotonic clock. */
  #unappliedSinceMs: ReadonlyMap<Xid, number> = new Map()
  /** Rows that L2 had not been told of when the outbox was last read. */
  unapplied = 0

  constructor(options: TailOptions) {
    this.#options = options
  }

  /** Resolves with the first probe; rejects when there is none to be had. */
  async start(): Promise<void> {
    await this.#poll()
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

  /** Polls as soon as the present poll is over. */
  poke(): void {
    this.#nap.abort()
  }

  /** How long ago the oldest write that L2 has not been told of was first seen here; 0 without any. */
  oldestUnappliedMs(nowMs: number): number {
    let oldestMs = nowMs
    for (const sinceMs of this.#unappliedSinceMs.values()) oldestMs = Math.min(oldestMs, sinceMs)
    return nowMs - oldestMs
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.poke()
    await this.#ended
    for (const asked of this.#asked.splice(0)) asked.reject(this.#closing.signal.reason)
  }

  async #run(): Promise<void> {
    const { clock, pollIntervalMs } = this.#options
    while (!this.#closing.signal.aborted) {
      await sleep(pollIntervalMs, this.#nap.signal, clock)
      if (this.#closing.signal.aborted) return
      this.#nap = new AbortController()
      try {
        await this.#poll()
        this.#isFailing = false
      } catch (error) {
        await this.#failed(error)
      }
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { clock, log, pollIntervalMs, trust } = this.#options
    trust.notice(this.#look())
    if (this.#closing.signal.aborted) return
    if (!this.#isFailing)
      log.warn({ err: error }, 'the outbox cannot be read; L1 will not be served')
    this.#isFailing = true
    // Whoever asks for a snapshot pokes; a source that refuses must not be asked without a pause.
    await sleep(pollIntervalMs, this.#closing.signal, clock)
  }

  async #poll(): Promise<void> {
    const { clock, outbox, pollDeadlineMs } = this.#options
    const asked = this.#asked
    this.#asked = []
    try {
      // Before the snapshot is asked for, or it would prove more than it knows.
      const t0 = this.#look()
      const poll = await withDeadline(
        pollDeadlineMs,
        () => new Error(`the outbox did not answer in ${pollDeadlineMs} ms`),
        this.#closing.signal,
        clock,
        (signal) => outbox.poll(this.#last, signal),
      )
      this.#apply(t0, poll)
      for (const one of asked) one.resolve(poll.snapshot)
    } catch (error) {
      for (const one of asked) one.reject(error)
      throw error
    }
  }

  #apply(t0: Reading, poll: Poll): void {
    const { trust, told, log } = this.#options
    const last = this.#last
    trust.notice(this.#look())
    const gap = last && gapOf(last, poll)
    if (gap) {
      log.warn({ gap }, 'writes may have been missed; L1 is emptied')
      trust.lose(gap)
    }
    const { incarnation } = poll.snapshot
    const unapplied = new Set<Xid>()
    for (const row of poll.rows) {
      if (!row.applied) unapplied.add(row.xid)
      const write = { incarnation, xid: row.xid }
      // The first poll has no last snapshot, and returns what may be old.
      told(row, write, last !== undefined && !visible(write, last))
    }
    const sinceMs = gap === 'incarnation' ? undefined : this.#unappliedSinceMs
    this.#unappliedSinceMs = new Map(
      [...unapplied].map((xid) => [xid, sinceMs?.get(xid) ?? t0.monotonicMs]),
    )
    this.unapplied = unapplied.size
    this.#last = poll.snapshot
    const isComplete = !poll.missedNew && !poll.missedUnapplied
    trust.advance(t0, poll.snapshot, isComplete ? unapplied : undefined)
  }

  #look(): Reading {
    const { clock } = this.#options
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
  }
}

function gapOf(last: Snapshot, poll: Poll): TrustLoss | undefined {
  if (last.incarnation !== poll.snapshot.incarnation) return 'incarnation'
  // The last poll is older than the retention.
  if (!covers(last, poll.pruned)) return 'pruned'
  if (poll.missedNew) return 'too-many-rows'
  return undefined
}
