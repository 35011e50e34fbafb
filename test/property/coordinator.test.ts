/**
 * The coordinator under random schedules: several processes over one Redis and one PostgreSQL in
 * memory. Every call is delayed at will, there and back; Redis evicts, is flushed, answers too late;
 * messages are lost; the database crashes; the wall clock is set. An oracle that knows when each
 * version was committed and acknowledged judges every answer: I1, I3, I4, I10, and that all is one
 * when all is quiet.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ReadRequest } from '../../src/coordinator/wanted.ts'
import { seededRandom } from '../../src/demo/random.ts'
import { LockstepError } from '../../src/model/errors.ts'
import type { L2, Log, Outbox, Replicas, Source, Transaction } from '../../src/model/ports.ts'
import { covers, type Snapshot } from '../../src/model/snapshot.ts'
import { deferred } from '../../src/resilience/deadline.ts'
import { MemoryTopic, memoryLog } from '../../src/testing/memory-log.ts'
import type { MemoryRedisState } from '../../src/testing/memory-redis.ts'
import { over } from '../support/over.ts'
import type { MemoryTx } from '../support/ports.ts'
import {
  type City,
  cityEntity,
  type Process,
  startProcess,
  timing,
  World,
} from '../unit/coordinator/process.ts'

const ids = [1, 2]
/** Short, so that a schedule is many of them. */
const boundMs = 200
const pollIntervalMs = 50

interface Trouble {
  /** Redis evicts and is flushed. */
  readonly evicts: boolean
  /** Calls to Redis are answered too late, and done later still, or never. */
  readonly losesCalls: boolean
  readonly crashes: boolean
  readonly stepsClock: boolean
  /** Loads may go to replicas, which lag. */
  readonly hasReplicas: boolean
  /** The durable plane is a log; else every process tails the outbox. */
  readonly hasLog: boolean
  /** Records of the log are lost or come twice, readers lose their place, the log is down. */
  readonly losesRecords: boolean
  /** Another Redis takes over, which remembers what that one did some time ago. */
  readonly rollsBack: boolean
  /** Relays are cut off, or end. */
  readonly relaysDie: boolean
}

interface Version {
  readonly id: number
  readonly number: number
  state: 'open' | 'committed' | 'aborted'
  committedAtMs: number
  /** Step of the schedule in which the write's call returned, if it was fenced. */
  ackedAt: number
  ticket: string | undefined
  /** Written past the cache: Redis hears of it after its commit. */
  readonly isForeign?: true
}

class Schedule {
  readonly world: World
  readonly #topic: MemoryTopic
  /** Writes of others reach it, so that strong and bounded reads want proof. */
  readonly #foreignWrites: boolean
  /** No message of the fast plane arrives. */
  readonly #isDeaf: boolean
  /** Rows are soon removed, or never. */
  readonly #retentionMs: number
  #saved: MemoryRedisState[] = []
  readonly random: () => number
  readonly versions: Version[] = []
  readonly violations: string[] = []
  readonly #trouble: Trouble
  readonly #locks = new Map<number, Promise<void>>()
  readonly #underWay = new Set<Promise<void>>()
  /** The newest version of the cache's own writes that a strong read has seen. */
  readonly #seen = new Map<number, number>()
  /** What the replica shows. */
  #replayed: Snapshot
  #step = 0
  #isStarted = false
  answers = 0

  constructor(seed: number, trouble: Trouble) {
    this.random = seededRandom(seed)
    this.#trouble = trouble
    this.world = new World({ hasLog: trouble.hasLog })
    this.#topic = new MemoryTopic(this.world.clock, 2)
    this.#foreignWrites = this.chance(0.3)
    this.#isDeaf = this.chance(0.4)
    this.#retentionMs = this.pick([500, 300_000])
    for (const id of ids) {
      this.world.database.putUnnoticed('city', id, { id, name: '0' })
      this.versions.push({
        id,
        number: 0,
        state: 'committed',
        committedAtMs: 0,
        ackedAt: 0,
        ticket: undefined,
      })
    }
    this.#replayed = this.world.database.snapshot()
  }

  chance(share: number): boolean {
    return this.random() < share
  }

  pick<T>(some: readonly T[]): T {
    return some[Math.floor(this.random() * some.length)] as T
  }

  async run(): Promise<void> {
    const { world } = this
    const { clock, database } = world
    const processes = await Promise.all([this.#start(false), this.#start(true), this.#start(false)])
    this.#isStarted = true
    for (let step = 0; step < 80; step++) {
      const one = this.pick(processes)
      const kind = this.random()
      if (kind < 0.18) this.#track(this.#write(one))
      else if (kind < 0.3) this.#track(this.#writeElsewhere())
      else if (kind < 0.9) this.#track(this.#read(one))
      else if (kind < 0.95) this.#evict()
      else if (kind < 0.97 && this.#trouble.crashes) database.crash()
      else if (this.#trouble.stepsClock) clock.stepWall(this.pick([-120_000, -500, 500, 70_000]))
      if (this.chance(0.4)) this.#replayed = database.snapshot()
      this.#makeTrouble(processes)
      await clock.advance(this.pick([0, 0, 1, 5, 20, 60, 250]))
    }
    await clock.advance(10_000)
    if (this.#underWay.size > 0) this.violations.push(`${this.#underWay.size} calls never end`)
    await this.#judgeQuiet(processes)
    let open = processes.length
    for (const one of processes) void one.close().then(() => open--)
    // What was given up, and is done later still.
    await clock.advance(5_000)
    if (open > 0) this.violations.push(`${open} processes do not close`)
    if (clock.timers > 0) this.violations.push(`${clock.timers} timers are left`)
    if (database.openTransactions > 0) this.violations.push('a transaction is left open')
  }

  // ---- the parts, and what is done to them

  async #start(writeThrough: boolean): Promise<Process> {
    const started = startProcess(this.world, {
      entity: cityEntity({
        writeThrough,
        ttl: '3s',
        grace: '2s',
        foreignWrites: this.#foreignWrites,
        load: (some, { db, signal }) => this.#load(some, db, signal),
      }),
      isTold: false,
      ...(this.#trouble.hasLog ? { source: this.#slowLog(memoryLog(this.#topic, 'shop')) } : {}),
      retentionMs: this.#retentionMs,
      boundMs,
      pollIntervalMs,
      // Without a lag every poll moves the floor, and slow loads have to be kept out.
      ...(this.chance(0.5) ? { floorLagMs: 0 } : {}),
      wrapL2: (l2) => this.#slowL2(l2),
      wrapSource: (source) => this.#slowSource(source),
      wrapOutbox: (outbox) => this.#slowOutbox(outbox),
    })
    await this.world.clock.advance(1_000)
    const one = await started
    this.world.redis.fastPlane().listen((message) => {
      if (this.#isDeaf || this.chance(0.3)) return
      for (let copies = this.chance(0.2) ? 2 : 1; copies > 0; copies--) {
        void this.#pause().then(() => one.hear(message))
      }
    })
    return one
  }

  #makeTrouble(processes: readonly Process[]): void {
    const { losesRecords, relaysDie, rollsBack } = this.#trouble
    const { database, redis } = this.world
    if (rollsBack) {
      if (this.chance(0.3)) this.#saved = [...this.#saved, redis.save()].slice(-30)
      if (this.chance(0.06) && this.#saved.length > 0) {
        const [oldest] = this.#saved as [MemoryRedisState]
        redis.failOver(this.chance(0.5) ? oldest : this.pick(this.#saved))
        this.#saved = []
      }
      if (this.chance(0.03)) redis.evictBarrier()
    }
    if (losesRecords && this.chance(0.25)) {
      const topic = this.#topic
      const acts = [
        'drop',
        'drop',
        'drop',
        'repeat',
        'rebalance',
        'stop',
        'start',
        'start',
      ] as const
      topic[this.pick(acts)]()
    }
    if (relaysDie) {
      // Cut off without knowing: two of them relay.
      if (this.chance(0.1)) for (const { instance } of processes) database.resign(instance)
      if (this.chance(0.03)) void this.pick(processes.slice(1)).relay.close()
    }
  }

  #slowLog(log: Log): Log {
    return {
      listen: (listener) => {
        let before = Promise.resolve()
        // In the order in which they lie there, however late.
        const later = (call: () => void): void => {
          const slow = this.chance(0.3)
          before = before.then(async () => {
            if (slow) await this.#pause()
            call()
          })
        }
        return log.listen({
          positioned: (partitions) => later(() => listener.positioned(partitions)),
          heard: (...record) => later(() => listener.heard(...record)),
          lost: (...why) => later(() => listener.lost(...why)),
        })
      },
      publish: (writes, signal) => this.#travelToLog(() => log.publish(writes, signal)),
      barrier: (snapshot, signal) => this.#travelToLog(() => log.barrier(snapshot, signal)),
      close: () => log.close(),
    }
  }

  /** It lies there, and its sender may not hear of that. */
  async #travelToLog(call: () => Promise<void>): Promise<void> {
    await this.#pause()
    await call()
    await this.#pause()
    if (this.#trouble.losesRecords && this.chance(0.1)) throw new Error('the answer is lost')
  }

  #evict(): void {
    if (!this.#trouble.evicts) return
    const { redis } = this.world
    const id = String(this.pick(ids))
    const act = this.pick(['fence', 'value', 'both', 'all'])
    if (act === 'fence' || act === 'both') redis.evictFence('city', id)
    if (act === 'value' || act === 'both') redis.evictValue('city', 1, id)
    if (act === 'all') redis.flush()
  }

  #pause(): Promise<void> {
    const ms = this.pick([0, 0, 0, 1, 3, 10, 40, 150])
    return new Promise((resolve) => this.world.clock.after(ms, resolve))
  }

  async #load(
    some: readonly unknown[],
    db: { rows(e: string, i: readonly unknown[]): readonly object[] },
    signal: AbortSignal,
  ): Promise<City[]> {
    await this.#pause()
    if (this.chance(0.03)) throw new Error('the loader fails')
    signal.throwIfAborted()
    const rows = db.rows('city', some) as City[]
    await this.#pause()
    if (this.chance(0.1)) await this.#pause()
    return rows
  }

  /** The call travels, is done, and its answer travels back; or it is given up, and done later or never. */
  async #travel<T>(call: () => Promise<T>, givenUp: () => T): Promise<T> {
    if (this.#trouble.losesCalls && this.chance(0.1)) {
      if (this.chance(0.7))
        void this.#pause()
          .then(() => this.#pause())
          .then(call)
      await this.#pause()
      return givenUp()
    }
    await this.#pause()
    const answer = await call()
    await this.#pause()
    return answer
  }

  #slowL2(l2: L2): L2 {
    const cause = new Error('Redis did not answer in time')
    const unavailable = { kind: 'unavailable', cause } as const
    return {
      lookup: (entity, some) =>
        this.#travel(
          () => l2.lookup(entity, some),
          () => some.map(() => unavailable),
        ),
      acquire: (entity, some, options) =>
        this.#travel(
          () => l2.acquire(entity, some, options),
          () => some.map(() => unavailable),
        ),
      fill: (entity, fills) =>
        this.#travel(
          () => l2.fill(entity, fills),
          () => fills.map(() => 'unavailable' as const),
        ),
      renew: (entity, leases, leaseMs) =>
        this.#travel(
          () => l2.renew(entity, leases, leaseMs),
          () => leases.map(() => 'unavailable' as const),
        ),
      release: (entity, leases) =>
        this.#travel(
          () => l2.release(entity, leases),
          () => undefined,
        ),
      filled: (...args) => l2.filled(...args),
      invalidate: (write, drops) =>
        this.#travel(
          () => l2.invalidate(write, drops),
          () => unavailable,
        ),
      barrier: (snapshot) =>
        this.#travel(
          () => l2.barrier(snapshot),
          () => [unavailable],
        ),
      restore: (...args) =>
        this.#travel(
          () => l2.restore(...args),
          () => unavailable,
        ),
    }
  }

  #slowSource(source: Source<MemoryTx>): Source<MemoryTx> {
    return {
      ...source,
      replicas: this.#trouble.hasReplicas ? this.#replicas() : undefined,
      begin: async (signal) => {
        await this.#pause()
        return this.#slowTransaction(await source.begin(signal))
      },
    }
  }

  #replicas(): Replicas {
    const { database } = this.world
    const chance = (share: number): boolean => this.chance(share)
    return {
      get isReady() {
        return chance(0.8)
      },
      load: async (entity, some, least, signal) => {
        await this.#pause()
        if (!covers(this.#replayed, least)) return undefined
        await this.#pause()
        if (this.chance(0.1)) throw new Error('the replica is down')
        const rows = (name: string, all: readonly unknown[]): readonly object[] =>
          database.rows(name, all, this.#replayed)
        return entity.load([...some], { db: { rows }, signal })
      },
    }
  }

  #slowTransaction({
    handle,
    record,
    commit,
    rollback,
  }: Transaction<MemoryTx>): Transaction<MemoryTx> {
    const written: number[] = []
    return {
      handle: {
        rows: handle.rows,
        put: (entity, id, row) => {
          written.push(Number((row as City | undefined)?.name))
          return handle.put(entity, id, row)
        },
      },
      record: async (keys) => {
        await this.#pause()
        return record(keys)
      },
      commit: async () => {
        await this.#pause()
        if (this.chance(0.3)) this.#evict()
        const outcome = await commit()
        for (const version of this.versions) {
          if (!written.includes(version.number) || !this.#isThere(version)) continue
          version.state = 'committed'
          version.committedAtMs = this.world.clock.monotonicMs()
        }
        await this.#pause()
        return outcome
      },
      rollback: async () => {
        await this.#pause()
        await rollback()
      },
    }
  }

  /** Under the row's lock: is this what the database has? */
  #isThere({ id, number }: Version): boolean {
    const [current] = this.world.database.rows('city', [id]) as City[]
    return current?.name === String(number)
  }

  #slowOutbox(outbox: Outbox): Outbox {
    const slow = async <T>(call: () => Promise<T>): Promise<T> => {
      if (!this.#isStarted) return call()
      await this.#pause()
      if (this.chance(0.1)) throw new Error('the connection broke')
      const answer = await call()
      await this.#pause()
      if (this.chance(0.1)) await this.#pause()
      return answer
    }
    return over<Outbox>(outbox, {
      poll: (...args) => slow(() => outbox.poll(...args)),
      probe: (...args) => slow(() => outbox.probe(...args)),
      progress: (...args) => slow(() => outbox.progress(...args)),
      page: (...args) => slow(() => outbox.page(...args)),
      mark: async (...args) => {
        if (this.chance(0.2)) throw new Error('the mark is lost')
        await this.#pause()
        return outbox.mark(...args)
      },
    })
  }

  // ---- calls, and the oracle

  #track(call: Promise<void>): void {
    const underWay = call.finally(() => this.#underWay.delete(underWay))
    this.#underWay.add(underWay)
  }

  async #write(one: Process): Promise<void> {
    const id = this.pick(ids)
    const unlock = await this.#lock(id)
    const version: Version = {
      id,
      number: Math.max(...this.versions.map(({ number }) => number)) + 1,
      state: 'open',
      committedAtMs: Infinity,
      ackedAt: Infinity,
      ticket: undefined,
    }
    this.versions.push(version)
    const row = { id, name: String(version.number) }
    const isRolledBack = this.chance(0.1)
    if (this.chance(0.05)) one.outcomes.push(this.pick(['unknown, committed', 'unknown, aborted']))
    try {
      const { ticket, fenced } = await one.writer.write(
        async (tx) => {
          const written = tx.put('city', id, row)
          await this.#pause()
          if (isRolledBack) throw new Error('the callback fails')
          return written
        },
        () => [one.keyOf(id)],
        {
          timeoutMs: timing.writeDeadlineMs,
          retries: 0,
          onFenceFailure: this.pick(['proceed', 'reject']),
        },
      )
      version.ticket = ticket
      if (fenced) version.ackedAt = this.#step++
    } catch {
      // Whether it was written is for the database to say.
    }
    if (version.state === 'open') version.state = 'aborted'
    if (version.state === 'aborted' && version.ackedAt < Infinity) {
      this.violations.push(`version ${version.number} was acknowledged, and is not there`)
    }
    if (version.state === 'aborted' && this.#isThere(version)) {
      this.violations.push(`version ${version.number} was given up, and is there`)
    }
    unlock()
  }

  /** SQL of somebody who doesn't know the cache. */
  async #writeElsewhere(): Promise<void> {
    const id = this.pick(ids)
    const unlock = await this.#lock(id)
    const number = Math.max(...this.versions.map((one) => one.number)) + 1
    this.world.database.putByTrigger('city', id, { id, name: String(number) })
    this.versions.push({
      id,
      number,
      state: 'committed',
      committedAtMs: this.world.clock.monotonicMs(),
      ackedAt: Infinity,
      ticket: undefined,
      isForeign: true,
    })
    unlock()
  }

  async #lock(id: number): Promise<() => void> {
    const before = this.#locks.get(id) ?? Promise.resolve()
    const { promise, resolve } = deferred<void>()
    this.#locks.set(
      id,
      before.then(() => promise),
    )
    await before
    return resolve
  }

  async #read(one: Process): Promise<void> {
    const id = this.pick(ids)
    const { clock } = this.world
    const beganAtMs = clock.monotonicMs()
    const beganStep = this.#step++
    const { request, least, why } = this.#demand(id, beganStep)
    try {
      const { value, tier, isProven } = await one.reader.getEntry(id, request)
      this.answers++
      const number = Number((value as City | undefined)?.name)
      const judge = (atLeast: number, promise: string): void => {
        if (number >= atLeast) return
        this.violations.push(`${promise}: ${number} from ${tier}, ${atLeast} was due (id ${id})`)
      }
      judge(least, why)
      if (!isProven && (request.consistency === 'strong' || this.#foreignWrites)) {
        this.violations.push(`unproven: ${number} from ${tier} (id ${id})`)
      }
      if (request.consistency === 'strong') {
        const seen = this.versions.filter(
          (one) =>
            one.id === id && !one.isForeign && one.number <= number && one.state !== 'aborted',
        )
        this.#seen.set(id, Math.max(this.#seen.get(id) ?? 0, ...seen.map((one) => one.number)))
      }
      if (isProven || tier === 'l1') {
        const dueAtMs = beganAtMs - boundMs
        const due = this.versions.filter(
          (one) => one.id === id && one.state === 'committed' && one.committedAtMs < dueAtMs,
        )
        judge(Math.max(...due.map((one) => one.number)), `I3 (${tier})`)
      }
    } catch (error) {
      const known = error instanceof LockstepError
      if (!known) this.violations.push(`a read failed with ${String(error)}`)
    }
  }

  get #isLinearizable(): boolean {
    const { evicts, losesCalls, crashes, rollsBack, stepsClock } = this.#trouble
    return !evicts && !losesCalls && !crashes && !rollsBack && !stepsClock
  }

  /** What a read asks for, and the oldest version that it may be answered with. */
  #demand(id: number, beganStep: number): { request: ReadRequest; least: number; why: string } {
    const mine = this.versions.filter((one) => one.id === id)
    const kind = this.random()
    const tickets = mine.filter(({ ticket }) => ticket !== undefined)
    if (kind < 0.4) {
      // A Redis that forgets suspends I4: what is proven is judged by I3.
      const { rollsBack } = this.#trouble
      const acked = mine.filter(({ ackedAt }) => !rollsBack && ackedAt < beganStep)
      // While Redis keeps everything, what one strong read has seen the next one sees too.
      const seen = this.#isLinearizable ? (this.#seen.get(id) ?? 0) : 0
      const least = Math.max(0, seen, ...acked.map(({ number }) => number))
      return { request: { consistency: 'strong' }, least, why: 'I4' }
    }
    if (kind < 0.6 && tickets.length > 0) {
      const { ticket, number } = this.pick(tickets)
      return { request: { ticket: ticket as string }, least: number, why: 'I10' }
    }
    return { request: {}, least: 0, why: 'bounded' }
  }

  async #judgeQuiet(processes: readonly Process[]): Promise<void> {
    const { clock, database } = this.world
    // What was applied late by a fill that came late may lie there until then; TTL and janitor are done.
    for (const id of ids) {
      const [truth] = database.rows('city', [id]) as City[]
      const reads = processes.map(({ reader }) =>
        reader.getEntry(id, {}).catch((error: unknown) => error as Error),
      )
      await clock.advance(4_000)
      for (const answer of await Promise.all(reads)) {
        if (answer instanceof Error) continue
        const name = (answer.value as City | undefined)?.name
        if (name !== truth?.name) {
          this.violations.push(
            `when all is quiet: ${name} from ${answer.tier}, ${truth?.name} is there`,
          )
        }
      }
    }
  }
}

async function judge(trouble: Trouble, numRuns: number): Promise<void> {
  let answers = 0
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const schedule = new Schedule(seed, trouble)
      await schedule.run()
      answers += schedule.answers
      expect(schedule.violations).toEqual([])
    }),
    { numRuns, endOnFailure: true },
  )
  expect(answers).toBeGreaterThan(numRuns * 10)
}

const calm: Trouble = {
  evicts: false,
  losesCalls: false,
  crashes: false,
  stepsClock: false,
  hasReplicas: false,
  hasLog: false,
  losesRecords: false,
  rollsBack: false,
  relaysDie: false,
}
const log: Trouble = { ...calm, hasLog: true }
const all: Trouble = {
  evicts: true,
  losesCalls: true,
  crashes: true,
  stepsClock: true,
  hasReplicas: true,
  hasLog: false,
  losesRecords: true,
  rollsBack: true,
  relaysDie: true,
}

test.each<[name: string, Trouble]>([
  ['nothing else happens', calm],
  ['Redis evicts and is flushed', { ...calm, evicts: true }],
  ['Redis answers too late or never', { ...calm, losesCalls: true }],
  ['the database crashes', { ...calm, crashes: true }],
  ['the wall clock is set', { ...calm, stepsClock: true }],
  ['replicas lag', { ...calm, hasReplicas: true }],
  ['replicas lag and Redis evicts', { ...calm, hasReplicas: true, evicts: true }],
  ['relays die', { ...calm, relaysDie: true }],
  ['Redis forgets', { ...calm, rollsBack: true }],
  ['Redis forgets and relays die', { ...calm, rollsBack: true, relaysDie: true }],
  ['all of it', all],
  ['there is a log', log],
  ['the log loses records', { ...log, losesRecords: true }],
  ['the log loses records and relays die', { ...log, losesRecords: true, relaysDie: true }],
  ['Redis forgets beside a log', { ...log, rollsBack: true }],
  ['all of it, and there is a log', { ...all, hasLog: true }],
])(
  'no answer is older than it was promised to be, while %s',
  async (_, trouble) => {
    await judge(trouble, 10)
  },
  30_000,
)
