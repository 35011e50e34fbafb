/** A started cache: the coordinator's stories over one set of parts, from start to close. */
import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { busOf } from './coordinator/bus.ts'
import type { WriteKey } from './coordinator/deletes.ts'
import { L2Destination, logDestination, type RelayDestination } from './coordinator/destinations.ts'
import { Everywhere } from './coordinator/everywhere.ts'
import { Finisher } from './coordinator/finisher.ts'
import { ForeignEvents } from './coordinator/foreign-events.ts'
import type { HotEntity } from './coordinator/hot-entity.ts'
import { HotKeys } from './coordinator/hot-keys.ts'
import { LogPlane } from './coordinator/log-plane.ts'
import type { Plane, PlaneOptions } from './coordinator/plane.ts'
import { Probes } from './coordinator/probes.ts'
import { Reader } from './coordinator/read.ts'
import { Relay } from './coordinator/relay.ts'
import { Repeats } from './coordinator/repeats.ts'
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
import { NewKeys } from './memory/new-keys.ts'
import type { EventSource, FastPlane, Invalidations, Log, Told } from './model/bus-ports.ts'
import { TurnClock } from './model/clock.ts'
import { longestLoadMs, type TimingMs } from './model/defaults.ts'
import type { AnyEntity } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import type { FlagMirror, FlagStore } from './model/flag-ports.ts'
import type { Region } from './model/l1-port.ts'
import type { L2 } from './model/l2-port.ts'
import { type LoadClass, loadClasses } from './model/load-class.ts'
import type { Instances, Outbox } from './model/outbox-port.ts'
import type { WriteId } from './model/snapshot.ts'
import type { EntityIds, Source } from './model/source-port.ts'
import { formatTicket } from './model/ticket.ts'
import { type FilterPlaces, Filters } from './operations/filters.ts'
import { Flags } from './operations/flags.ts'
import { SloWatch } from './operations/slo.ts'
import type { Settings } from './options.ts'
import type { Tx } from './postgres/pool.ts'
import { sleep, withDeadline } from './resilience/deadline.ts'
import { GradientLimit } from './resilience/gradient-limit.ts'
import { fixedLimit, Limiter } from './resilience/limiter.ts'
import { longestDelayMs } from './resilience/retry.ts'
import { type HopParts, type HopsHealth, RunningHops } from './running-hops.ts'
import type { FilterNumbers } from './telemetry/bloom-samples.ts'
import { count, newReadCounters, type ReadCounters } from './telemetry/counters.ts'
import type { BloomNews } from './telemetry/events.ts'
import { shareOf } from './telemetry/ratios.ts'
import type { Present } from './telemetry/samples.ts'
import { Telemetry } from './telemetry/telemetry.ts'

/** The places, as they are handed to the coordinator. */
export interface Parts {
  readonly l2: L2 | undefined
  /** How the places are asked. */
  readonly hops?: HopParts | undefined
  /** The Bloom filters beside L2's values; `undefined`: there are none. */
  readonly filters: FilterPlaces | undefined
  readonly source: Source<Tx>
  readonly outbox: Outbox
  readonly instances: Instances
  /** The durable plane; `undefined`: the outbox itself, which every instance tails. */
  readonly log: Log | undefined
  readonly fastPlane: FastPlane | undefined
  /** Where foreign producers publish; `undefined`: nowhere. */
  readonly events?: EventParts | undefined
  /** Where flags are kept; `undefined`: they come from the environment alone. */
  readonly flags?: FlagParts | undefined
  /** One per entity, by its name. */
  readonly regions: ReadonlyMap<string, Region>
}

export interface EventParts {
  readonly source: EventSource
  readonly invalidations: Invalidations
}

interface FlagParts {
  readonly store: FlagStore
  readonly mirror: FlagMirror | undefined
}

export interface Health {
  /** When the source last answered; `undefined`: since the start it has not. */
  readonly sourceAgeMs: number | undefined
  readonly isRelaying: boolean
  readonly isTrusted: boolean
  /** Infinity without any proof. */
  readonly trustAgeMs: number
  readonly hops: HopsHealth
  readonly isClosed: boolean
}

export interface EntityParts {
  readonly entity: AnyEntity
  readonly reader: Reader
  readonly counters: ReadCounters
  readonly region: Region
  readonly filter: () => FilterNumbers | undefined
  readonly hot: HotEntity | undefined
}

/** Loads that may wait for their turn: beyond, the least urgent fail at once instead of late. */
const queuedLoads = 1_000

/** Far more often than it would have to, to be taken for alive. */
const longestRelayIntervalMs = 400

/** How often whoever relays looks. */
const relayIntervalMs = ({ pollIntervalMs }: TimingMs): number =>
  Math.min(pollIntervalMs / 5, longestRelayIntervalMs)

export class RunningCache {
  readonly settings: Settings
  readonly telemetry: Telemetry
  readonly entities: ReadonlyMap<string, EntityParts>
  readonly flags: Flags
  /** The name of this one among the instances of the namespace. */
  readonly instance = randomUUID()
  readonly #slo: SloWatch
  readonly #parts: Parts
  readonly #limiter: Limiter
  readonly #hops: RunningHops
  readonly #writer: Writer<Tx>
  readonly #trust: Trust
  readonly #told: ToldRegions
  readonly #filters: Filters | undefined
  readonly #probes: Probes
  readonly #plane: Plane
  readonly #everywhere: Everywhere
  readonly #relay: Relay
  readonly #finisher: Finisher
  readonly #hotKeys: HotKeys
  readonly #events: ForeignEvents | undefined
  readonly #closing = new AbortController()
  readonly #release: () => Promise<void>
  #closed: Promise<void> | undefined
  #answeredAtMs: number | undefined

  /** `release` closes the connections. */
  constructor(settings: Settings, parts: Parts, release: () => Promise<void>) {
    const { timing, clock, log, random } = settings
    // Every load and wait that is under way listens to it: as many as there are, and each leaves.
    setMaxListeners(0, this.#closing.signal)
    this.settings = settings
    this.#hops = new RunningHops(settings, parts.hops ?? {})
    this.telemetry = this.#openTelemetry(parts)
    const { hops } = this.telemetry
    this.#parts = {
      ...parts,
      l2: parts.l2 && hops.l2(parts.l2),
      source: hops.source(parts.source),
      outbox: hops.outbox(parts.outbox),
    }
    this.#hops.start(this.telemetry)
    this.#release = release
    this.#filters = parts.filters && this.#openFilters(parts.filters)
    this.#told = new ToldRegions(parts.regions, this.#filters?.copies)
    this.#trust = new Trust({
      regions: [...parts.regions.values()],
      boundMs: timing.stalenessBoundMs,
      floorLagMs: longestLoadMs({ ...timing, loadRetries: settings.hops.source.retries }),
      changed: (change) => this.telemetry.trustChanged(change),
    })
    this.#probes = new Probes(timing.stalenessBoundMs)
    const { instance } = this
    this.flags = this.#openFlags(parts)
    this.#slo = this.#openSlo()
    this.#everywhere = new Everywhere({
      instances: parts.instances,
      instance,
      probes: this.#probes,
      clock,
      log,
      boundMs: timing.stalenessBoundMs,
      closing: this.#closing.signal,
    })
    this.#hotKeys = this.#openHotKeys(instance, parts)
    this.#relay = this.#openRelay(instance)
    this.#plane = this.#openPlane()
    this.#finisher = new Finisher({
      outbox: this.#parts.outbox,
      source: this.#openBus(),
      wakesOthers: this.#wakesOthers,
      clock,
      log,
      deadlineMs: Math.max(timing.loadDeadlineMs, this.#busDeadlineMs),
    })
    this.#writer = new Writer({
      source: this.#parts.source,
      l2: this.#parts.l2,
      probes: this.#probes,
      told: this.#told,
      finisher: this.#finisher,
      counters: this.telemetry.writes,
      switchesOf: (entity) => this.flags.switchesOf(entity),
      clock,
      random,
      closing: this.#closing.signal,
      l2Retries: this.#hops.plan('l2'),
      sourceBudget: this.#hops.budgets.source,
    })
    this.#events = parts.events && this.#openEvents(parts.events)
    this.#limiter = this.#openLimiter()
    this.entities = this.#openEntities()
  }

  /** Rejects when the source has no answer. */
  async start(): Promise<void> {
    this.#relay.start()
    await this.#plane.start()
    this.#parts.fastPlane?.listen((message) => this.#hear(message))
    this.#hotKeys.start()
    this.#events?.start()
    this.#filters?.start()
    await Promise.all([this.#relayBegun(), this.flags.start()])
    this.#slo.start()
  }

  /** So that what is read first can be proven, and kept; else nothing relies on it. */
  async #relayBegun(): Promise<void> {
    const { clock, timing } = this.settings
    const late = (): Error => new Error('the relay takes its time')
    const { signal } = this.#closing
    await withDeadline(timing.stalenessBoundMs, late, signal, clock, async (inTime) => {
      await this.#relay.begun(inTime)
      // Its first barriers are younger than the first probe.
      if (this.#relay.isRelaying) await this.#plane.fresh(inTime)
    }).catch(() => {})
  }

  /** As `Writer.write`. */
  write<R>(
    run: (tx: Tx) => PromiseLike<R> | R,
    keysOf: (value: R) => readonly WriteKey[],
    request: WriteRequest,
  ): Promise<WriteResult<R>> {
    const written = this.telemetry.write(() => this.#writer.write(run, keysOf, request))
    return request.wait === 'everywhere' ? this.#everywhere.after(written) : written
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

  get health(): Health {
    const { clock } = this.settings
    const now = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
    return {
      sourceAgeMs:
        this.#answeredAtMs === undefined ? undefined : now.monotonicMs - this.#answeredAtMs,
      isRelaying: this.#relay.isRelaying,
      isTrusted: this.#trust.isProven(now),
      trustAgeMs: this.#trust.ageMs(now),
      hops: this.#hops.health,
      isClosed: this.#closed !== undefined,
    }
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
    this.#slo.close()
    await this.#finisher.flush()
    await Promise.all([
      this.#relay.close(),
      this.#plane.close(),
      this.#events?.close(),
      this.flags.close(),
      this.#filters?.close(),
      this.#hops.close(),
    ])
    this.#trust.lose('closed')
    await this.#everywhere.leave()
    this.telemetry.events.close()
    await this.#release()
  }

  async #drain(): Promise<void> {
    this.#hotKeys.close()
    const readers = [...this.entities.values()].map(({ reader }) => reader)
    for (const reader of readers) reader.close()
    this.#writer.close()
    const drained = readers.map((reader) => reader.drain())
    await Promise.all([...drained, this.#writer.drain(), this.#everywhere.drain()])
  }

  #hear({ write, keys }: Told): void {
    this.telemetry.heard.fast++
    this.#notice(write)
    for (const { entity, id } of keys) this.#told.tell(entity, [id], write)
  }

  /** What has committed, and is told by the durable plane. */
  #hearCommitted(write: WriteId, { entity, ids }: EntityIds): void {
    const { events, heard } = this.telemetry
    heard.durable++
    this.#told.tell(entity, ids, write)
    const { xid } = write
    events.emit('invalidated', () => ({ entity, ids, xid, ticket: formatTicket([write]) }))
  }

  /** Somebody may have seen another life of the database: then nothing here is known to be fresh. */
  #notice(write: WriteId): void {
    if (write.incarnation === this.#probes.incarnation) return
    this.#trust.lose('incarnation')
    this.#probes.forget()
    this.#plane.poke()
  }

  /** Without Redis and Kafka nobody hears of a write but from the outbox. */
  get #wakesOthers(): boolean {
    return !this.#parts.l2 && !this.#parts.log
  }

  #openPlane(): Plane {
    const { clock, log, timing } = this.settings
    const options: PlaneOptions = {
      outbox: this.#parts.outbox,
      listener: {
        told: (write, keys) => {
          if (this.#parts.log) this.#notice(write)
          this.#hearCommitted(write, keys)
        },
        probed: (t0, snapshot) => {
          this.#answeredAtMs = t0.monotonicMs
          this.#probes.add(t0, snapshot)
        },
        proven: (t0, snapshot) => {
          this.#trust.advance(t0, snapshot)
          this.#everywhere.proven(snapshot)
        },
        lost: (reason) => this.#trust.lose(reason),
        stalled: () =>
          this.#trust.notice({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }),
      },
      clock,
      log,
      pollIntervalMs: timing.pollIntervalMs,
      pollDeadlineMs: timing.stalenessBoundMs,
      join: (signal) => this.#join(signal),
      heard: (probe) => {
        if (probe.isRelayDue) this.#relay.due()
        return this.#everywhere.probed(probe)
      },
    }
    if (this.#parts.log) return new LogPlane({ ...options, source: this.#parts.log })
    return new Tail({
      ...options,
      wakesOthers: this.#wakesOthers,
      relayIntervalMs: () => (this.#relay.isRelaying ? relayIntervalMs(timing) : undefined),
    })
  }

  /** One that takes no writes answers all the same; nothing is proven by it (docs/consistency.md). */
  async #join(signal: AbortSignal): Promise<void> {
    const askedAtMs = this.settings.clock.monotonicMs()
    try {
      await this.#everywhere.join(signal)
    } catch (error) {
      const isReadOnly = error instanceof LockstepError && error.code === 'SOURCE_READONLY'
      if (isReadOnly) this.#answeredAtMs = askedAtMs
      throw error
    }
  }

  #openBus(): Pick<Log, 'publish'> | undefined {
    const { log } = this.#parts
    const { clock, random, timing } = this.settings
    const { busHop: hop } = this.#hops
    const options = { clock, random, hop, deadlineMs: timing.kafkaDeadlineMs }
    return log && this.telemetry.hops.bus(busOf(log, { ...this.#hops.plan('bus'), ...options }))
  }

  /** All tries, and the pauses between them. */
  get #busDeadlineMs(): number {
    const { hops, timing } = this.settings
    return (1 + hops.bus.retries) * (timing.kafkaDeadlineMs + longestDelayMs)
  }

  #openRelay(instance: string): Relay {
    const { clock, log, timing } = this.settings
    const { l2, log: source, outbox } = this.#parts
    const { relayed } = this.telemetry
    const destinations: RelayDestination[] = []
    const deadlineMs = timing.readDeadlineMs
    if (l2) {
      const replayed = (rows: number): void => {
        relayed.replayedRows += rows
      }
      destinations.push(new L2Destination({ l2, outbox, clock, log, deadlineMs, replayed }))
    }
    if (source) destinations.push(logDestination(source, clock, timing.stalenessBoundMs))
    const repeated = (rows: number, values: number): void => {
      relayed.repeatedRows += rows
      relayed.repeatedValues += values
    }
    const { delayedDeleteMs: delayMs } = timing
    return new Relay({
      instance,
      outbox,
      destinations,
      repeats: l2 && new Repeats({ l2, outbox, clock, delayMs, deadlineMs, repeated }),
      clock,
      log,
      intervalMs: relayIntervalMs(timing),
      barrierIntervalMs: timing.pollIntervalMs,
      minAgeMs: timing.pollIntervalMs / 2,
      retentionMs: timing.outboxRetentionMs,
      deadlineMs,
      changed: (isRelaying) =>
        this.telemetry.relayChanged({ state: isRelaying ? 'begun' : 'ended' }),
    })
  }

  #openFlags({ flags }: Parts): Flags {
    const { clock, entities, flagOverride: override, log } = this.settings
    return new Flags({
      store: flags?.store,
      mirror: flags?.mirror,
      instance: this.instance,
      entities: entities.map(({ name }) => name),
      override,
      clock,
      log,
      isRelaying: () => this.#relay.isRelaying,
      changed: (event) => this.telemetry.flagChanged(event),
    })
  }

  #openSlo(): SloWatch {
    const { clock, slo: rules } = this.settings
    const { instance } = this
    return new SloWatch({
      ...{ rules, clock, instance },
      read: (ratio) => shareOf(ratio, this.telemetry.hops, this.entities.values()),
      act: (change) => void this.flags.applyOwn(change),
    })
  }

  #openFilters(places: FilterPlaces): Filters {
    const { clock, entities, log, random } = this.settings
    const { events } = this.telemetry
    const told = (news: BloomNews): void => events.emit('bloom', () => news)
    return new Filters({ places, entities, clock, log, random, told })
  }

  #openHotKeys(instance: string, { fastPlane }: Parts): HotKeys {
    const { clock, log } = this.settings
    const { events, hotKeys: counters } = this.telemetry
    return new HotKeys({
      ...{ instance, fastPlane, clock, log, events, counters },
      isReachable: () => (this.#hops.stateOf('l2') ?? 'closed') === 'closed',
      trust: this.#trust,
      closing: this.#closing.signal,
    })
  }

  #openEvents(parts: EventParts): ForeignEvents {
    const { clock, log, namespace, random, timing } = this.settings
    return new ForeignEvents({
      ...parts,
      namespace,
      clock,
      log,
      random,
      deadlineMs: timing.readDeadlineMs,
      counted: (outcome, events) => count(this.telemetry.foreignEvents, outcome, events),
    })
  }

  #openTelemetry({ l2, log: source }: Parts): Telemetry {
    const { clock, log, namespace, timing } = this.settings
    const present = (): Present => {
      const now = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
      return {
        isTrusted: this.#trust.isProven(now),
        trustAgeMs: this.#trust.ageMs(now),
        isRelaying: this.#relay.isRelaying,
        owed: (destination) => this.#relay.owed(destination),
        runningLoads: this.#limiter.running,
        waitingLoads: this.#limiter.waiting,
        loadsLimit: this.#limiter.limit,
        breakers: this.#hops.present(),
        flags: this.flags.active,
      }
    }
    return new Telemetry({
      namespace,
      clock,
      log,
      hasL2: l2 !== undefined,
      hasLog: source !== undefined,
      entities: () => this.entities.values(),
      present,
      boundMs: timing.stalenessBoundMs,
      retries: this.#hops.budgets,
    })
  }

  #openLimiter(): Limiter {
    const { clock, maxConcurrentLoads: most, timing } = this.settings
    const { shedLoads } = this.telemetry
    return new Limiter({
      limit: typeof most === 'number' ? fixedLimit(most) : new GradientLimit(most),
      queueLimit: queuedLoads,
      queueDeadlineMs: timing.loadQueueDeadlineMs,
      ranks: loadClasses.length,
      shed: (rank) => {
        count(shedLoads, loadClasses[rank] as LoadClass)
        const message = 'the source has more loads to do than it can: this one was not begun'
        return new LockstepError('SOURCE_BUSY', message)
      },
      clock,
    })
  }

  #newKeysOf({ name: entity, maxNewKeysPerMinute: limit }: AnyEntity): NewKeys {
    const full = (): void => {
      this.settings.log.warn({ entity, limit }, 'more new keys in a minute than may be cached')
      this.telemetry.events.emit('key-space', () => ({ entity, limit }))
    }
    return new NewKeys({ limit, full })
  }

  #openEntities(): ReadonlyMap<string, EntityParts> {
    const { timing, clock, log, random, entities } = this.settings
    type Own = 'entity' | 'region' | 'counters' | 'switches' | 'ahead' | 'newKeys' | 'hot'
    const shared: Omit<ReadContext, Own> = {
      l2: this.#parts.l2,
      source: this.#parts.source,
      plane: this.#plane,
      probes: this.#probes,
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
      loadQueueDeadlineMs: timing.loadQueueDeadlineMs,
      loadRetries: this.settings.hops.source.retries,
      loadBudget: this.#hops.budgets.source,
    }
    return new Map(
      entities.map((entity) => {
        const region = this.#parts.regions.get(entity.name) as Region
        const counters = newReadCounters()
        const switches = this.flags.switchesOf(entity.name)
        const filter = this.#filters?.copies.get(entity.name)
        const newKeys = this.#newKeysOf(entity)
        const hot = this.#hotKeys.open(entity, region)
        const own = { entity, region, counters, switches, filter, newKeys, hot }
        const reader = new Reader({ ...shared, ...own })
        hot?.serve(reader)
        const numbersOf = (): FilterNumbers | undefined => this.#filters?.numbersOf(entity.name)
        return [entity.name, { entity, region, counters, reader, filter: numbersOf, hot }]
      }),
    )
  }
}
