/** One process of the cache over the ports in memory, wired as `src/running-cache.ts` does it. */
import { setMaxListeners } from 'node:events'
import type { WriteKey } from '../../../src/coordinator/deletes.ts'
import { Janitor } from '../../../src/coordinator/janitor.ts'
import { Marks } from '../../../src/coordinator/marks.ts'
import { Reader } from '../../../src/coordinator/read.ts'
import { Tail } from '../../../src/coordinator/tail.ts'
import { ToldRegions } from '../../../src/coordinator/told.ts'
import { Trust } from '../../../src/coordinator/trust.ts'
import { Turns } from '../../../src/coordinator/wanted.ts'
import { type WriteRequest, type WriteResult, Writer } from '../../../src/coordinator/write.ts'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../../src/memory/region.ts'
import { TurnClock } from '../../../src/model/clock.ts'
import { settleTiming } from '../../../src/model/defaults.ts'
import { type AnyEntity, defineEntity, type EntityOptions } from '../../../src/model/entity.ts'
import { LockstepError } from '../../../src/model/errors.ts'
import { silent } from '../../../src/model/log.ts'
import type { L2, Outbox, Source, Told } from '../../../src/model/ports.ts'
import { Limiter } from '../../../src/resilience/limiter.ts'
import { newReadCounters, newWriteCounters } from '../../../src/telemetry/counters.ts'
import { Events, type TrustChange } from '../../../src/telemetry/events.ts'
import { VirtualClock } from '../../support/clock.ts'
import {
  type L2Call,
  MemoryDatabase,
  type MemoryDb,
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

/** What the processes of one world share. */
export class World {
  readonly clock = new VirtualClock()
  readonly redis = new MemoryRedis(this.clock)
  readonly database: MemoryDatabase

  constructor(options: { mostRowsAPoll?: number; versions?: readonly number[] } = {}) {
    this.database = new MemoryDatabase({
      clock: this.clock,
      versions: new Map([['city', options.versions ?? [1]]]),
      mostRowsAPoll: options.mostRowsAPoll ?? 10_000,
    })
  }

  /** Rows that were there before any cache was. */
  seed(ids: readonly (number | string)[], name = 'old'): void {
    for (const id of ids) this.database.putUnnoticed('city', id, { id, name })
  }
}

export interface ProcessOptions {
  readonly entity?: AnyEntity
  readonly hasL2?: boolean
  readonly isPolling?: boolean
  readonly boundMs?: number
  readonly pollIntervalMs?: number
  readonly floorLagMs?: number
  readonly readDeadlineMs?: number
  readonly loadDeadlineMs?: number
  readonly maxConcurrentLoads?: number
  readonly queuedLoads?: number
  readonly wrapL2?: (l2: L2) => L2
  readonly wrapSource?: (source: Source<MemoryTx>) => Source<MemoryTx>
  readonly wrapOutbox?: (outbox: Outbox) => Outbox
  readonly isTold?: boolean
}

export type Process = Awaited<ReturnType<typeof startProcess>>

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
  const memory = memoryL2({ redis, tombstoneRetentionMs, calls })
  const l2 = options.hasL2 === false ? undefined : (options.wrapL2?.(memory) ?? memory)
  const database2 = memorySource(database, loads)
  const source = options.wrapSource?.(database2) ?? database2
  const region = new L1Region(entity, new S3Fifo(entity.maxEntries))
  const regions = new Map([[entity.name, region]])
  const told = new ToldRegions(regions)
  const trustChanges: TrustChange[] = []
  const trust = new Trust({
    regions: [region],
    boundMs,
    floorLagMs: options.floorLagMs ?? loadDeadlineMs * 3,
    changed: (change) => void trustChanges.push(change),
  })
  const outbox = options.wrapOutbox?.(database) ?? database
  const tail = new Tail({
    outbox,
    trust,
    told: (row, write) => told.tell(row.entity, row.ids, write, !row.applied),
    clock,
    log: silent,
    pollIntervalMs: options.pollIntervalMs ?? timing.pollIntervalMs,
    pollDeadlineMs: boundMs,
  })
  const marks = new Marks(outbox, clock, silent, loadDeadlineMs)
  const counters = newReadCounters()
  const writes = newWriteCounters()
  const events = new Events(silent)
  const shared = { l2, source, trust, clock, random: () => 0.5, closing: closing.signal }
  const limiter = new Limiter(
    options.maxConcurrentLoads ?? 8,
    options.queuedLoads ?? 1_000,
    () => new LockstepError('SOURCE_BUSY', 'busy'),
  )
  const turnClock = new TurnClock(clock)
  const reader = new Reader({
    ...shared,
    entity,
    region,
    tail,
    limiter,
    turnClock,
    turns: new Turns(),
    counters,
    events,
    log: silent,
    boundMs,
    readDeadlineMs,
    loadDeadlineMs,
  })
  const writer = new Writer<MemoryTx>({ ...shared, source, told, marks, counters: writes })
  const janitor = new Janitor({
    outbox,
    l2,
    tail,
    clock,
    log: silent,
    intervalMs: 250,
    minAgeMs: timing.writeDeadlineMs,
    retentionMs: timing.outboxRetentionMs,
    deadlineMs: readDeadlineMs,
  })
  if (options.isPolling !== false) await tail.start()
  /** As `RunningCache` hears the fast plane. */
  const hear = ({ write, keys }: Told): void => {
    if (write.incarnation !== trust.incarnation) {
      trust.lose('incarnation')
      tail.poke()
    }
    for (const { entity: name, id } of keys) told.tell(name, [id], write, false)
  }
  if (options.isTold !== false && l2) redis.fastPlane().listen(hear)
  const keyOf = (id: unknown): WriteKey => ({ entity, id: String(entity.keyOf(id)) })
  return {
    ...{ entity, reader, writer, tail, trust, region, marks, janitor, counters, limiter },
    ...{ writes, events, trustChanges },
    ...{ l2, calls, loads, outcomes: database2.outcomes, closing },
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
      const ended = Promise.all([tail.close(), janitor.close(), marks.flush()])
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
