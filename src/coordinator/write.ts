/**
 * The story of a write (DESIGN §5): write-through and delayed double delete, made exact.
 *
 * 1. A transaction: the caller's statements, then the outbox row, which has the xid.
 * 2. First delete, just before COMMIT: Redis drops the values and keeps a tombstone. From here on
 *    nobody can fill these keys, because no snapshot sees the xid; PostgreSQL itself lifts that,
 *    after COMMIT, after a rollback, after a crash. Nothing to unlock, nothing to leak.
 * 3. COMMIT.
 * 4. Second delete, and with `writeThrough` the new value in the same call.
 * 5. The mark that Redis has been told. Whatever fails from 3 on, some instance finishes.
 */
import { LockstepError } from '../model/errors.ts'
import { refusalOfWrite } from '../model/flags.ts'
import type { Snapshot, WriteId } from '../model/snapshot.ts'
import type { CommitOutcome, Source, Transaction } from '../model/source-port.ts'
import { formatTicket, type Ticket } from '../model/ticket.ts'
import { abortable, withDeadline } from '../resilience/deadline.ts'
import { retry } from '../resilience/retry.ts'
import type { RetryBudget } from '../resilience/retry-budget.ts'
import { byEntity, type DeleteContext, Deletes, type Fenced, type WriteKey } from './deletes.ts'
import type { Probes } from './probes.ts'

type Run<Tx, R> = (tx: Tx) => PromiseLike<R> | R
/** Tells the keys once the callback has returned: a row's id may be made by the database. */
type KeysOf<R> = (value: R) => readonly WriteKey[]

export interface WriteRequest {
  readonly timeoutMs: number
  readonly retries: number
  readonly signal?: AbortSignal | undefined
  readonly onFenceFailure: 'proceed' | 'reject'
  readonly wait?: 'everywhere' | undefined
  /** Whose flags may refuse it. */
  readonly entities?: readonly string[]
  readonly isInvalidation?: boolean
}

export interface WriteResult<R> {
  /** Give it to a later read, on any instance, and that read can't miss this write. */
  readonly ticket: Ticket
  /** What the callback returned. */
  readonly value: R
  /** Redis was told before and after the COMMIT: strong reads are linearizable with this write. */
  readonly fenced: boolean
}

/** A write in a transaction that its caller ends. */
export interface JoinedWriteResult<R> extends WriteResult<R> {
  /** Nothing has committed yet. */
  readonly fenced: false
  /**
   * Resolves when the caller has ended the transaction and Redis has been told: `true` means what
   * `fenced: true` means for other writes; `false` that it was rolled back, or that the outbox will
   * tell. Never rejects.
   */
  readonly fencedAfterCommit: Promise<boolean>
}

/** What became of a joined write; `unknown`: nobody waited for it to the end. */
type JoinedEnd = 'fenced' | 'unfenced' | 'aborted' | 'unknown'

export interface JoinedWrite<R> extends JoinedWriteResult<R> {
  /** Never rejects. */
  readonly ended: Promise<JoinedEnd>
}

export interface WriteContext<Tx> extends DeleteContext {
  readonly probes: Probes
  readonly source: Source<Tx>
  readonly sourceBudget?: RetryBudget
}

interface Ended<R> {
  readonly outcome: CommitOutcome
  readonly fenced: Fenced<R>
}

export class Writer<Tx> {
  readonly #context: WriteContext<Tx>
  readonly #deletes: Deletes
  readonly #underWay = new Set<Promise<unknown>>()
  #isClosed = false

  constructor(context: WriteContext<Tx>) {
    this.#context = context
    this.#deletes = new Deletes(context)
  }

  write<R>(run: Run<Tx, R>, keysOf: KeysOf<R>, request: WriteRequest): Promise<WriteResult<R>> {
    return this.#tracked(async () => {
      this.#checkFlags(request)
      return this.#write(run, keysOf, request)
    })
  }

  /** As `write`, in the caller's transaction: the first delete now, the second when that has committed. */
  join<R>(
    tx: Tx,
    run: Run<Tx, R>,
    keysOf: KeysOf<R>,
    request: WriteRequest,
  ): Promise<JoinedWrite<R>> {
    return this.#tracked(async () => {
      this.#checkFlags(request)
      return this.#join(tx, run, keysOf, request)
    })
  }

  /** Takes no more writes. */
  close(): void {
    this.#isClosed = true
  }

  /** Resolves when every write that is under way has ended. */
  async drain(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay)
  }

  /** Before anything is begun. */
  #checkFlags({ entities = [], isInvalidation = false }: WriteRequest): void {
    const { switchesOf } = this.#context
    for (const entity of entities) {
      const refusal = refusalOfWrite(switchesOf(entity), entity, isInvalidation)
      if (refusal) throw refusal
    }
  }

  async #tracked<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new LockstepError('CLOSED', 'the cache is closed')
    const underWay = work()
    this.#underWay.add(underWay)
    try {
      return await underWay
    } finally {
      this.#underWay.delete(underWay)
    }
  }

  async #write<R>(
    run: Run<Tx, R>,
    keysOf: KeysOf<R>,
    request: WriteRequest,
  ): Promise<WriteResult<R>> {
    const { clock, closing, random, source, sourceBudget: budget } = this.#context
    const isRetryable = (error: unknown): boolean => source.isRetryable(error)
    const { fenced, outcome } = await retry(
      { retries: request.retries, isRetryable, signal: closing, clock, random, budget },
      () => this.#transact(run, keysOf, request),
    )
    // Not an error of the try: once COMMIT was sent, nothing runs again.
    if (outcome.kind !== 'committed') throw notCommitted(outcome.kind)
    return {
      ticket: formatTicket([fenced.recorded.write]),
      value: fenced.value,
      fenced: await this.#deletes.second(fenced, outcome.versions),
    }
  }

  async #join<R>(
    tx: Tx,
    run: Run<Tx, R>,
    keysOf: KeysOf<R>,
    request: WriteRequest,
  ): Promise<JoinedWrite<R>> {
    const transaction = this.#context.source.join(tx)
    const left = 'the transaction is yours to roll back'
    const fenced = await this.#inTime(request, left, (signal) =>
      // Without a snapshot: this transaction may read under one that is older than any of ours.
      this.#fence(transaction, undefined, run, keysOf, request, left, signal),
    )
    const ended = this.#tracked(() => this.#afterCommit(transaction, fenced)).catch(
      () => 'unknown' as const,
    )
    return {
      ticket: formatTicket([fenced.recorded.write]),
      value: fenced.value,
      fenced: false,
      fencedAfterCommit: ended.then((end) => end === 'fenced'),
      ended,
    }
  }

  /** The caller may take its time, or forget the transaction: a close doesn't wait for it. */
  async #afterCommit<R>(transaction: Transaction<Tx>, fenced: Fenced<R>): Promise<JoinedEnd> {
    try {
      const outcome = await abortable(transaction.commit(), this.#context.closing)
      if (outcome.kind !== 'committed') return outcome.kind
      return (await this.#deletes.second(fenced, outcome.versions)) ? 'fenced' : 'unfenced'
    } finally {
      await transaction.rollback()
    }
  }

  // ---- 1 to 3

  async #transact<R>(run: Run<Tx, R>, keysOf: KeysOf<R>, request: WriteRequest): Promise<Ended<R>> {
    const { clock, probes, source } = this.#context
    const snapshot = probes.newest
    const beganAtMs = clock.monotonicMs()
    let transaction: Transaction<Tx> | undefined
    try {
      // Only up to the COMMIT: once that is sent, giving up would leave its outcome unknown.
      const left = 'it was rolled back'
      const fenced = await this.#inTime(request, left, async (signal) => {
        transaction = await this.#begin(source, signal)
        return this.#fence(transaction, snapshot, run, keysOf, request, left, signal)
      })
      const outcome = await (transaction as unknown as Transaction<Tx>).commit()
      transaction = undefined
      return { fenced, outcome }
    } catch (error) {
      // Here, where every abort ends up, and not where the callback fails: it may fail too late.
      if (transaction) await this.#rollBack(transaction, beganAtMs + request.timeoutMs)
      throw error
    }
  }

  /** `left`: how a write that is given up leaves its transaction. */
  #inTime<T>(
    request: WriteRequest,
    left: string,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { clock, closing } = this.#context
    const late = (): Error =>
      new LockstepError(
        'WRITE_TIMEOUT',
        `a write took longer than ${request.timeoutMs} ms; ${left}`,
      )
    const parent = request.signal ? AbortSignal.any([closing, request.signal]) : closing
    return withDeadline(request.timeoutMs, late, parent, clock, work)
  }

  /** A rollback that hangs ends by itself; its caller doesn't wait for it beyond the write's deadline. */
  async #rollBack(transaction: Transaction<Tx>, deadlineAtMs: number): Promise<void> {
    const { clock } = this.#context
    const leftMs = Math.max(0, deadlineAtMs - clock.monotonicMs())
    const late = (): Error => new Error('the rollback took too long')
    const rollback = (): Promise<void> => transaction.rollback()
    await withDeadline(leftMs, late, undefined, clock, rollback).catch(() => {})
  }

  /** A transaction that begins after its caller has gone is rolled back at once. */
  async #begin(source: Source<Tx>, signal: AbortSignal): Promise<Transaction<Tx>> {
    const beginning = source.begin(signal)
    try {
      return await abortable(beginning, signal)
    } catch (error) {
      beginning.then((transaction) => transaction.rollback()).catch(() => {})
      throw error
    }
  }

  async #fence<R>(
    transaction: Transaction<Tx>,
    snapshot: Snapshot | undefined,
    run: Run<Tx, R>,
    keysOf: KeysOf<R>,
    request: WriteRequest,
    left: string,
    signal: AbortSignal,
  ): Promise<Fenced<R>> {
    const value = await this.#called(transaction, run, signal)
    const keys = keysOf(value)
    const recorded = await abortable(transaction.record(byEntity(keys)), signal)
    this.#checkDatabase(recorded.write)
    const first = await this.#deletes.first(keys, recorded)
    if (first?.kind === 'unavailable' && request.onFenceFailure === 'reject') {
      throw new LockstepError(
        'WRITE_NOT_FENCED',
        `Redis could not be told before the COMMIT; ${left}`,
        { cause: first.cause },
      )
    }
    signal.throwIfAborted()
    return { value, keys, recorded, first, snapshot }
  }

  async #called<R>(transaction: Transaction<Tx>, run: Run<Tx, R>, signal: AbortSignal): Promise<R> {
    try {
      return await abortable(Promise.resolve(run(transaction.handle)), signal)
    } catch (error) {
      throw signal.aborted ? error : (transaction.failureOf?.(error) ?? error)
    }
  }

  /** A transaction that its caller brings may be another database's, whose xids mean nothing here. */
  #checkDatabase({ incarnation }: WriteId): void {
    const known = this.#context.probes.incarnation
    if (known === undefined || known === incarnation) return
    throw new LockstepError(
      'WRITE_ABORTED',
      'the transaction belongs to another database than the cache, or the database has begun a new incarnation',
    )
  }
}

function notCommitted(outcome: 'aborted' | 'unknown'): LockstepError {
  return outcome === 'aborted'
    ? new LockstepError(
        'WRITE_ABORTED',
        'PostgreSQL rolled the write back at its COMMIT, or at the end of its connection',
      )
    : new LockstepError(
        'WRITE_OUTCOME_UNKNOWN',
        'the connection broke at COMMIT, and PostgreSQL could not be asked what had happened; if it committed, its invalidation will arrive',
      )
}
