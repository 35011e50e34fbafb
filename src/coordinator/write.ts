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
import type { Clock } from '../model/clock.ts'
import { retries } from '../model/defaults.ts'
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type {
  Drop,
  Dropped,
  EntityIds,
  L2,
  Nonce,
  Recorded,
  Source,
  Transaction,
} from '../model/ports.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { formatTicket, type Ticket } from '../model/ticket.ts'
import { abortable, withDeadline } from '../resilience/deadline.ts'
import { retry } from '../resilience/retry.ts'
import type { WriteCounters } from '../telemetry/counters.ts'
import type { Marks } from './marks.ts'
import type { ToldRegions } from './told.ts'
import type { Trust } from './trust.ts'
import { keyOfRow, type LoadedValue, loadedValue } from './values.ts'

/** One key of a write. */
export interface WriteKey {
  readonly entity: AnyEntity
  readonly id: string
}

export interface WriteRequest {
  readonly timeoutMs: number
  readonly retries: number
  readonly signal?: AbortSignal | undefined
  readonly onFenceFailure: 'proceed' | 'reject'
}

export interface WriteResult<R> {
  /** Give it to a later read, on any instance, and that read can't miss this write. */
  readonly ticket: Ticket
  /** What the callback returned. */
  readonly value: R
  /** Redis was told before and after the COMMIT: strong reads are linearizable with this write. */
  readonly fenced: boolean
}

export interface WriteContext<Tx> {
  readonly source: Source<Tx>
  readonly l2: L2 | undefined
  readonly trust: Trust
  readonly told: ToldRegions
  readonly marks: Marks
  readonly counters: WriteCounters
  readonly clock: Clock
  readonly random: () => number
  readonly closing: AbortSignal
  /** As for reads: false until everybody knows of this schema version. */
  readonly mayFillL2: () => boolean
}

/** What is left of a transaction when its COMMIT has been sent. */
interface Ended<R> {
  readonly outcome: 'committed' | 'aborted' | 'unknown'
  readonly value: R
  readonly keys: readonly WriteKey[]
  readonly recorded: Recorded
  readonly first: Dropped | undefined
  /** Older than the transaction's first statement: what the written rows are labelled with. */
  readonly snapshot: Snapshot | undefined
}

export class Writer<Tx> {
  readonly #context: WriteContext<Tx>
  readonly #underWay = new Set<Promise<unknown>>()
  #isClosed = false

  constructor(context: WriteContext<Tx>) {
    this.#context = context
  }

  /** `keysOf` tells the keys once the callback has returned: a row's id may be made by the database. */
  write<R>(
    run: (tx: Tx) => PromiseLike<R> | R,
    keysOf: (value: R) => readonly WriteKey[],
    request: WriteRequest,
  ): Promise<WriteResult<R>> {
    if (this.#isClosed) return Promise.reject(new LockstepError('CLOSED', 'the cache is closed'))
    const underWay = this.#write(run, keysOf, request).finally(() =>
      this.#underWay.delete(underWay),
    )
    this.#underWay.add(underWay)
    return underWay
  }

  /** Takes no more writes. */
  close(): void {
    this.#isClosed = true
  }

  /** Resolves when every write that is under way has ended. */
  async drain(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay)
  }

  async #write<R>(
    run: (tx: Tx) => PromiseLike<R> | R,
    keysOf: (value: R) => readonly WriteKey[],
    request: WriteRequest,
  ): Promise<WriteResult<R>> {
    const { clock, closing, random, source } = this.#context
    const isRetryable = (error: unknown): boolean => source.isRetryable(error)
    const ended = await retry(
      { retries: request.retries, isRetryable, signal: closing, clock, random },
      () => this.#transact(run, keysOf, request),
    )
    // Not an error of the try: once COMMIT was sent, nothing runs again.
    if (ended.outcome !== 'committed') throw notCommitted(ended.outcome)
    const fenced = await this.#secondDelete(ended)
    return { ticket: formatTicket([ended.recorded.write]), value: ended.value, fenced }
  }

  // ---- 1 to 3

  async #transact<R>(
    run: (tx: Tx) => PromiseLike<R> | R,
    keysOf: (value: R) => readonly WriteKey[],
    request: WriteRequest,
  ): Promise<Ended<R>> {
    const { closing, clock, source, trust } = this.#context
    const late = (): Error =>
      new LockstepError(
        'WRITE_TIMEOUT',
        `a write took longer than ${request.timeoutMs} ms; it was rolled back`,
      )
    const parent = request.signal ? AbortSignal.any([closing, request.signal]) : closing
    const snapshot = trust.newest
    const beganAtMs = clock.monotonicMs()
    let transaction: Transaction<Tx> | undefined
    try {
      // Only up to the COMMIT: once that is sent, giving up would leave its outcome unknown.
      const fenced = await withDeadline(request.timeoutMs, late, parent, clock, async (signal) => {
        transaction = await this.#begin(source, signal)
        return this.#fence(transaction, run, keysOf, request, signal)
      })
      const outcome = await (transaction as unknown as Transaction<Tx>).commit()
      transaction = undefined
      return { ...fenced, snapshot, outcome }
    } catch (error) {
      // Here, where every abort ends up, and not where the callback fails: it may fail too late.
      if (transaction) await this.#rollBack(transaction, beganAtMs + request.timeoutMs)
      throw error
    }
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
    run: (tx: Tx) => PromiseLike<R> | R,
    keysOf: (value: R) => readonly WriteKey[],
    request: WriteRequest,
    signal: AbortSignal,
  ): Promise<Omit<Ended<R>, 'snapshot' | 'outcome'>> {
    const value = await abortable(Promise.resolve(run(transaction.handle)), signal)
    const keys = keysOf(value)
    const recorded = await abortable(transaction.record(byEntity(keys)), signal)
    const first = await this.#drop(keys, recorded)
    if (first?.kind === 'unavailable' && request.onFenceFailure === 'reject') {
      throw new LockstepError(
        'WRITE_NOT_FENCED',
        'Redis could not be told before the COMMIT; the write was rolled back',
        { cause: first.cause },
      )
    }
    signal.throwIfAborted()
    return { value, keys, recorded, first }
  }

  // ---- 2, 4: the two deletes

  async #drop(keys: readonly WriteKey[], recorded: Recorded): Promise<Dropped | undefined> {
    this.#tell(keys, recorded)
    const { l2, counters } = this.#context
    const drops = keys.map((key) => dropOf(key, recorded))
    const first = await l2?.invalidate(recorded.write, drops)
    if (first) counters.firstDelete[first.kind]++
    return first
  }

  /** L1 of this process, at once: its own fast-plane message comes later. */
  #tell(keys: readonly WriteKey[], recorded: Recorded): void {
    for (const { entity, ids } of byEntity(keys)) {
      this.#context.told.tell(entity, ids, recorded.write, this.#context.l2 !== undefined)
    }
  }

  async #secondDelete<R>(ended: Ended<R>): Promise<boolean> {
    const { l2, clock, closing, counters, random, marks } = this.#context
    const { keys, recorded, first } = ended
    this.#tell(keys, recorded)
    if (!l2) return true
    const drops = keys.map((key, index) => {
      const drop = dropOf(key, recorded)
      const through = this.#through(ended, key, index)
      return through ? { ...drop, through } : drop
    })
    try {
      await retry(
        { retries: retries.secondDelete, isRetryable: () => true, signal: closing, clock, random },
        async () => {
          const second = await l2.invalidate(recorded.write, drops)
          counters.secondDelete[second.kind]++
          if (second.kind === 'unavailable') throw second.cause
        },
      )
    } catch {
      // The row stays unapplied, and some instance tells Redis as soon as it can be told.
      return false
    }
    marks.add(recorded.rowIds)
    return first?.kind === 'dropped'
  }

  /** The new value of one key, to be filled in the call of the second delete. */
  #through<R>(ended: Ended<R>, key: WriteKey, index: number): Drop['through'] {
    const { entity } = key
    const { first, recorded, snapshot, value } = ended
    if (!entity.writeThrough || first?.kind !== 'dropped' || !this.#context.mayFillL2())
      return undefined
    if (!snapshot || snapshot.incarnation !== recorded.write.incarnation) return undefined
    const { clock, random } = this.#context
    let written: LoadedValue
    try {
      const row = rowsOf(value).find((one) => String(keyOfRow(entity, one)) === key.id)
      if (row === undefined) return undefined
      written = loadedValue(entity, row, snapshot, clock.monotonicMs(), random)
    } catch {
      // The write has committed; a value that can't be cached is loaded by the next reader.
      return undefined
    }
    if (written.isTooBig) return undefined
    return {
      version: entity.version,
      lease: { id: key.id, nonce: first.nonces[index] as Nonce, tombstones: [] },
      snapshot: { ...snapshot, own: recorded.write.xid },
      payload: written.payload,
      ageMs: 0,
      ttlMs: written.ttlMs,
      graceMs: written.graceMs,
      over: [],
    }
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

/** The rows that a callback returned: one, several, or none. */
export function rowsOf(value: unknown): readonly object[] {
  const rows = Array.isArray(value) ? value : [value]
  return rows.filter((row): row is object => typeof row === 'object' && row !== null)
}

function dropOf({ entity, id }: WriteKey, recorded: Recorded): Drop {
  const known = recorded.versions.get(entity.name) ?? []
  const versions = known.includes(entity.version) ? known : [...known, entity.version]
  return { entity: entity.name, id, versions }
}

function byEntity(keys: readonly WriteKey[]): readonly EntityIds[] {
  const ids = new Map<string, Set<string>>()
  for (const { entity, id } of keys) {
    const known = ids.get(entity.name)
    if (known) known.add(id)
    else ids.set(entity.name, new Set([id]))
  }
  return [...ids].map(([entity, some]) => ({ entity, ids: [...some] }))
}
