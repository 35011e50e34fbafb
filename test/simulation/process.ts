/** One process: the started cache itself, over ports in memory that travel along its line. */
import { S3Fifo } from '../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../src/memory/region.ts'
import type { FastPlane, Log, LogListener } from '../../src/model/bus-ports.ts'
import { defineEntity } from '../../src/model/entity.ts'
import type { L2 } from '../../src/model/l2-port.ts'
import type { Outbox } from '../../src/model/outbox-port.ts'
import { covers, type Snapshot } from '../../src/model/snapshot.ts'
import type { Replicas, Source } from '../../src/model/source-port.ts'
import { settle } from '../../src/options.ts'
import { type EntityParts, type Parts, RunningCache } from '../../src/running-cache.ts'
import { memoryL2 } from '../../src/testing/memory-l2.ts'
import { memoryLog } from '../../src/testing/memory-log.ts'
import { type MemoryDb, type MemoryTx, memorySource } from '../../src/testing/memory-source.ts'
import { over } from '../support/over.ts'
import { Line } from './line.ts'
import { timing } from './schedule.ts'
import { slowSource } from './transactions.ts'
import type { SimulatedWorld } from './world.ts'

export interface Item {
  readonly id: number
  readonly number: number
}

export interface SimulatedProcess {
  readonly name: string
  readonly line: Line
  readonly running: RunningCache
  readonly item: EntityParts
  /** Resolves when it runs, or has been killed before that; rejects when the database has no answer. */
  readonly started: Promise<void>
}

/** Opens the next process of a place. */
export function openProcess(world: SimulatedWorld, place: number, life: number): SimulatedProcess {
  const { clock, mutation, scenario } = world
  const name = `process ${place + 1}${'′'.repeat(life)}`
  const line = new Line(clock, world.chance.of(name), () => world.scenario.delaysMs)
  const { item, settings } = settingsOf(world, place, line)
  const ideal: Parts = {
    l2: scenario.hasL2
      ? memoryL2({ redis: world.redis, tombstoneRetentionMs: settings.timing.tombstoneRetentionMs })
      : undefined,
    filters: undefined,
    source: idealSource(world) as unknown as Parts['source'],
    outbox: world.database,
    instances: world.instances,
    log: scenario.hasLog ? memoryLog(world.topic, settings.namespace) : undefined,
    fastPlane: scenario.hasL2 ? world.redis.fastPlane() : undefined,
    regions: new Map([[item.name, new L1Region(item, new S3Fifo(item.maxEntries))]]),
  }
  const at = { world, line, entity: item }
  const parts = mutation.parts?.(ideal, at) ?? ideal
  const { log } = parts
  if (log) line.atDeath(() => void log.close())
  const source = parts.source as unknown as Source<MemoryTx>
  const slow: Parts = {
    ...parts,
    l2: parts.l2 && slowL2(parts.l2, world, line),
    source: slowSource(source, world, line) as unknown as Parts['source'],
    outbox: slowOutbox(parts.outbox, world, line),
    log: log && slowLog(log, line),
    fastPlane: parts.fastPlane && slowFastPlane(parts.fastPlane, world, line),
  }
  const running = new RunningCache(settings, mutation.arrived?.(slow, at) ?? slow, async () => {})
  const died = new Promise<void>((resolve) => line.atDeath(resolve))
  const started = Promise.race([running.start(), died])
  return { name, line, running, item: running.entities.get(item.name) as EntityParts, started }
}

function settingsOf(world: SimulatedWorld, place: number, line: Line) {
  const { mutation, scenario } = world
  const own = mutation.clock?.(line.clock, world, line) ?? line.clock
  const item = defineEntity('item', {
    load: (ids: number[], { db, signal }: { db: MemoryDb; signal: AbortSignal }) =>
      slowLoad(ids, db, signal, world, line),
    id: (row: Item) => row.id,
    version: versionOf(world, place),
    isolation: scenario.isolation,
    writeThrough: place < scenario.writeThrough,
    foreignWrites: scenario.foreignWrites,
    ttl: scenario.ttl,
    grace: '2s',
    ...sizesOf(world),
  })
  const settings = settle({
    namespace: 'shop',
    postgres: 'in memory',
    entities: { item },
    clock: own,
    timing: {
      ...timing,
      pollInterval: scenario.pollIntervalMs,
      outboxRetention: scenario.isForgetful ? '2s' : '5m',
    },
  })
  const { next: random } = world.chance.of(`random ${place}`)
  return { item, settings: { ...settings, random } }
}

/**
 * In some schedules a value's size hangs on which version it is: small, big enough to be compressed, or
 * too big to be cached.
 */
function sizesOf({ chance }: SimulatedWorld) {
  if (!chance.of('sizes').hits(0.2)) return {}
  const encode = (item: Item): Buffer =>
    Buffer.from(JSON.stringify(item) + ' '.repeat([0, 100, 300][item.number % 3] as number))
  const decode = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString())
  return {
    codec: { name: 'sized', encode: encode as (value: unknown) => Buffer, decode },
    compress: { above: 60 },
    maxValueBytes: 200,
  }
}

/** Schema versions of the entity: the last process has the next one. */
function versionOf(world: SimulatedWorld, place: number): number {
  return world.scenario.hasVersions && place === world.scenario.processes - 1 ? 2 : 1
}

async function slowLoad(
  ids: readonly number[],
  db: MemoryDb,
  signal: AbortSignal,
  world: SimulatedWorld,
  line: Line,
): Promise<Item[]> {
  await line.go('load')
  if (line.chance('failing load').hits(world.scenario.failingLoads)) {
    throw new Error('the loader fails')
  }
  signal.throwIfAborted()
  const rows = db.rows('item', ids) as Item[]
  await line.go('load')
  return rows
}

/** A replica shows the past; which part of it the world says. */
function idealSource(world: SimulatedWorld): Source<MemoryTx> {
  const { database, scenario } = world
  const source = memorySource(database)
  if (!scenario.hasReplicas) return source
  const chance = world.chance.of('replicas')
  const replicas: Replicas = {
    get isReady() {
      return chance.hits(0.8)
    },
    load: async (entity, ids, least, signal) => {
      const shown = world.replayed
      if (!covers(asStandby(shown), least)) return undefined
      if (chance.hits(0.1)) throw new Error('the replica is down')
      return entity.load([...ids], { db: rowsUnder(world, shown), signal })
    },
  }
  return { ...source, replicas }
}

/** What a standby says of itself: it can't tell which of the later ones have ended. */
const asStandby = (shown: Snapshot): Snapshot => ({ ...shown, xmax: shown.xmin, xip: [] })

export const rowsUnder = ({ database }: SimulatedWorld, shown: Snapshot): MemoryDb => ({
  rows: (name, ids) => database.rows(name, ids, shown),
})

// ---------------------------------------------------------------- the ports, as they travel

function slowL2(l2: L2, world: SimulatedWorld, line: Line): L2 {
  const cause = new Error('Redis did not answer in time')
  const unavailable = { kind: 'unavailable', cause } as const
  const call = async <T>(name: string, run: () => Promise<T>, givenUp: () => T): Promise<T> => {
    if (line.isOff('redis')) {
      await line.go(name)
      return givenUp()
    }
    if (line.chance(`${name} lost`).hits(world.scenario.lostCalls)) {
      // Given up by its deadline; it may be done later still.
      if (line.chance(`${name} late`).hits(0.7)) {
        const late = async (): Promise<void> => {
          await line.pause(name)
          await line.pause(name)
          await run()
        }
        void late()
      }
      await line.go(name)
      return givenUp()
    }
    return line.travel(name, run)
  }
  const each = (count: number) => () => Array.from({ length: count }, () => unavailable)
  return {
    lookup: (entity, ids, asked) =>
      call('lookup', () => l2.lookup(entity, ids, asked), each(ids.length)),
    acquire: (entity, ids, options) =>
      call('acquire', () => l2.acquire(entity, ids, options), each(ids.length)),
    fill: (entity, fills) =>
      call(
        'fill',
        () => l2.fill(entity, fills),
        () => fills.map(() => 'unavailable' as const),
      ),
    renew: (entity, leases, leaseMs) =>
      call(
        'renew',
        () => l2.renew(entity, leases, leaseMs),
        () => leases.map(() => 'unavailable' as const),
      ),
    release: (entity, leases) =>
      call(
        'release',
        () => l2.release(entity, leases),
        () => undefined,
      ),
    filled: async (...args) => {
      await l2.filled(...args)
      await line.go('filled')
    },
    invalidate: (...args) =>
      call(
        'invalidate',
        () => l2.invalidate(...args),
        () => unavailable,
      ),
    barrier: (snapshot) =>
      call(
        'barrier',
        () => l2.barrier(snapshot),
        () => [unavailable],
      ),
    restore: (...args) =>
      call(
        'restore',
        () => l2.restore(...args),
        () => unavailable,
      ),
  }
}

function slowOutbox(outbox: Outbox, world: SimulatedWorld, line: Line): Outbox {
  let _uncut: (() => void) | undefined
  const slow = <T>(name: string, call: () => Promise<T>): Promise<T> =>
    line.travel(name, async () => {
      const isBroken =
        world.hasStarted && line.chance(`${name} broken`).hits(world.scenario.brokenStatements)
      if (isBroken || line.isOff('database')) throw new Error('the connection broke')
      return call()
    })
  return over<Outbox>(outbox, {
    poll: (...args) => slow('poll', () => outbox.poll(...args)),
    probe: (...args) => slow('probe', () => outbox.probe(...args)),
    listen: (wake) => outbox.listen(() => line.whenAwake(wake)),
    notify: (signal) => slow('notify', () => outbox.notify(signal)),
    claim: (destination, minAgeMs, tell, signal) =>
      // Its rows are locked for as long as its connection lasts.
      slow('claim', () =>
        outbox.claim(destination, minAgeMs, (claim) => line.heldBySession(tell(claim)), signal),
      ),
    mark: (...args) =>
      slow('mark', async () => {
        if (line.chance('lost mark').hits(world.scenario.lostMarks))
          throw new Error('the mark is lost')
        return outbox.mark(...args)
      }),
    prune: (...args) => slow('prune', () => outbox.prune(...args)),
    lead: (instance, signal) =>
      slow('lead', async () => {
        const isLeading = await outbox.lead(instance, signal)
        if (isLeading) _uncut ??= line.onCut(() => outbox.resign(instance))
        if (isLeading) world.leader = instance
        return isLeading
      }),
    progress: (...args) => slow('progress', () => outbox.progress(...args)),
    page: (...args) => slow('page', () => outbox.page(...args)),
    repeated: (...args) => slow('repeated', () => outbox.repeated(...args)),
  })
}

function slowLog(log: Log, line: Line): Log {
  const send = (name: string, call: () => Promise<void>): Promise<void> =>
    line.travel(name, async () => {
      await call()
      // It lies there, and its sender doesn't hear of that.
      if (line.chance(`${name} unheard`).hits(0.03)) throw new Error('the answer is lost')
    })
  return {
    listen: (listener) => log.listen(inOrder(listener, line)),
    publish: (writes, signal) => send('publish', () => log.publish(writes, signal)),
    barrier: (snapshot, signal) => send('log barrier', () => log.barrier(snapshot, signal)),
    close: () => log.close(),
  }
}

/** However late: each partition in the order in which it lies there, and nothing of a reading that is over. */
function inOrder(listener: LogListener, line: Line): LogListener {
  let reading = 0
  let begun = Promise.resolve()
  const partitions = new Map<number, Promise<void>>()
  const after = async (before: Promise<void>, call: () => void): Promise<void> => {
    await before
    await line.go('heard')
    call()
  }
  const begin = (call: () => void): void => {
    reading++
    partitions.clear()
    begun = after(begun, call)
  }
  return {
    positioned: (count) => begin(() => listener.positioned(count)),
    lost: (...why) => begin(() => listener.lost(...why)),
    heard: (partition, record) => {
      const of = reading
      const heard = after(partitions.get(partition) ?? begun, () => {
        if (of === reading) listener.heard(partition, record)
      })
      partitions.set(partition, heard)
    },
  }
}

function slowFastPlane(plane: FastPlane, world: SimulatedWorld, line: Line): FastPlane {
  const isDeaf = world.scenario.isDeaf
  return {
    listen: (told) =>
      plane.listen((message) => {
        if (isDeaf || line.isDead || line.chance('told lost').hits(0.2)) return
        for (let copies = line.chance('told twice').hits(0.15) ? 2 : 1; copies > 0; copies--) {
          void line.go('told').then(() => told(message))
        }
      }),
    listenHot: (heard) =>
      plane.listenHot((list) => {
        if (isDeaf || line.isDead) return
        void line.go('hot list').then(() => heard(list))
      }),
    announce: (list, signal) => line.travel('announce', () => plane.announce(list, signal)),
  }
}
