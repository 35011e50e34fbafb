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
import { LockstepError } from '../../src/model/errors.ts'
import type { L2, Outbox, Replicas, Source, Transaction } from '../../src/model/ports.ts'
import { covers, type Snapshot } from '../../src/model/snapshot.ts'
import { deferred } from '../../src/resilience/deadline.ts'
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

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Trouble {
  /** Redis evicts and is flushed. */
  readonly evicts: boolean
  /** Calls to Redis are answered too late, and done later still, or never. */
  readonly losesCalls: boolean
  readonly crashes: boolean
  readonly stepsClock: boolean
  /** Loads may go to replicas, which lag. */
  readonly hasReplicas: boolean
}

interface Version {
  readonly id: number
  readonly number: number
  state: 'open' | 'committed' | 'aborted'
  committedAtMs: number
  /** Step of the schedule in which the write's call returned, if it was fenced. */
  ackedAt: number
  ticket: string | undefined
}

class Schedule {
  readonly world = new World()
  readonly random: () => number
  readonly versions: Version[] = []
  readonly violations: string[] = []
  readonly #trouble: Trouble
  readonly #locks = new Map<number, Promise<void>>()
  readonly #underWay = new Set<Promise<void>>()
  /** The newest version that a strong read was answered with. */
  readonly #seen = new Map<number, number>()
  /** What the replica shows. */
  #replayed: Snapshot
  #step = 0
  #isStarted = false
  answers = 0

  constructor(seed: number, trouble: Trouble) {
    this.random = randomFrom(seed)
    this.#trouble = trouble
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
    for (let step = 0; step < 60; step++) {
      const one = this.pick(processes)
      const kind = this.random()
      if (kind < 0.3) this.#track(this.#write(one))
      else if (kind < 0.9) this.#track(this.#read(one))
      else if (kind < 0.95) this.#evict()
      else if (kind < 0.97 && this.#trouble.crashes) database.crash()
      else if (this.#trouble.stepsClock) clock.stepWall(this.pick([-120_000, -500, 500, 70_000]))
      if (this.chance(0.4)) this.#replayed = database.snapshot()
      await clock.advance(this.pick([0, 0, 1, 5, 20, 60, 250]))
    }
    await clock.advance(20_000)
    if (this.#underWay.size > 0) this.violations.push(`${this.#underWay.size} calls never end`)
    await this.#judgeQuiet(processes)
    for (const one of processes) await one.close()
    // What was given up, and is done later still.
    await clock.advance(2_000)
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
        load: (some, { db, signal }) => this.#load(some, db, signal),
      }),
      isTold: false,
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
    one.janitor.start()
    this.world.redis.fastPlane().listen((message) => {
      if (this.chance(0.3)) return
      for (let copies = this.chance(0.2) ? 2 : 1; copies > 0; copies--) {
        void this.#pause().then(() => one.hear(message))
      }
    })
    return one
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
    return {
      poll: async (...args) => {
        if (!this.#isStarted) return outbox.poll(...args)
        await this.#pause()
        if (this.chance(0.1)) throw new Error('the connection broke')
        const poll = await outbox.poll(...args)
        await this.#pause()
        if (this.chance(0.1)) await this.#pause()
        return poll
      },
      claim: (...args) => outbox.claim(...args),
      mark: async (...args) => {
        if (this.chance(0.2)) throw new Error('the mark is lost')
        await this.#pause()
        return outbox.mark(...args)
      },
      prune: (...args) => outbox.prune(...args),
    }
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
      if (request.consistency === 'strong') {
        this.#seen.set(id, Math.max(number, this.#seen.get(id) ?? 0))
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
    const { evicts, losesCalls, crashes, stepsClock } = this.#trouble
    return !evicts && !losesCalls && !crashes && !stepsClock
  }

  /** What a read asks for, and the oldest version that it may be answered with. */
  #demand(id: number, beganStep: number): { request: ReadRequest; least: number; why: string } {
    const mine = this.versions.filter((one) => one.id === id)
    const kind = this.random()
    const tickets = mine.filter(({ ticket }) => ticket !== undefined)
    if (kind < 0.4) {
      const acked = mine.filter(({ ackedAt }) => ackedAt < beganStep)
      // While Redis keeps everything, what one strong read has seen the next one sees too.
      const seen = this.#isLinearizable ? (this.#seen.get(id) ?? 0) : 0
      const least = Math.max(seen, ...acked.map(({ number }) => number))
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
      for (const { reader } of processes) {
        const read = reader.getEntry(id, {})
        read.catch(() => {})
        await clock.advance(5_000)
        const answer = await read.catch((error: unknown) => error as Error)
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
}

test.each<[name: string, Trouble]>([
  ['nothing else happens', calm],
  ['Redis evicts and is flushed', { ...calm, evicts: true }],
  ['Redis answers too late or never', { ...calm, losesCalls: true }],
  ['the database crashes', { ...calm, crashes: true }],
  ['the wall clock is set', { ...calm, stepsClock: true }],
  ['replicas lag', { ...calm, hasReplicas: true }],
  ['replicas lag and Redis evicts', { ...calm, hasReplicas: true, evicts: true }],
  [
    'all of it',
    { evicts: true, losesCalls: true, crashes: true, stepsClock: true, hasReplicas: true },
  ],
])(
  'no answer is older than it was promised to be, while %s',
  async (_, trouble) => {
    await judge(trouble, 10)
  },
  30_000,
)
