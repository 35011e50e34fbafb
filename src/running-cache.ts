/** A started cache: the coordinator's stories over one set of parts, from start to close. */
import { setMaxListeners } from 'node:events'
import { Janitor } from './coordinator/janitor.ts'
import { Marks } from './coordinator/marks.ts'
import { Reader } from './coordinator/read.ts'
import { Tail } from './coordinator/tail.ts'
import { ToldRegions } from './coordinator/told.ts'
import { Trust } from './coordinator/trust.ts'
import { type ReadContext, Turns } from './coordinator/wanted.ts'
import { Writer } from './coordinator/write.ts'
import { TurnClock } from './model/clock.ts'
import { retries } from './model/defaults.ts'
import type { AnyEntity } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import type { FastPlane, L2, Outbox, Region, Source, Told } from './model/ports.ts'
import type { Settings } from './options.ts'
import type { Tx } from './postgres/pool.ts'
import { sleep } from './resilience/deadline.ts'
import { Limiter } from './resilience/limiter.ts'
import { newReadCounters, type ReadCounters } from './telemetry/counters.ts'

/** The places, as they are handed to the coordinator. */
export interface Parts {
  readonly l2: L2 | undefined
  readonly source: Source<Tx>
  readonly outbox: Outbox
  readonly fastPlane: FastPlane | undefined
  /** One per entity, by its name. */
  readonly regions: ReadonlyMap<string, Region>
}

export interface EntityParts {
  readonly entity: AnyEntity
  readonly reader: Reader
  readonly counters: ReadCounters
  readonly region: Region
}

/** Loads that may wait for their turn: beyond, a read fails at once instead of late. */
const queuedLoads = 1_000
const janitorIntervalMs = 250

export class RunningCache {
  readonly settings: Settings
  readonly writer: Writer<Tx>
  readonly entities: ReadonlyMap<string, EntityParts>
  readonly #parts: Parts
  readonly #trust: Trust
  readonly #told: ToldRegions
  readonly #tail: Tail
  readonly #janitor: Janitor
  readonly #marks: Marks
  readonly #closing = new AbortController()
  readonly #release: () => Promise<void>
  #closed: Promise<void> | undefined

  /** `release` closes the connections. */
  constructor(settings: Settings, parts: Parts, release: () => Promise<void>) {
    const { timing, clock, log } = settings
    // Every load and wait that is under way listens to it: as many as there are, and each leaves.
    setMaxListeners(0, this.#closing.signal)
    this.settings = settings
    this.#parts = parts
    this.#release = release
    this.#told = new ToldRegions(parts.regions)
    this.#trust = new Trust({
      regions: [...parts.regions.values()],
      boundMs: timing.stalenessBoundMs,
      floorLagMs: timing.loadDeadlineMs * (1 + retries.load),
    })
    this.#tail = new Tail({
      outbox: parts.outbox,
      trust: this.#trust,
      told: (row, write) => this.#told.tell(row.entity, row.ids, write, !row.applied),
      clock,
      log,
      pollIntervalMs: timing.pollIntervalMs,
      pollDeadlineMs: timing.stalenessBoundMs,
    })
    this.#marks = new Marks(parts.outbox, clock, log, timing.loadDeadlineMs)
    this.#janitor = new Janitor({
      outbox: parts.outbox,
      l2: parts.l2,
      tail: this.#tail,
      clock,
      log,
      intervalMs: janitorIntervalMs,
      minAgeMs: timing.writeDeadlineMs,
      retentionMs: timing.outboxRetentionMs,
      deadlineMs: timing.readDeadlineMs,
    })
    this.writer = new Writer({
      source: parts.source,
      l2: parts.l2,
      trust: this.#trust,
      told: this.#told,
      marks: this.#marks,
      clock,
      random: Math.random,
      closing: this.#closing.signal,
    })
    this.entities = this.#openEntities()
  }

  /** Rejects when the source has no answer. */
  async start(): Promise<void> {
    await this.#tail.start()
    this.#parts.fastPlane?.listen((message) => this.#hear(message))
    this.#janitor.start()
  }

  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** Lets what is under way end, then aborts it; once. */
  close(timeoutMs: number): Promise<void> {
    this.#closed ??= this.#close(timeoutMs)
    return this.#closed
  }

  async #close(timeoutMs: number): Promise<void> {
    const drained = this.#drain()
    const timer = new AbortController()
    await Promise.race([drained, sleep(timeoutMs, timer.signal, this.settings.clock)])
    timer.abort()
    this.#closing.abort(new LockstepError('CLOSED', 'the cache is closed'))
    await drained
    await this.#marks.flush()
    await Promise.all([this.#janitor.close(), this.#tail.close()])
    this.#trust.lose()
    await this.#release()
  }

  async #drain(): Promise<void> {
    const readers = [...this.entities.values()].map(({ reader }) => reader)
    for (const reader of readers) reader.close()
    this.writer.close()
    await Promise.all([...readers.map((reader) => reader.drain()), this.writer.drain()])
  }

  #hear({ write, keys }: Told): void {
    if (write.incarnation !== this.#trust.incarnation) {
      // Somebody has seen another life of the database: nothing here is known to be fresh.
      this.#trust.lose()
      this.#tail.poke()
    }
    for (const { entity, id } of keys) this.#told.tell(entity, [id], write, false)
  }

  #openEntities(): ReadonlyMap<string, EntityParts> {
    const { timing, clock, log, maxConcurrentLoads, entities } = this.settings
    const busy = (): Error =>
      new LockstepError('SOURCE_BUSY', `${queuedLoads} loads are already waiting for their turn`)
    const shared: Omit<ReadContext, 'entity' | 'region' | 'counters'> = {
      l2: this.#parts.l2,
      source: this.#parts.source,
      tail: this.#tail,
      trust: this.#trust,
      limiter: new Limiter(maxConcurrentLoads, queuedLoads, busy),
      clock,
      turnClock: new TurnClock(clock),
      turns: new Turns(),
      log,
      random: Math.random,
      closing: this.#closing.signal,
      boundMs: timing.stalenessBoundMs,
      readDeadlineMs: timing.readDeadlineMs,
      loadDeadlineMs: timing.loadDeadlineMs,
    }
    return new Map(
      entities.map((entity) => {
        const region = this.#parts.regions.get(entity.name) as Region
        const counters = newReadCounters()
        const reader = new Reader({ ...shared, entity, region, counters })
        return [entity.name, { entity, region, counters, reader }]
      }),
    )
  }
}
