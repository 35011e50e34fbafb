import { type Duration, durationMs } from '../model/duration.ts'
import { wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { Outbox } from '../model/outbox-port.ts'
import type { Incarnation, Xid } from '../model/snapshot.ts'
import { sleep } from '../resilience/deadline.ts'
import type { MemoryDatabase } from './memory-database.ts'
import type { MemoryRedis } from './memory-redis.ts'
import { RetryableError } from './memory-source.ts'
import type { AutoClock } from './test-clock.ts'

/** Trouble on purpose. Each lasts until `end()`. */
export interface Trouble {
  /** PostgreSQL can't be reached: loads and writes fail with `SOURCE_UNAVAILABLE`. */
  sourceDown(): void
  /** Redis can't be reached: reads go to the source, writes return `fenced: false`. */
  redisDown(): void
  /**
   * Loads (of one entity) return so much later; they have read their rows before. Beyond
   * `timing.loadDeadline` that is a `SOURCE_TIMEOUT`.
   */
  slowLoads(duration: Duration, entity?: string): void
  /**
   * Loads (of one entity) fail with this error, which is the `cause` of a `LOADER_FAILED`; of one
   * that says that PostgreSQL is away (`ECONNRESET`, SQLSTATE 08006), after tries, of a `SOURCE_UNAVAILABLE`.
   */
  failLoads(error?: unknown, entity?: string): void
  /** L1 is emptied, and nothing proves it fresh: every read goes to Redis or the source. */
  loseTrust(): void
  /**
   * What the next COMMIT comes to: `aborted`, the write is rolled back (`WRITE_ABORTED`);
   * `unknown`, it has committed and nobody can say so (`WRITE_OUTCOME_UNKNOWN`).
   */
  nextCommit(outcome: 'aborted' | 'unknown'): void
  /** Ends all of it. L1 is served again from the next poll on: `await clock.advance('1s')`. */
  end(): void
}

interface Place {
  readonly database: MemoryDatabase
  readonly redis: MemoryRedis
  readonly clock: AutoClock
  readonly entities: readonly string[]
}

const nobodysIncarnation = 'ffffffffffffffff' as Incarnation

export class TroubleMaker implements Trouble {
  readonly #place: Place
  /** By entity; `undefined`: of all. */
  #delaysMs = new Map<string | undefined, number>()
  #errors = new Map<string | undefined, unknown>()
  #outcomes: ('aborted' | 'unknown')[] = []
  #isDeaf = false

  constructor(place: Place) {
    this.#place = place
  }

  sourceDown(): void {
    const cause = new RetryableError('trouble.sourceDown()')
    const message = 'PostgreSQL cannot be reached: trouble.sourceDown() was called'
    this.#place.database.down = new LockstepError('SOURCE_UNAVAILABLE', message, { cause })
  }

  redisDown(): void {
    this.#place.redis.down = new Error('Redis cannot be reached: trouble.redisDown() was called')
  }

  slowLoads(duration: Duration, entity?: string): void {
    this.#delaysMs.set(this.#known(entity), durationMs('duration', duration))
  }

  failLoads(error: unknown = new Error('trouble.failLoads() was called'), entity?: string): void {
    this.#errors.set(this.#known(entity), error)
  }

  loseTrust(): void {
    this.#isDeaf = true
    // As when another instance has seen that the database lives another life.
    this.#place.redis.tell({ write: { incarnation: nobodysIncarnation, xid: 1 as Xid }, keys: [] })
  }

  nextCommit(outcome: 'aborted' | 'unknown'): void {
    if (outcome !== 'aborted' && outcome !== 'unknown') {
      throw wrong('outcome', outcome, "'aborted' or 'unknown' would do")
    }
    this.#outcomes = [outcome]
  }

  end(): void {
    this.#place.database.down = undefined
    this.#place.redis.down = undefined
    this.#delaysMs.clear()
    this.#errors.clear()
    this.#outcomes = []
    this.#isDeaf = false
  }

  // ---- what the parts ask

  takeOutcome(): 'committed' | 'aborted' | 'unknown' {
    return this.#outcomes.shift() ?? 'committed'
  }

  /** What a load goes through that has read its rows. */
  async afterRead(entity: string, signal: AbortSignal): Promise<void> {
    const delayMs = this.#delaysMs.get(entity) ?? this.#delaysMs.get(undefined)
    if (delayMs !== undefined) await sleep(delayMs, signal, this.#place.clock)
    for (const whose of [entity, undefined]) {
      if (this.#errors.has(whose)) throw this.#errors.get(whose)
    }
  }

  outbox(): Outbox {
    const { database } = this.#place
    return {
      poll: async (...args) => {
        if (this.#isDeaf) throw new Error('the outbox cannot be read: trouble.loseTrust()')
        return database.poll(...args)
      },
      probe: (...args) => database.probe(...args),
      listen: (...args) => database.listen(...args),
      notify: (...args) => database.notify(...args),
      claim: (...args) => database.claim(...args),
      mark: (...args) => database.mark(...args),
      prune: (...args) => database.prune(...args),
      lead: (...args) => database.lead(...args),
      resign: (...args) => database.resign(...args),
      progress: (...args) => database.progress(...args),
      page: (...args) => database.page(...args),
      repeated: (...args) => database.repeated(...args),
    }
  }

  #known(entity: string | undefined): string | undefined {
    const { entities } = this.#place
    if (entity === undefined || entities.includes(entity)) return entity
    throw wrong('entity', entity, `one of ${entities.join(', ')} would do`)
  }
}
