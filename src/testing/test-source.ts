/** The source of a cache under test: in memory, with a Knex of the test's own where there is one. */
import type { AnyEntity } from '../model/entity.ts'
import { wrong } from '../model/entity.ts'
import type { CommitOutcome, Source, Transaction } from '../model/source-port.ts'
import type { Db, Tx } from '../postgres/pool.ts'
import { isRetryableFailure } from '../postgres/retryable.ts'
import { checkOpen, joinKnex } from './join-knex.ts'
import type { MemoryDatabase } from './memory-database.ts'
import { joined, type MemoryTransaction, memorySource, memoryTransaction } from './memory-source.ts'
import { noDatabase } from './no-database.ts'
import type { MemoryTables, Tables } from './tables.ts'
import type { AutoClock } from './test-clock.ts'
import type { TroubleMaker } from './trouble.ts'

const endedInside =
  'the callback ended the transaction itself; return instead, and lockstep commits, or throw, and it rolls back'
const endedBefore = 'the transaction that the write was to join has ended already'

export interface TestSourceOptions<Entities extends Record<string, AnyEntity>> {
  readonly database: MemoryDatabase
  readonly tables: MemoryTables<Entities>
  readonly clock: AutoClock
  readonly trouble: TroubleMaker
  readonly knex: Db | undefined
  readonly tx: ((rows: Tables<Entities>) => unknown) | undefined
}

export function testSource<Entities extends Record<string, AnyEntity>>(
  options: TestSourceOptions<Entities>,
): Source<Tx> {
  const memory = memorySource(options.database)
  const begun = new WeakMap<object, Transaction<Tx>>()
  return {
    load: (...args) => memory.load(...args),
    isRetryable: (error) => memory.isRetryable(error) || isRetryableFailure(error),
    join: (tx) => {
      const known = begun.get(tx)
      if (known) return known
      const transaction = memoryTransaction(options.database, () => 'committed')
      options.tables.bind(tx, options.tables.in(transaction.handle))
      const outer = joinKnex(tx, transaction, (one) => checkOpen(one, options.clock, endedBefore))
      begun.set(tx, outer)
      return outer
    },
    begin: async (signal) => {
      const transaction = (await memory.begin(signal)) as MemoryTransaction
      try {
        const knex = await beginKnex(options, signal)
        const tables = options.tables.in(transaction.handle)
        const handle = knex ?? handleOf(options, tables)
        options.tables.bind(handle, tables)
        const { record, ...inner } = joined(transaction)
        begun.set(handle, {
          ...inner,
          handle: handle as Tx,
          record: async (keys) => {
            if (knex) await checkOpen(knex, options.clock, endedBefore)
            return record(keys)
          },
        })
        return new TestTransaction(options, transaction, handle as Tx, knex)
      } catch (error) {
        await transaction.rollback()
        throw error
      }
    },
  }
}

async function beginKnex(
  { knex, clock }: { readonly knex: Db | undefined; readonly clock: AutoClock },
  signal: AbortSignal,
): Promise<Tx | undefined> {
  if (!knex) return undefined
  const tx = await clock.outside(() => knex.transaction(), signal)
  if (!signal.aborted) return tx
  await tx.rollback()
  throw signal.reason
}

function handleOf<Entities extends Record<string, AnyEntity>>(
  { tx }: TestSourceOptions<Entities>,
  tables: Tables<Entities>,
): object {
  if (!tx) {
    return noDatabase(
      'tx',
      'the callback of a write',
      'testCache({ knex }) with a Knex instance, or testCache({ tx: (rows) => … }) with what your statements need of one would do; a statement that the test brings itself writes with rowsIn(tx)',
    )
  }
  const handle = tx(tables)
  if (typeof handle === 'function' || (typeof handle === 'object' && handle !== null)) return handle
  throw wrong('tx', handle, 'a function (rows) => … that returns an object or a function would do')
}

class TestTransaction<Entities extends Record<string, AnyEntity>> implements Transaction<Tx> {
  readonly handle: Tx
  readonly #options: TestSourceOptions<Entities>
  readonly #memory: MemoryTransaction
  readonly #knex: Tx | undefined

  constructor(
    options: TestSourceOptions<Entities>,
    memory: MemoryTransaction,
    handle: Tx,
    knex: Tx | undefined,
  ) {
    this.#options = options
    this.#memory = memory
    this.handle = handle
    this.#knex = knex
  }

  async record(...args: Parameters<Transaction<Tx>['record']>) {
    if (this.#knex) await checkOpen(this.#knex, this.#options.clock, endedInside)
    return this.#memory.record(...args)
  }

  async commit(): Promise<CommitOutcome> {
    const outcome = this.#options.trouble.takeOutcome()
    if (outcome === 'aborted') {
      await this.rollback()
      return { kind: outcome }
    }
    const knex = this.#knex
    // First: a load that begins in between then sees more than it says, and never less.
    if (knex) await this.#options.clock.outside(() => knex.commit())
    const committed = await this.#memory.commit()
    return outcome === 'committed' ? committed : { kind: outcome }
  }

  async rollback(): Promise<void> {
    const knex = this.#knex
    if (knex && !knex.isCompleted()) await this.#options.clock.outside(() => knex.rollback())
    await this.#memory.rollback()
  }
}
