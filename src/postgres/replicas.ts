/**
 * Loads from hot standbys (DESIGN §4.5). A standby is behind by as much as it likes, so a load there
 * begins with a question over the same connection: does it see all that `least`, a snapshot which
 * the primary gave after `acquire`, sees? Replay only moves forward, so what it saw then the loader
 * sees too, and the rows carry `least`. Where the answer is no, no rows are read.
 *
 * Xids mean something only within one life of one server. So it has to be a standby, before the rows
 * and after them (a promoted one goes its own way), and it has to have replayed the beginning of the
 * primary's incarnation (one that follows another server has not).
 */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import type { Logger } from '../model/log.ts'
import { doubts, parseSnapshot, type Snapshot, type Xid } from '../model/snapshot.ts'
import type { Replicas } from '../model/source-port.ts'
import { abortable } from '../resilience/deadline.ts'
import { hold } from './abort.ts'
import type { Pool, RawClient } from './pool.ts'
import { isRetryable } from './retryable.ts'
import { runLoader } from './run-loader.ts'

export interface PostgresReplicasOptions {
  readonly pools: readonly Pool[]
  /** For a connection and the answer whether it is of use; the primary gets what is left of the load's deadline. */
  readonly askDeadlineMs: number
  readonly clock: Clock
  readonly log: Logger
}

export class PostgresReplicas implements Replicas {
  readonly #replicas: readonly Replica[]
  #turn = 0

  constructor(options: PostgresReplicasOptions) {
    this.#replicas = options.pools.map((pool, index) => new Replica(pool, index, options))
  }

  get isReady(): boolean {
    return this.#replicas.some(({ rest }) => rest.isOver)
  }

  async load(
    entity: AnyEntity,
    ids: readonly unknown[],
    least: Snapshot,
    signal: AbortSignal,
  ): Promise<readonly unknown[] | undefined> {
    return this.#next()?.load(entity, ids, least, signal)
  }

  /** Round robin over those that are not at rest. */
  #next(): Replica | undefined {
    const count = this.#replicas.length
    for (let tried = 0; tried < count; tried++) {
      const replica = this.#replicas[this.#turn++ % count] as Replica
      if (replica.rest.isOver) return replica
    }
    return undefined
  }
}

/** Why a replica was of no use. */
type Refusal = 'behind' | 'cancelled' | 'no standby' | 'another incarnation' | 'failed'

/** All in a day's work: somebody should look at it only when it goes on. */
const passing: ReadonlySet<Refusal> = new Set<Refusal>(['behind', 'cancelled'])

const messages: Readonly<Record<Refusal, string>> = {
  behind: 'a replica lags behind; the primary is asked',
  cancelled: 'a replica cancels what conflicts with its replay; the primary is asked',
  'no standby': 'a replica is no standby (any more); the primary is asked',
  'another incarnation': 'a replica does not follow the primary (yet); the primary is asked',
  failed: 'a replica cannot be asked; the primary is',
}

class Replica {
  readonly rest: Rest
  readonly #pool: Pool
  readonly #askDeadlineMs: number
  readonly #clock: Clock

  constructor(pool: Pool, index: number, options: PostgresReplicasOptions) {
    this.rest = new Rest(index, options.clock, options.log)
    this.#pool = pool
    this.#askDeadlineMs = options.askDeadlineMs
    this.#clock = options.clock
  }

  async load(
    entity: AnyEntity,
    ids: readonly unknown[],
    least: Snapshot,
    signal: AbortSignal,
  ): Promise<readonly unknown[] | undefined> {
    const pool = this.#pool
    const giveUp = new AbortController()
    const follow = (): void => giveUp.abort(signal.reason)
    if (signal.aborted) follow()
    signal.addEventListener('abort', follow, { once: true })
    const late = (): void => giveUp.abort(new Error(`no answer in ${this.#askDeadlineMs} ms`))
    const endWait = this.#clock.after(this.#askDeadlineMs, late)
    const endTry = this.rest.try()
    let isLoading = false
    try {
      return await this.#withConnection(giveUp.signal, async (connection) => {
        const refusal = await refusalOf(connection, least)
        endWait()
        if (refusal) {
          this.rest.begin(refusal)
          return undefined
        }
        isLoading = true
        const rows = await runLoader({ pool, connection, entity, ids, signal: giveUp.signal })
        if (!(await isStandby(connection))) {
          this.rest.begin('no standby')
          throw new Error('the replica was promoted while it was read')
        }
        this.rest.end()
        return rows
      })
    } catch (error) {
      // What the loader itself threw says nothing about the replica.
      if (giveUp.signal.aborted || !isLoading || isRetryable(error)) {
        this.rest.begin(isConflict(error) ? 'cancelled' : 'failed', error)
      }
      if (isLoading || signal.aborted) throw error
      return undefined
    } finally {
      endTry()
      endWait()
      signal.removeEventListener('abort', follow)
    }
  }

  async #withConnection<T>(
    signal: AbortSignal,
    run: (connection: Client) => Promise<T>,
  ): Promise<T> {
    const held = hold(this.#pool.knex.client as RawClient, signal)
    // A connection that comes when nobody waits any more has been given back by `hold`.
    held.catch(() => {})
    const { connection, release } = await abortable(held, signal)
    try {
      return await abortable(run(connection), signal)
    } finally {
      await release()
    }
  }
}

/** PostgreSQL manual, 27.4.2 "Handling Query Conflicts". */
function isConflict(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === '40001'
}

interface Span {
  readonly firstMs: number
  readonly longestMs: number
}

const shortRest: Span = { firstMs: 20, longestMs: 1_000 }
const longRest: Span = { firstMs: 1_000, longestMs: 10_000 }

/**
 * A replica that was of no use is left alone for a while, twice as long each time, and then tried by
 * one load: one that is down must not cost each load a deadline, nor one that lags a round trip.
 */
class Rest {
  readonly #index: number
  readonly #clock: Clock
  readonly #log: Logger
  #inVain = 0
  #untilMs = Number.NEGATIVE_INFINITY
  #trying = 0
  #told: Refusal | undefined

  constructor(index: number, clock: Clock, log: Logger) {
    this.#index = index
    this.#clock = clock
    this.#log = log
  }

  get isOver(): boolean {
    if (this.#inVain > 0 && this.#trying > 0) return false
    return this.#clock.monotonicMs() >= this.#untilMs
  }

  /** The returned function ends the try. */
  try(): () => void {
    this.#trying++
    return () => {
      this.#trying--
    }
  }

  begin(refusal: Refusal, error?: unknown): void {
    const isPassing = passing.has(refusal)
    const { firstMs, longestMs } = isPassing ? shortRest : longRest
    const now = this.#clock.monotonicMs()
    // Loads that were sent together fail together: that is once.
    if (now >= this.#untilMs) this.#inVain++
    const restMs = Math.min(longestMs, firstMs * 2 ** (this.#inVain - 1))
    this.#untilMs = now + restMs
    if (this.#told === refusal || (isPassing && restMs < longestMs)) return
    this.#told = refusal
    const details = { replica: this.#index, ...(error === undefined ? {} : { err: error }) }
    this.#log.warn(details, messages[refusal])
  }

  end(): void {
    this.#inVain = 0
    this.#untilMs = Number.NEGATIVE_INFINITY
    if (this.#told) this.#log.info({ replica: this.#index }, 'a replica is asked again')
    this.#told = undefined
  }
}

// ---- what a replica is asked

interface StandbyRow {
  readonly is_standby: boolean
  readonly snapshot: string
  readonly incarnation: string | null
}

const standbyStatement = `
  select pg_is_in_recovery() as is_standby, pg_current_snapshot()::text as snapshot,
    (select id from lockstep.last_incarnation) as incarnation`

// What has ended by the time of one statement is seen by the snapshot of every later one.
const statusStatement = `
  select exists (select from unnest($1::xid8[]) as x (id)
    where pg_xact_status(x.id) = 'in progress') as is_behind`

/** `undefined`: whatever this connection reads from now on sees all that `least` sees. */
async function refusalOf(connection: Client, least: Snapshot): Promise<Refusal | undefined> {
  const { rows } = await connection.query<StandbyRow>(standbyStatement)
  const [row] = rows
  if (!row?.is_standby) return 'no standby'
  if (row.incarnation !== least.incarnation) return 'another incarnation'
  const open = doubts(parseSnapshot(row.snapshot, least.incarnation), least)
  if (!open || (open.length > 0 && (await isAnyInProgress(connection, open)))) return 'behind'
  return undefined
}

async function isAnyInProgress(connection: Client, xids: readonly Xid[]): Promise<boolean> {
  const { rows } = await connection.query<{ is_behind: boolean }>(statusStatement, [xids])
  return rows[0]?.is_behind ?? true
}

async function isStandby(connection: Client): Promise<boolean> {
  const { rows } = await connection.query<{ is_standby: boolean }>(
    'select pg_is_in_recovery() as is_standby',
  )
  return rows[0]?.is_standby ?? false
}
