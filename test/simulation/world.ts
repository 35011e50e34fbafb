/** What the processes of one schedule share, and what is done to it. */
import type { Clock } from '../../src/model/clock.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import { MemoryDatabase } from '../../src/testing/memory-database.ts'
import { MemoryInstances } from '../../src/testing/memory-instances.ts'
import { MemoryTopic } from '../../src/testing/memory-log.ts'
import { MemoryRedis, type MemoryRedisState } from '../../src/testing/memory-redis.ts'
import { VirtualClock } from '../../src/testing/virtual-clock.ts'
import { Chance } from './chance.ts'
import { RowLocks } from './locks.ts'
import type { Mutation } from './mutation.ts'
import { Oracle } from './oracle.ts'
import type { Item } from './process.ts'
import type { EvictedPart, LogTrouble, Scenario, Schedule } from './schedule.ts'
import type { OpenTransaction } from './transactions.ts'

const boundMs = 200
const mostSaved = 300

export class SimulatedWorld {
  readonly clock = new VirtualClock()
  readonly chance: Chance
  scenario: Scenario
  readonly mutation: Mutation
  readonly redis: MemoryRedis
  readonly database: MemoryDatabase
  readonly instances: MemoryInstances
  readonly topic: MemoryTopic
  readonly oracle: Oracle
  readonly locks = new RowLocks()
  readonly openTransactions = new Set<OpenTransaction>()
  /** What a standby has replayed. */
  replayed: Snapshot
  hasStarted = false
  /** The last that was told to lead. */
  leader: string | undefined
  readonly #offsets = { redis: 0, database: 0 }
  #saved: MemoryRedisState[] = []

  constructor({ seed, scenario }: Schedule, mutation: Mutation) {
    this.scenario = scenario
    this.mutation = mutation
    this.chance = new Chance(seed)
    this.redis = new MemoryRedis(this.#clockOf('redis'))
    this.database = new MemoryDatabase({
      clock: this.#clockOf('database'),
      versions: new Map([['item', scenario.hasVersions ? [1, 2] : [1]]]),
      namespaceHasL2: scenario.hasL2,
      namespaceHasLog: scenario.hasLog,
    })
    mutation.redis?.(this.redis)
    mutation.database?.(this.database)
    this.instances = new MemoryInstances(this.database)
    this.topic = new MemoryTopic(this.clock, 2)
    this.oracle = new Oracle({
      boundMs,
      nowMs: () => this.clock.monotonicMs(),
      foreignWrites: scenario.foreignWrites,
      isLinearizable: isLinearizable(scenario),
    })
    for (const id of this.ids) {
      const number = this.oracle.seed(id)
      this.database.putUnnoticed('item', id, { id, number } satisfies Item)
    }
    this.replayed = this.database.snapshot()
  }

  /** No more troubles: what is under way comes to its end. */
  calm(): void {
    const { scenario } = this
    const none = {
      lostCalls: 0,
      brokenStatements: 0,
      lostMarks: 0,
      failingLoads: 0,
      unknownCommits: 0,
    }
    this.scenario = { ...scenario, ...none, delaysMs: [0, 0, 1] }
    this.topic.start()
  }

  get ids(): readonly number[] {
    return Array.from({ length: this.scenario.ids }, (_, index) => index + 1)
  }

  truth(id: number): number | undefined {
    return (this.database.rows('item', [id]) as Item[])[0]?.number
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.after(ms, resolve))
  }

  #clockOf(place: 'redis' | 'database'): Clock {
    const { clock } = this
    return {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs() + this.#offsets[place],
      defer: (run) => clock.defer(run),
      after: (ms, run) => clock.after(ms, run),
    }
  }

  stepClock(of: 'redis' | 'database', ms: number): void {
    this.#offsets[of] += ms
  }

  // ---- Redis

  save(): void {
    this.#saved = [...this.#saved, this.redis.save()].slice(-mostSaved)
  }

  failOverRedis(howLongAgo: number): void {
    const state = this.#saved.at(-howLongAgo) ?? this.#saved[0]
    if (!state) return
    this.redis.failOver(state)
    this.oracle.redisFailedOver()
    this.#saved = []
  }

  evict(id: number, part: EvictedPart): void {
    const { redis } = this
    const text = String(id)
    if (part === 'fence' || part === 'both') redis.evictFence('item', text)
    if (part === 'value' || part === 'both') {
      for (const version of [1, 2]) redis.evictValue('item', version, text)
    }
    if (part === 'barrier') redis.evictBarrier()
    if (part === 'all') redis.flush()
  }

  // ---- PostgreSQL

  crashPostgres(): void {
    for (const open of [...this.openTransactions]) open.end(false)
    this.database.crash()
    this.replayed = this.database.snapshot()
  }

  failOverPostgres(): void {
    for (const open of [...this.openTransactions]) open.end(false)
    this.database.failOver(this.replayed)
    // Versions of a row follow each other: those up to the last one are there.
    this.oracle.postgresFailedOver(({ id, number }) => number <= (this.truth(id) ?? -1))
    this.replayed = this.database.snapshot()
  }

  replay(): void {
    this.replayed = this.database.snapshot()
  }

  // ---- the log

  troubleLog(trouble: LogTrouble): void {
    this.topic[trouble]()
  }

  endRelay(): void {
    if (this.leader !== undefined) this.database.resign(this.leader)
  }
}

/** Nothing makes Redis forget, or be asked in vain: what one strong read has seen the next one sees. */
function isLinearizable({ hasL2, lostCalls, unknownCommits, weights }: Scenario): boolean {
  const breaking = [
    'evict',
    'fail over Redis',
    'crash PostgreSQL',
    'fail over PostgreSQL',
    'step a clock',
    'suspend',
    'stop',
    'kill',
    'cut off',
  ] as const
  const isCalm = breaking.every((kind) => weights[kind] === 0)
  return hasL2 && isCalm && lostCalls === 0 && unknownCommits === 0
}
