/**
 * The durable plane with Kafka: every instance reads the whole log. A probe is proven once each
 * partition has delivered a barrier that covers it: all that the probe sees lay before.
 *
 * Barriers may come from any relay and in any order: each says something that is true. What was heard
 * before a gap, of another number of partitions or in another incarnation says nothing, and the
 * probes under way are forgotten with it.
 */
import type { Log, LogRecord } from '../model/bus-ports.ts'
import type { Reading } from '../model/clock.ts'
import type { Probe } from '../model/outbox-port.ts'
import { covers, type Snapshot } from '../model/snapshot.ts'
import type { TrustLoss } from '../telemetry/events.ts'
import type { Plane, PlaneOptions } from './plane.ts'
import { Prober } from './prober.ts'

interface PendingProbe {
  readonly t0: Reading
  readonly snapshot: Snapshot
  /** Partitions that have delivered a barrier that covers it. */
  readonly covered: Set<number>
}

/** Since when all is heard. */
interface Position {
  readonly partitions: number
}

interface PositionedProbe extends Probe {
  /** That of the plane when the source was asked. */
  readonly position: Position | undefined
}

/** Probes that wait for their barriers, evenly over B: loads may ask for hundreds a second. */
const mostPending = 64

export interface LogPlaneOptions extends PlaneOptions {
  readonly source: Log
}

export class LogPlane implements Plane {
  readonly #options: LogPlaneOptions
  readonly #prober: Prober<PositionedProbe>
  /** `undefined`: what is heard now may not be all. */
  #position: Position | undefined
  #pending: PendingProbe[] = []
  #last: Snapshot | undefined
  #isClosed = false

  constructor(options: LogPlaneOptions) {
    const { outbox, pollIntervalMs } = options
    this.#options = options
    this.#prober = new Prober({
      ...options,
      ask: async (signal) => {
        const position = this.#position
        return { ...(await outbox.probe(signal)), position }
      },
      answered: (t0, probe) => this.#probed(t0, probe),
      intervalMs: () => pollIntervalMs,
    })
  }

  async start(): Promise<void> {
    await this.#options.source.listen({
      positioned: (partitions) => {
        this.#position = { partitions }
        // A probe that was asked for before may see writes that lay there before.
        this.#pending = []
        this.#prober.poke()
      },
      heard: (partition, record) => this.#heard(partition, record),
      lost: (reason, error) => {
        if (this.#isClosed) return
        this.#options.log.debug({ err: error, reason }, 'the log may have been missed')
        this.#lose(reason)
      },
    })
    await this.#prober.start()
  }

  fresh(signal: AbortSignal): Promise<Snapshot> {
    return this.#prober.fresh(signal)
  }

  poke(): void {
    this.#prober.poke()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([this.#prober.close(), this.#options.source.close()])
  }

  #probed(t0: Reading, { position, snapshot }: PositionedProbe): void {
    if (this.#last && this.#last.incarnation !== snapshot.incarnation) this.#forget('incarnation')
    this.#last = snapshot
    this.#options.listener.probed(t0, snapshot)
    // Positioned anew meanwhile: what it sees may have been told before that.
    if (position && position === this.#position) this.#await(t0, snapshot)
  }

  #await(t0: Reading, snapshot: Snapshot): void {
    const boundMs = this.#options.pollDeadlineMs
    const ageMs = (probe: PendingProbe): number => t0.monotonicMs - probe.t0.monotonicMs
    const pending = this.#pending.filter((probe) => ageMs(probe) <= boundMs)
    const [before, last] = pending.slice(-2)
    // In the place of the last one, if that came too soon after the one before.
    if (before && last && ageMs(before) - ageMs(last) < boundMs / mostPending) pending.pop()
    pending.push({ t0, snapshot, covered: new Set() })
    this.#pending = pending
  }

  #heard(partition: number, record: LogRecord): void {
    if (!this.#position) return
    switch (record.kind) {
      case 'write':
        this.#options.listener.told(record.write, record)
        return
      case 'barrier':
        if (record.partitions === this.#position.partitions) this.#cover(partition, record.snapshot)
        else this.#forget('partitions')
        return
      case 'unreadable':
        this.#options.log.debug({ partition }, 'a record of the log cannot be read')
        this.#forget('unreadable')
        return
      default:
        record satisfies never
    }
  }

  #cover(partition: number, barrier: Snapshot): void {
    let proven: PendingProbe | undefined
    for (const probe of this.#pending) {
      if (probe.covered.has(partition) || !covers(barrier, probe.snapshot)) continue
      probe.covered.add(partition)
      if (probe.covered.size === this.#position?.partitions) proven = probe
    }
    if (!proven) return
    // The later ones of the pending may be proven by a later barrier.
    this.#pending = this.#pending.slice(this.#pending.indexOf(proven) + 1)
    this.#options.listener.proven(proven.t0, proven.snapshot)
  }

  /** Nothing was missed in the log, but what was told of may not be all. */
  #forget(reason: TrustLoss): void {
    this.#pending = []
    this.#options.listener.lost(reason)
  }

  #lose(reason: TrustLoss): void {
    this.#position = undefined
    this.#forget(reason)
  }
}
