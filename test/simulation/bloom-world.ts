/**
 * Random schedules of the Bloom filter (DESIGN §8): the real builder, writer and relay over one
 * PostgreSQL and one Redis in memory, where each call takes a time of its own each way. Writers are
 * cut off, bitmaps and barriers are evicted, and servers take over that remember less.
 *
 * A "no" is false for an id that the barrier beside it sees, and for one that the library added to
 * this server and committed.
 */
import { setMaxListeners } from 'node:events'
import type { IdScan, L2Filters, ScanStart } from '../../src/model/filter-ports.ts'
import type { L2, Lookup } from '../../src/model/l2-port.ts'
import type { Xid } from '../../src/model/snapshot.ts'
import { buildFilter, type FilterBuildOptions } from '../../src/operations/filter-build.ts'
import { sleep } from '../../src/resilience/deadline.ts'
import { memoryFilters } from '../../src/testing/memory-filters.ts'
import type { MemoryRedisState } from '../../src/testing/memory-redis.ts'
import { type MemoryDatabase, memoryL2 } from '../support/ports.ts'
import { cityEntity, type Process, startProcess, World } from '../unit/coordinator/process.ts'
import { type BloomMutant, bloomMutants } from './bloom-mutants.ts'
import { Chance } from './chance.ts'

export interface BloomCounts {
  asked: number
  refused: number
  inserts: number
  builds: number
  failovers: number
}

export interface BloomOutcome extends BloomCounts {
  /** What was refused, and should not have been. */
  readonly violation: string | undefined
}

const schedule = { longestMs: 900, inserts: 8, deletes: 2, others: 5 }
const entityName = 'city'
const mostIds = 40

export class BloomWorld {
  readonly world = new World()
  readonly chance: Chance
  readonly mutant: BloomMutant
  readonly counts: BloomCounts = { asked: 0, refused: 0, inserts: 0, builds: 0, failovers: 0 }
  readonly l2: L2
  readonly filters: L2Filters
  readonly scan: IdScan
  /** The server to which the library has added an id that has committed. */
  readonly addedTo = new Map<string, string>()
  readonly closing = new AbortController()
  violation: string | undefined
  process!: Process

  constructor(seed: number, mutant: BloomMutant = {}) {
    // Every pause listens to it.
    setMaxListeners(0, this.closing.signal)
    this.chance = new Chance(seed)
    this.mutant = mutant
    const { redis, database } = this.world
    const memory = memoryL2({ redis, ...(mutant.remember && { remember: mutant.remember() }) })
    this.l2 = mutant.l2?.(memory, this.world) ?? memory
    this.filters = this.#slow(memoryFilters(redis), 'filters')
    const scan = memoryScan(database)
    this.scan = this.#slow({ ...scan, ...mutant.scan?.(database) }, 'scan')
  }

  async run(): Promise<BloomOutcome> {
    const { world, closing, chance } = this
    const slowL2 = this.#slow(this.l2, 'l2')
    this.process = await this.#started(
      startProcess(world, {
        entity: cityEntity(),
        memory: slowL2,
        boundMs: 200,
        pollIntervalMs: 50,
        retentionMs: 60_000,
        wrapOutbox: (outbox) => this.mutant.outbox?.(outbox) ?? outbox,
      }),
    )
    const acts = [
      ...Array.from({ length: schedule.inserts }, (_, id) =>
        this.#insert(String(id), chance.of(`insert ${id}`)),
      ),
      ...Array.from({ length: schedule.deletes }, (_, nth) =>
        this.#delete(chance.of(`delete ${nth}`)),
      ),
      this.#others(chance.of('others')),
      this.#build(chance.of('build')),
      this.#trouble(chance.of('trouble')),
      this.#ask(chance.of('ask')),
    ]
    const { clock } = world
    await clock.settle()
    const untilMs = clock.monotonicMs() + schedule.longestMs
    while (this.violation === undefined && clock.fireNext(untilMs)) await clock.settle()
    closing.abort(new Error('the schedule is over'))
    await clock.settle()
    world.redis.down = undefined
    void Promise.allSettled(acts)
    void this.process.close()
    return { ...this.counts, violation: this.violation }
  }

  async #started(starting: Promise<Process>): Promise<Process> {
    let process: Process | undefined
    void starting.then((one) => {
      process = one
    })
    for (;;) {
      await this.world.clock.settle()
      if (process) return process
      this.world.clock.fireNext()
    }
  }

  pause(chance: Chance, mostMs: number): Promise<void> {
    return sleep(chance.next() * mostMs, this.closing.signal, this.world.clock)
  }

  get #isOver(): boolean {
    return this.closing.signal.aborted
  }

  async #insert(id: string, chance: Chance): Promise<void> {
    const { database, redis } = this.world
    await this.pause(chance, schedule.longestMs)
    if (this.#isOver) return
    if (chance.hits(0.5)) {
      await this.mutant.beforeInsert?.(this, id, chance)
      const { identity } = redis
      let told = false
      const written = this.process.writer.write(
        async (tx) => {
          await this.pause(chance, 60)
          const row = tx.put(entityName, id, { id, name: 'new' })
          return row
        },
        () => [this.process.keyOf(id)],
        { timeoutMs: 500, retries: 0, onFenceFailure: 'proceed' },
      )
      // Added by the first delete: what is not fenced at all was cut off.
      const watch = this.#committed(id).then(() => {
        told = this.toldFirst.has(id)
        if (told && redis.identity === identity) this.addedTo.set(id, identity)
      })
      await Promise.allSettled([written, watch])
    } else {
      const xid = database.takeXid()
      await this.pause(chance, 150)
      database.put(xid, entityName, id, { id, name: 'new' })
      database.record(xid, [{ entity: entityName, ids: [id] }], true)
      await this.pause(chance, 50)
      database.finish(xid, chance.hits(0.9) ? 'committed' : 'aborted')
    }
    this.counts.inserts++
  }

  /** Ids of which a first delete has been answered by the server that is there. */
  readonly toldFirst = new Set<string>()

  async #committed(id: string): Promise<void> {
    while (!this.#isOver) {
      if (this.world.database.rows(entityName, [id]).length > 0) return
      await sleep(2, this.closing.signal, this.world.clock)
    }
    await new Promise(() => {})
  }

  async #delete(chance: Chance): Promise<void> {
    await this.pause(chance, schedule.longestMs)
    if (this.#isOver) return
    const id = String(chance.below(schedule.inserts))
    this.world.database.putByTrigger(entityName, id, undefined)
    this.addedTo.delete(id)
  }

  /** Transactions that have nothing to do with it, and xids of theirs. */
  async #others(chance: Chance): Promise<void> {
    const { database } = this.world
    for (let nth = 0; nth < schedule.others && !this.#isOver; nth++) {
      await this.pause(chance, 150)
      const xid = database.takeXid()
      await this.pause(chance, 60)
      database.finish(xid, 'committed')
    }
  }

  async #build(chance: Chance): Promise<void> {
    const { filters, scan } = this
    const options: FilterBuildOptions = {
      entity: entityName,
      filters,
      scan,
      falsePositiveRate: 0.001,
      capacity: mostIds,
      clock: this.world.clock,
      random: () => chance.next(),
      isStillDue: async () => true,
      progressed: () => {},
    }
    while (!this.#isOver) {
      await this.pause(chance, 100)
      await buildFilter(options, this.closing.signal).then(
        () => this.counts.builds++,
        () => {},
      )
    }
  }

  async #trouble(chance: Chance): Promise<void> {
    const { redis } = this.world
    const past: MemoryRedisState[] = []
    while (!this.#isOver) {
      await this.pause(chance, 60)
      past.push(redis.save())
      if (past.length > 6) past.shift()
      const share = chance.next()
      if (share < 0.05) redis.evictFilter(entityName, chance.hits(0.5) ? 0 : 1)
      else if (share < 0.1) redis.down = redis.down ? undefined : new Error('cut off')
      else if (share < 0.2) {
        redis.failOver(chance.pick(past))
        this.toldFirst.clear()
        past.length = 0
        this.counts.failovers++
      } else if (share < 0.22) redis.evictBarrier()
      if (redis.down && chance.hits(0.4)) redis.down = undefined
    }
  }

  async #ask(chance: Chance): Promise<void> {
    const { database, redis } = this.world
    const ids = Array.from({ length: schedule.inserts }, (_, id) => String(id))
    const entity = this.process.entity
    while (!this.#isOver) {
      await this.pause(chance, 12)
      const asked = ids.filter((id) => database.rows(entityName, [id]).length > 0)
      if (asked.length === 0) continue
      const lookups = await this.l2.lookup(
        entity,
        asked,
        asked.map(() => true),
      )
      for (const [place, id] of asked.entries())
        this.#judge(id, lookups[place] as Lookup, redis.identity)
    }
  }

  #judge(id: string, lookup: Lookup, identity: string): void {
    this.counts.asked++
    if (lookup.kind !== 'refused') return
    this.counts.refused++
    const { barrier } = lookup.refusal
    if (this.world.database.rows(entityName, [id], barrier).length > 0) {
      this.violation ??= `id ${id} is refused, and the barrier beside the filter sees it`
    } else if (this.addedTo.get(id) === identity) {
      this.violation ??= `id ${id} is refused, and the library had added it to this Redis`
    }
  }

  /** Each call takes its time, there and back. */
  #slow<P extends object>(port: P, name: string): P {
    const chance = this.chance.of(name)
    const mostMs = name === 'scan' ? 20 : 15
    return new Proxy(port, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key)
        if (typeof value !== 'function' || isAtOnce(key)) return value
        return async (...args: unknown[]) => {
          await this.pause(chance, mostMs)
          const answer: unknown = await value.apply(target, args)
          if (key === 'invalidate') this.#noteTold(args, answer)
          await this.pause(chance, mostMs)
          return answer
        }
      },
    })
  }

  #noteTold([, drops]: unknown[], answer: unknown): void {
    if ((answer as { kind: string }).kind !== 'dropped') return
    for (const { id } of drops as { id: string }[]) this.toldFirst.add(id)
  }
}

function isAtOnce(key: string | symbol): boolean {
  return (
    key === 'seedOf' ||
    key === 'rest' ||
    key === 'pages' ||
    key === 'filled' ||
    typeof key === 'symbol'
  )
}

/** The ids of the rows, as they are when a page is asked for. */
function memoryScan(database: MemoryDatabase): IdScan {
  const ids = Array.from({ length: mostIds }, (_, id) => String(id))
  return {
    canResume: true,
    count: async () => ids.length,
    pages: async function* () {
      const rows = database.rows(entityName, ids) as readonly { readonly id: string }[]
      yield { ids: rows.map(({ id }) => id), next: undefined }
    },
    xid: async () => {
      const xid: Xid = database.takeXid()
      database.finish(xid, 'committed')
      return { incarnation: database.incarnation, xid }
    },
    stateOf: async (start: ScanStart) => {
      if (start.incarnation !== database.incarnation) return 'outlived'
      return database.snapshot().xmin >= start.xid ? 'ended' : 'open'
    },
    rest: () => {},
  }
}

export function runBloomSchedule(
  seed: number,
  mutant?: keyof typeof bloomMutants,
): Promise<BloomOutcome> {
  return new BloomWorld(seed, mutant && bloomMutants[mutant]).run()
}
