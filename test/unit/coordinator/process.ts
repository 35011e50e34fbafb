/** One process of the cache over the ports in memory, wired as `src/running-cache.ts` does it. */
import { setMaxListeners } from 'node:events'
import type { WriteKey } from '../../../src/coordinator/deletes.ts'
import {
  L2Destination,
  logDestination,
  type RelayDestination,
} from '../../../src/coordinator/destinations.ts'
import { Everywhere } from '../../../src/coordinator/everywhere.ts'
import { Finisher } from '../../../src/coordinator/finisher.ts'
import { LogPlane } from '../../../src/coordinator/log-plane.ts'
import type { Plane, PlaneOptions } from '../../../src/coordinator/plane.ts'
import { Probes } from '../../../src/coordinator/probes.ts'
import { Reader } from '../../../src/coordinator/read.ts'
import { Relay } from '../../../src/coordinator/relay.ts'
import { Repeats } from '../../../src/coordinator/repeats.ts'
import { Tail } from '../../../src/coordinator/tail.ts'
import { ToldRegions } from '../../../src/coordinator/told.ts'
import { Trust } from '../../../src/coordinator/trust.ts'
import { type ReadContext, Turns } from '../../../src/coordinator/wanted.ts'
import { type WriteRequest, type WriteResult, Writer } from '../../../src/coordinator/write.ts'
import { NewKeys } from '../../../src/memory/new-keys.ts'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../../src/memory/region.ts'
import type { Log, Told } from '../../../src/model/bus-ports.ts'
import { TurnClock } from '../../../src/model/clock.ts'
import { longestLoadMs, settleTiming } from '../../../src/model/defaults.ts'
import { type AnyEntity, defineEntity, type EntityOptions } from '../../../src/model/entity.ts'
import { LockstepError } from '../../../src/model/errors.ts'
import { noFlags, type Switches } from '../../../src/model/flags.ts'
import type { L2 } from '../../../src/model/l2-port.ts'
import { type LoadClass, loadClasses } from '../../../src/model/load-class.ts'
import { silent } from '../../../src/model/log.ts'
import type { Destination, Outbox } from '../../../src/model/outbox-port.ts'
import type { WriteId } from '../../../src/model/snapshot.ts'
import type { Source } from '../../../src/model/source-port.ts'
import { fixedLimit, Limiter } from '../../../src/resilience/limiter.ts'
import { newReadCounters, newWriteCounters } from '../../../src/telemetry/counters.ts'
import { Events, type TrustChange } from '../../../src/telemetry/events.ts'
import { VirtualClock } from '../../support/clock.ts'
import {
  type L2Call,
  MemoryDatabase,
  type MemoryDb,
  MemoryInstances,
  MemoryRedis,
  type MemoryTx,
  memoryL2,
  memorySource,
} from '../../support/ports.ts'

export interface City {
  readonly id: number | string
  readonly name: string
  readonly [more: string]: unknown
}

export const timing = settleTiming({})

type CityOptions = Partial<EntityOptions<number | string, City, MemoryDb>>

export function cityEntity(options: CityOptions = {}): AnyEntity {
  return defineEntity('city', {
    load: (ids: (number | string)[], { db }: { db: MemoryDb }) =>
      Promise.resolve(db.rows('city', ids) as City[]),
    id: (row: City) => row.id,
    ...options,
  })
}

interface WorldOptions {
  readonly mostRowsAPoll?: number
  readonly versions?: readonly number[]
  readonly hasL2?: boolean
  readonly hasLog?: boolean
}

/** What the processes of one world share. */
export class World {
  readonly clock = new VirtualClock()
  readonly redis = new MemoryRedis(this.clock)
  readonly database: MemoryDatabase
  readonly instances: MemoryInstances

  constructor(options: WorldOptions = {}) {
    this.database = new MemoryDatabase({
      clock: this.clock,
      versions: new Map([['city', options.versions ?? [1]]]),
      mostRowsAPoll: options.mostRowsAPoll ?? 10_000,
      namespaceHasLog: options.hasLog ?? false,
      namespaceHasL2: options.hasL2 ?? true,
    })
    this.instances = new MemoryInstances(this.database)
  }

  /** Rows that a destination has not been told of, as far as anybody knows. */
  async owed(destination: Destination): Promise<number> {
    const { owed } = await this.database.progress({}, new AbortController().signal)
    return owed[destination].rows
  }

  /** Rows that were there before any cache was. */
  seed(ids: readonly (number | string)[], name = 'old'): void {
    for (const id of ids) this.database.putUnnoticed('city', id, { id, name })
  }
}

export interface ProcessOptions {
  readonly entity?: AnyEntity
  readonly hasL2?: boolean
  /** The durable plane; without it the process tails the outbox. */
  readonly source?: Log
  readonly isPolling?: boolean
  /** Without one of them nobody writes barriers. */
  readonly isRelaying?: boolean
  /** How soon the outbox may forget. */
  readonly retentionMs?: number
  readonly boundMs?: number
  readonly pollIntervalMs?: number
  readonly floorLagMs?: number
  readonly readDeadlineMs?: number
  readonly loadDeadlineMs?: number
  readonly loadQueueDeadlineMs?: number
  readonly maxConcurrentLoads?: number
  readonly queuedLoads?: number
  readonly flags?: Switches
  readonly hot?: ReadContext['hot']
  readonly wrapL2?: (l2: L2) => L2
  readonly wrapSource?: (source: Source<MemoryTx>) => Source<MemoryTx>
  readonly wrapOutbox?: (outbox: Outbox) => Outbox
  readonly isTold?: boolean
  readonly random?: () => number
  /** What it has in place of the L2 of the world's Redis. */
  readonly memory?: L2
  /** Level 1 of the entity's Bloom filter. */
  readonly filter?: ReadContext['filter']
}

export type Process = Awaited<ReturnType<typeof startProcess>>

let processes = 0

export async function startProcess(world: World, options: ProcessOptions = {}) {
  const { clock, redis, database } = world
  const entity = options.entity ?? cityEntity()
  const { readDeadlineMs = timing.readDeadlineMs, loadDeadlineMs = timing.loadDeadlineMs } = options
  const boundMs = options.boundMs ?? timing.stalenessBoundMs
  const closing = new AbortController()
  setMaxListeners(0, closing.signal)
  const calls: L2Call[] = []
  const loads: (readonly unknown[])[] = []
  const { tombstoneRetentionMs } = timing
  const memory = options.memory ?? memoryL2({ redis, tombstoneRetentionMs, calls })
  const l2 = options.hasL2 === false ? undefined : (options.wrapL2?.(memory) ?? memory)
  const database2 = memorySource(database, loads)
  const source = options.wrapSource?.(database2) ?? database2
  const region = new L1Region(entity, new S3Fifo(entity.maxEntries))
  const regions = new Map([[entity.name, region]])
  const { filter } = options
  const told = new ToldRegions(regions, new Map(filter && [[entity.name, filter]]))
  const trustChanges: TrustChange[] = []
  const trust = new Trust({
    regions: [region],
    boundMs,
    floorLagMs: options.floorLagMs ?? longestLoadMs({ ...timing, loadDeadlineMs }),
    changed: (change) => void trustChanges.push(change),
  })
  const probes = new Probes(boundMs)
  const outbox = options.wrapOutbox?.(database) ?? database
  const instance = `process ${++processes}`
  const everywhere = new Everywhere({
    ...{ instances: world.instances, instance, probes, clock, boundMs },
    log: silent,
    closing: closing.signal,
  })
  const wakesOthers = !l2 && !options.source
  const pollIntervalMs = options.pollIntervalMs ?? timing.pollIntervalMs
  const destinations: RelayDestination[] = []
  if (l2) {
    const replay = {
      deadlineMs: readDeadlineMs,
      replayed: (rows: number) => {
        replayed += rows
      },
    }
    destinations.push(new L2Destination({ l2, outbox, clock, log: silent, ...replay }))
  }
  if (options.source) destinations.push(logDestination(options.source, clock, boundMs))
  let replayed = 0
  const repeated = (): void => {}
  const { delayedDeleteMs: delayMs } = timing
  const relay = new Relay({
    ...{ instance, outbox, destinations, clock, log: silent },
    repeats:
      l2 && new Repeats({ l2, outbox, clock, delayMs, deadlineMs: readDeadlineMs, repeated }),
    intervalMs: pollIntervalMs / 5,
    barrierIntervalMs: pollIntervalMs,
    minAgeMs: pollIntervalMs / 2,
    retentionMs: options.retentionMs ?? timing.outboxRetentionMs,
    deadlineMs: readDeadlineMs,
  })
  const planeOptions: PlaneOptions = {
    outbox,
    listener: {
      told: (write, { entity: name, ids }) => {
        if (options.source) notice(write)
        told.tell(name, ids, write)
      },
      probed: (t0, snapshot) => probes.add(t0, snapshot),
      proven: (t0, snapshot) => {
        trust.advance(t0, snapshot)
        everywhere.proven(snapshot)
      },
      lost: (reason) => trust.lose(reason),
      stalled: () => trust.notice({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }),
    },
    clock,
    log: silent,
    pollIntervalMs,
    pollDeadlineMs: boundMs,
    join: (signal) => everywhere.join(signal),
    heard: (probe) => {
      if (probe.isRelayDue) relay.due()
      return everywhere.probed(probe)
    },
  }
  const plane: Plane = options.source
    ? new LogPlane({ ...planeOptions, source: options.source })
    : new Tail({
        ...planeOptions,
        wakesOthers,
        relayIntervalMs: () => (relay.isRelaying ? pollIntervalMs / 5 : undefined),
      })
  const finisher = new Finisher({
    ...{ outbox, source: options.source, wakesOthers, clock },
    log: silent,
    deadlineMs: loadDeadlineMs,
  })
  const counters = newReadCounters()
  const writes = newWriteCounters()
  const events = new Events(silent)
  const switches = options.flags ?? noFlags
  const shared = {
    l2,
    source,
    probes,
    clock,
    random: options.random ?? (() => 0.5),
    closing: closing.signal,
  }
  const { loadQueueDeadlineMs = timing.loadQueueDeadlineMs } = options
  const shedLoads: LoadClass[] = []
  const limiter = new Limiter({
    limit: fixedLimit(options.maxConcurrentLoads ?? 8),
    queueLimit: options.queuedLoads ?? 1_000,
    queueDeadlineMs: loadQueueDeadlineMs,
    ranks: loadClasses.length,
    shed: (rank) => {
      shedLoads.push(loadClasses[rank] as LoadClass)
      return new LockstepError('SOURCE_BUSY', 'busy')
    },
    clock,
  })
  const { maxNewKeysPerMinute: limit } = entity
  const full = (): void => events.emit('key-space', () => ({ entity: entity.name, limit }))
  const turnClock = new TurnClock(clock)
  const reader = new Reader({
    ...shared,
    entity,
    region,
    plane,
    trust,
    limiter,
    filter,
    turnClock,
    turns: new Turns(),
    switches,
    hot: options.hot,
    counters,
    events,
    log: silent,
    boundMs,
    readDeadlineMs,
    loadDeadlineMs,
    loadQueueDeadlineMs,
    newKeys: new NewKeys({ limit, full }),
  })
  const writer = new Writer<MemoryTx>({
    ...{ ...shared, source, told, finisher, counters: writes },
    switchesOf: () => switches,
  })
  if (options.isRelaying !== false) relay.start()
  if (options.isPolling !== false) await plane.start()
  const notice = (write: WriteId): void => {
    if (write.incarnation === probes.incarnation) return
    trust.lose('incarnation')
    plane.poke()
  }
  /** As `RunningCache` hears the fast plane. */
  const hear = ({ write, keys }: Told): void => {
    notice(write)
    for (const { entity: name, id } of keys) told.tell(name, [id], write)
  }
  if (options.isTold !== false && l2) redis.fastPlane().listen(hear)
  const keyOf = (id: unknown): WriteKey => ({ entity, id: String(entity.keyOf(id)) })
  return {
    ...{ entity, reader, writer, plane, probes, trust, region, finisher, relay, counters, limiter },
    ...{ everywhere, instance, replayed: () => replayed },
    ...{ writes, events, trustChanges, shedLoads },
    ...{ l2, loads, outcomes: database2.outcomes, closing },
    /** What its readers and writers asked of L2; the relay writes barriers besides. */
    get calls(): readonly L2Call[] {
      return calls.filter(({ act }) => act !== 'barrier' && act !== 'restore')
    },
    keyOf,
    hear,

    name: async (id: unknown, request?: Parameters<Reader['get']>[1]): Promise<unknown> =>
      ((await reader.get(id, request)) as City | undefined)?.name,

    /** Writes one row of one id. */
    write: (
      id: number | string,
      name: string,
      request: Partial<WriteRequest> = {},
    ): Promise<WriteResult<City>> =>
      writer.write(
        (tx) => tx.put('city', id, { id, name }),
        () => [keyOf(id)],
        { timeoutMs: timing.writeDeadlineMs, retries: 2, onFenceFailure: 'proceed', ...request },
      ),

    close: async (): Promise<void> => {
      reader.close()
      writer.close()
      closing.abort(new LockstepError('CLOSED', 'the cache is closed'))
      const ended = finisher
        .flush()
        .then(() => Promise.all([relay.close(), plane.close()]))
        .then(() => everywhere.leave())
      await clock.settle()
      await ended
    },
  }
}

/** Settles everything that needs no time, then gives the outcome. */
export async function now<T>(world: World, promise: PromiseLike<T>): Promise<T> {
  let isDone = false
  const mark = (): void => {
    isDone = true
  }
  promise.then(mark, mark)
  await world.clock.settle()
  if (!isDone) throw new Error('it waits for something that does not come by itself')
  return promise
}
