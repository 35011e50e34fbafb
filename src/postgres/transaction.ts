/** The transaction of a write (DESIGN §5.1–5.3): one of the library's own, or the caller's. */
import { type Client, escapeLiteral, type QueryResult } from 'pg'
import { wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { CommitOutcome, EntityIds, Recorded, Transaction } from '../model/source-port.ts'
import { sleep } from '../resilience/deadline.ts'
import { brokenBy, closeAfter } from './abort.ts'
import { failureOver } from './broken-connection.ts'
import { isInProgress, outcomeOf, overPool } from './outcome.ts'
import { outermostOf } from './outermost.ts'
import { type RawClient, type Turns, type Tx, unavailable } from './pool.ts'
import { type RecordedRows, recordIn, type WriteOptions } from './record.ts'
import { isBroken } from './retryable.ts'
import { selectVersions, type VersionsRow, versionsOf } from './versions.ts'

/** How often a transaction that the caller ends is looked at. */
const lookAgainMs = 1_000

interface Begun {
  readonly tx: Tx
  readonly turns: Turns
  readonly connection: Client
  readonly release: () => Promise<void>
}

export class OwnTransaction implements Transaction<Tx> {
  readonly handle: Tx
  readonly #begun: Begun
  readonly #connection: Client
  readonly #options: WriteOptions
  #recorded: RecordedRows | undefined
  #finished: Promise<void> | undefined

  constructor(begun: Begun, options: WriteOptions) {
    this.handle = begun.tx
    this.#begun = begun
    this.#connection = begun.connection
    this.#options = options
  }

  failureOf(error: unknown): unknown {
    return failureOver(this.#connection, error)
  }

  async record(keys: readonly EntityIds[]): Promise<Recorded> {
    // Statements that the callback has not awaited belong to the write as well.
    await this.#begun.turns.quiet()
    const broken = brokenBy(this.#connection)
    if (broken !== undefined) throw unavailable(broken)
    if (this.handle.isCompleted() || isOutsideTransaction(this.#connection)) {
      throw new LockstepError(
        'WRITE_ENDED_EARLY',
        'the callback ended the transaction itself; return instead, and lockstep commits, or throw, and it rolls back',
      )
    }
    try {
      this.#recorded = await recordIn(this.#connection, this.#options, keys)
      return this.#recorded
    } catch (error) {
      throw failureOver(this.#connection, error)
    }
  }

  async commit(): Promise<CommitOutcome> {
    const { clock, outcomeDeadlineMs } = this.#options
    const endWatch = closeAfter(outcomeDeadlineMs, this.#connection, clock, 'leave')
    this.#begun.turns.close()
    try {
      // One round trip, two transactions: the versions are those of after the COMMIT.
      const namespace = escapeLiteral(this.#options.namespace)
      const answers: unknown = await this.#connection.query(
        `commit; select ${selectVersions(namespace)}`,
      )
      const [{ command }, { rows }] = answers as [QueryResult, QueryResult<VersionsRow>]
      if (command === 'ROLLBACK') return { kind: 'aborted' }
      return { kind: 'committed', versions: versionsOf(rows[0]?.versions ?? null) }
    } catch (error) {
      if (!this.#recorded) throw error
      const outcome = await outcomeOf(this.#recorded, this.#options)
      if (outcome.kind === 'aborted' && !isBroken(error)) throw error
      return outcome
    } finally {
      endWatch()
      await this.#finish()
    }
  }

  async rollback(): Promise<void> {
    if (this.#finished !== undefined) return this.#finished
    this.#begun.turns.close()
    const { clock, outcomeDeadlineMs } = this.#options
    const endWatch = closeAfter(outcomeDeadlineMs, this.#connection, clock)
    await this.#connection.query('rollback').catch(() => {})
    endWatch()
    await this.#finish()
  }

  /** Once: a callback that fails late must not give the connection back a second time. */
  #finish(): Promise<void> {
    this.#finished ??= this.#end()
    return this.#finished
  }

  async #end(): Promise<void> {
    // Knex has to know that its transaction is over; PostgreSQL takes a second ROLLBACK as a no-op.
    if (!this.handle.isCompleted()) await this.handle.rollback().catch(() => {})
    await this.#begun.release()
  }
}

/** A Knex transaction that its caller ends, whenever that may be. */
export class JoinedTransaction implements Transaction<Tx> {
  readonly handle: Tx
  readonly #options: WriteOptions
  readonly #abandoned = new AbortController()
  #recorded: RecordedRows | undefined
  #isEnded = false

  /** Throws `OPTION_INVALID` for what is no open Knex transaction of PostgreSQL. */
  constructor(tx: Tx, options: WriteOptions) {
    const client = tx?.isTransaction === true ? (tx.client as unknown as RawClient) : undefined
    if (client?.dialect !== 'postgresql') {
      throw wrong('tx', tx, 'an open Knex transaction of this database would do')
    }
    if (tx.isCompleted()) {
      throw new LockstepError('OPTION_INVALID', 'option "tx" is a transaction that has ended')
    }
    this.handle = tx
    this.#options = options
  }

  async record(keys: readonly EntityIds[]): Promise<Recorded> {
    const connection = await (this.handle.client as unknown as RawClient).acquireConnection()
    if (this.handle.isCompleted() || isOutsideTransaction(connection)) {
      throw new LockstepError(
        'WRITE_ENDED_EARLY',
        'the transaction that the write was to join has ended already',
      )
    }
    try {
      this.#recorded = await recordIn(connection, this.#options, keys)
      return this.#recorded
    } catch (error) {
      throw failureOver(connection, error)
    }
  }

  /** Waits until the caller has ended it; a savepoint's end is not the end. */
  async commit(): Promise<CommitOutcome> {
    await Promise.race([this.#ended(), this.#endedUnnoticed()])
    if (!this.#recorded || this.#abandoned.signal.aborted) return { kind: 'unknown' }
    return outcomeOf(this.#recorded, this.#options, overPool(this.#options))
  }

  /** To roll back is the caller's; nobody waits for it any more. */
  async rollback(): Promise<void> {
    this.#abandoned.abort()
  }

  async #ended(): Promise<void> {
    await outermostOf(this.handle).executionPromise?.catch(() => {})
    this.#isEnded = true
  }

  /** By a statement of the caller's own, or with its connection: Knex hears of neither. */
  async #endedUnnoticed(): Promise<void> {
    const { signal } = this.#abandoned
    for (;;) {
      await sleep(lookAgainMs, signal, this.#options.clock)
      if (signal.aborted || this.#isEnded || !this.#recorded) return
      const isOpen = await isInProgress(this.#recorded, this.#options, signal).catch(() => true)
      if (!isOpen) return
    }
  }
}

/** Outside a transaction the outbox row would not stand and fall with the caller's statements. */
function isOutsideTransaction(connection: Client): boolean {
  // Tells what PostgreSQL said with its last answer: I for idle, outside a transaction.
  const { getTransactionStatus } = connection as { getTransactionStatus?: () => string }
  return getTransactionStatus?.call(connection) === 'I'
}
