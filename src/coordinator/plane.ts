/**
 * The durable plane (DESIGN §6): how an instance hears of every write that has committed, and when it
 * knows that it has heard of all. Two of them, one contract (test/contract/plane.test.ts): the tail of
 * the outbox, and the log.
 */
import type { Clock, Reading } from '../model/clock.ts'
import type { Logger } from '../model/log.ts'
import type { Outbox, Probe } from '../model/outbox-port.ts'
import type { Snapshot, WriteId } from '../model/snapshot.ts'
import type { EntityIds } from '../model/source-port.ts'
import type { TrustLoss } from '../telemetry/events.ts'

export interface PlaneListener {
  /** A write that has committed; it may be told again. */
  told(write: WriteId, keys: EntityIds): void
  /** A snapshot of the primary came back that was asked for after `t0`. */
  probed(t0: Reading, snapshot: Snapshot): void
  /** All that the snapshot sees has been told. */
  proven(t0: Reading, snapshot: Snapshot): void
  /** Writes may have been missed: what is told from here on is not all. */
  lost(reason: TrustLoss): void
  /** Nothing was proven; a good moment to notice that trust has run out. */
  stalled(): void
}

export interface PlaneOptions {
  readonly outbox: Outbox
  readonly listener: PlaneListener
  readonly clock: Clock
  readonly log: Logger
  readonly pollIntervalMs: number
  readonly pollDeadlineMs: number
  /** Called before the source is asked. */
  readonly join: (signal: AbortSignal) => Promise<void>
  /** What came along with a snapshot, before that is proven; if not, it is to be joined and asked again. */
  readonly heard: (probe: Probe) => boolean
}

export interface Plane {
  /** Resolves with the first probe; rejects when the source has no answer. */
  start(): Promise<void>
  /** A snapshot of the primary that is taken after this call. */
  fresh(signal: AbortSignal): Promise<Snapshot>
  /** Looks as soon as it can. */
  poke(): void
  close(): Promise<void>
}
