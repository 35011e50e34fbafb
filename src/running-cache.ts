/** A started cache: the coordinator's stories over one set of parts, from start to close. */
import { setMaxListeners } from 'node:events'
import type { WriteKey } from './coordinator/deletes.ts'
import { Janitor } from './coordinator/janitor.ts'
import { Marks } from './coordinator/marks.ts'
import { Reader } from './coordinator/read.ts'
import { Tail } from './coordinator/tail.ts'
import { ToldRegions } from './coordinator/told.ts'
import { Trust } from './coordinator/trust.ts'
import { type ReadContext, Turns } from './coordinator/wanted.ts'
import {
  type JoinedWriteResult,
  type WriteRequest,
  type WriteResult,
  Writer,
} from './coordinator/write.ts'
import { TurnClock } from './model/clock.ts'
import { retries } from './model/defaults.ts'
import type { AnyEntity } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import type { FastPlane, L2, Outbox, OutboxRow, Region, Source, Told } from './model/ports.ts'
import type { WriteId } from './model/snapshot.ts'
import { formatTicket } from './model/ticket.ts'
import type { Settings } from './options.ts'
import type { Tx } from './postgres/pool.ts'
import { sleep } from './resilience/deadline.ts'
import type { Breakers } from './resilience/hop.ts'
import { Limiter } from './resilience/limiter.ts'
import { newReadCounters, type ReadCounters } from './telemetry/counters.ts'
import type { Present } from './telemetry/samples.ts'
import { Telemetry } from './telemetry/telemetry.ts'

/** The places, as they are handed to the coordinator. */
export interface Parts {
  readonly l2: L2 | undefined
  /** What L2 is asked through; only their state is looked at here. */
  readonly l2Breakers: Pick<Breakers, 'state' | 'onChange'> | undefined
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
  readonly telemetry: Telemetry
  readonly entities: ReadonlyMap<string, EntityParts>
  readonly #parts: Parts
  readonly #limiter: Limiter
  readonly #writer: Writer<Tx>
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
    const { timing, clock, log, random } = settings
    // Every load and wait that is under way listens to it: as many as there are, and each leaves.
    setMaxListeners(0, this.#closing.signal)
    this.settings = settings
    this.telemetry = this.#openTelemetry(parts)
    const { hops, events } = this.telemetry
    this.#parts = {
      ...parts,
      l2: parts.l2 && hops.l2(parts.l2),
      source: hops.source(parts.source),
      outbox: hops.outbox(parts.outbox),
    }
    parts.l2Breakers?.onChange((state, node) =>
      events.emit('breaker', () => ({ hop: 'l2', state, ...(node === undefined ? {} : { node }) })),
    )
    this.#release = release
    this.#told = new ToldRegions(parts.regions)
    this.#trust = new Trust({
      regions: [...parts.regions.values()],
      boundMs: timing.stalenessBoundMs,
      floorLagMs: timing.loadDeadlineMs * (1 + retries.load),
      changed: (change) => this.telemetry.trustChanged(change),
    })
    this.#tail = new Tail({
      outbox: this.#parts.outbox,
      trust: this.#trust,
      told: (row, write, isNew) => this.#hearRow(row, write, isNew),
      clock,
      log,
      pollIntervalMs: timing.pollIntervalMs,
      pollDeadlineMs: timing.stalenessBoundMs,
    })
    this.#marks = new Marks(this.#parts.outbox, clock, log, timing.loadDeadlineMs)
    this.#janitor = new Janitor({
      outbox: this.#parts.outbox,
      l2: this.#parts.l2,
      tail: this.#tail,
      clock,
      log,
      intervalMs: janitorIntervalMs,
      minAgeMs: timing.writeDeadlineMs,
      retentionMs: timing.outboxRetentionMs,
      deadlineMs: timing.readDeadlineMs,
    })
    this.#writer = new Writer({
      source: this.#parts.source,
      l2: this.#parts.l2,
      trust: this.#trust,
      told: this.#told,
      marks: this.#marks,
      counters: this.telemetry.writes,
      clock,
      random,
      closing: this.#closing.signal,
    })
    const busy = (): Error =>
      new LockstepError('SOURCE_BUSY', `${queuedLoads} loads are already waiting for their turn`)
    this.#limiter = new Limiter(settings.maxConcurrentLoads, queuedLoads, busy)
    this.entities = this.#openEntities()
  }

  /** Rejects when the source has no answer. */
  async start(): Promise<void> {
    await this.#tail.start()
    this.#parts.fastPlane?.listen((message) => this.#hear(message))
    this.#janitor.start()
  }

  /** As `Writer.write`. */
  write<R>(
    run: (tx: Tx) => PromiseLike<R> | R,
    keysOf: (value: R) => readonly WriteKey[],
    request: WriteRequest,
  ): Promise<WriteResult<R>> {
    return this.telemetry.write(() => this.#writer.write(run, keysOf, request))
  }

  /** As `Writer.join`. */
  join<R>(
    tx: Tx,
    run: (tx: Tx) => PromiseLike<R> | R,
    keysOf: (value: R) => readonly WriteKey[],
    request: WriteRequest,
  ): Promise<JoinedWriteResult<R>> {
    return this.telemetry.joinedWrite(() => this.#writer.join(tx, run, keysOf, request))
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
    this.#trust.lose('closed')
    this.telemetry.events.close()
    await this.#release()
  }

  async #drain(): Promise<void> {
    const readers = [...this.entities.values()].map(({ reader }) => reader)
    for (const reader of readers) reader.close()
    this.#writer.close()
    await Promise.all([...readers.map((reader) => reader.drain()), this.#writer.drain()])
  }

  #hear({ write, keys }: Told): void {
    this.telemetry.heard.fast++
    if (write.incarnation !== this.#trust.incarnation) {
      // Somebody has seen another life of the database: nothing here is known to be fresh.
      this.#trust.lose('incarnation')
      this.#tail.poke()
    }
    for (const { entity, id } of keys) this.#told.tell(entity, [id], write, false)
  }

  /** A row of the outbox: what has committed. */
  #hearRow({ entity, ids, applied }: OutboxRow, write: WriteId, isNew: boolean): void {
    const { events, heard } = this.telemetry
    this.#told.tell(entity, ids, write, !applied)
    if (!isNew) return
    heard.durable++
    const { xid } = write
    events.emit('invalidated', () => ({ entity, ids, xid, ticket: formatTicket([write]) }))
  }

  #openTelemetry({ l2, l2Breakers }: Parts): Telemetry {
    const { clock, log, maxConcurrentLoads, namespace, timing } = this.settings
    const present = (): Present => {
      const now = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
      return {
        isTrusted: this.#trust.isProven(now),
        trustAgeMs: this.#trust.ageMs(now),
        unappliedWrites: this.#tail.unapplied,
        oldestUnappliedMs: this.#tail.oldestUnappliedMs(now.monotonicMs),
        runningLoads: this.#limiter.running,
        waitingLoads: this.#limiter.waiting,
        breaker: l2Breakers?.state,
      }
    }
    return new Telemetry({
      namespace,
      clock,
      log,
      hasL2: l2 !== undefined,
      entities: () => this.entities.values(),
      present,
      boundMs: timing.stalenessBoundMs,
      maxConcurrentLoads,
    })
  }

  #openEntities(): ReadonlyMap<string, EntityParts> {
    const { timing, clock, log, random, entities } = this.settings
    const shared: Omit<ReadContext, 'entity' | 'region' | 'counters'> = {
      l2: this.#parts.l2,
      source: this.#parts.source,
      tail: this.#tail,
      trust: this.#trust,
      limiter: this.#limiter,
      clock,
      turnClock: new TurnClock(clock),
      turns: new Turns(),
      events: this.telemetry.events,
      log,
      random,
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
