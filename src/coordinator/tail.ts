/**
 * The durable plane without Kafka: every instance tails the outbox by snapshot difference. One
 * statement gives the rows that the last snapshot didn't see and the snapshot that sees them, which
 * is the probe that trust stands on. So L1's bound holds with PostgreSQL alone.
 *
 * A gap empties L1: another incarnation, rows that may have been removed before they were read
 * (`pruned` sees what the last snapshot doesn't), or more rows than one poll returns.
 */
import type { Reading } from '../model/clock.ts'
import type { Poll } from '../model/outbox-port.ts'
import { covers, type Snapshot } from '../model/snapshot.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import type { TrustLoss } from '../telemetry/events.ts'
import type { Plane, PlaneOptions } from './plane.ts'
import { Prober } from './prober.ts'

export interface TailOptions extends PlaneOptions {
  /** `undefined`: this instance doesn't relay. Else how often it looks, for the others. */
  readonly relayIntervalMs: () => number | undefined
  /** Nobody tells the others of a write but the outbox: whoever relays wakes them. */
  readonly wakesOthers: boolean
}

export class Tail implements Plane {
  readonly #options: TailOptions
  readonly #prober: Prober<Poll>
  readonly #closing = new AbortController()
  #last: Snapshot | undefined

  constructor(options: TailOptions) {
    const { outbox, pollIntervalMs } = options
    this.#options = options
    this.#prober = new Prober({
      ...options,
      ask: (signal) => outbox.poll(this.#last, signal),
      answered: (t0, poll) => this.#polled(t0, poll),
      intervalMs: () => this.#relayIntervalMs() ?? pollIntervalMs,
    })
  }

  start(): Promise<void> {
    return this.#prober.start()
  }

  fresh(signal: AbortSignal): Promise<Snapshot> {
    return this.#prober.fresh(signal)
  }

  poke(): void {
    this.#prober.poke()
  }

  close(): Promise<void> {
    this.#closing.abort()
    return this.#prober.close()
  }

  #relayIntervalMs(): number | undefined {
    return this.#options.wakesOthers ? this.#options.relayIntervalMs() : undefined
  }

  #polled(t0: Reading, poll: Poll): void {
    const { listener } = this.#options
    const last = this.#last
    const gap = last && gapOf(last, poll)
    if (gap) listener.lost(gap)
    const { incarnation } = poll.snapshot
    for (const { xid, entity, ids } of poll.rows)
      listener.told({ incarnation, xid }, { entity, ids })
    this.#last = poll.snapshot
    listener.probed(t0, poll.snapshot)
    listener.proven(t0, poll.snapshot)
    if (poll.isForeign && this.#relayIntervalMs() !== undefined) this.#wakeOthers()
  }

  /** Whoever isn't reached polls a little later. */
  #wakeOthers(): void {
    const { clock, log, outbox, pollDeadlineMs } = this.#options
    const late = unanswered(pollDeadlineMs, 'the outbox')
    const { signal: closing } = this.#closing
    withDeadline(pollDeadlineMs, late, closing, clock, (signal) => outbox.notify(signal)).catch(
      (error: unknown) => log.debug({ err: error }, 'the others could not be woken'),
    )
  }
}

function gapOf(last: Snapshot, poll: Poll): TrustLoss | undefined {
  if (last.incarnation !== poll.snapshot.incarnation) return 'incarnation'
  // The last poll is older than the retention.
  if (!covers(last, poll.pruned)) return 'pruned'
  if (poll.missed) return 'too-many-rows'
  return undefined
}
