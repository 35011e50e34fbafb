/** What one instance has of PostgreSQL, put together as `src/lockstep.ts` does it, in a namespace of the test's own. */
import { onTestFinished } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import type { Poll } from '../../src/model/outbox-port.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import type { Recorded, Transaction } from '../../src/model/source-port.ts'
import { register } from '../../src/postgres/namespace.ts'
import { PostgresOutbox } from '../../src/postgres/outbox.ts'
import { kafkaPlane, outboxPlane } from '../../src/postgres/plane.ts'
import { openPool, type Pool, type Tx } from '../../src/postgres/pool.ts'
import { PostgresSource, type SourceOptions } from '../../src/postgres/source.ts'
import { ownNamespace } from '../support/namespace.ts'
import { required } from '../support/world.ts'
import { thing } from './words.ts'

export interface PostgresPlace {
  readonly pool: Pool
  readonly namespace: string
  readonly outbox: PostgresOutbox
  readonly source: PostgresSource
  /** Without a signal it is never given up. */
  poll(since?: Snapshot, signal?: AbortSignal): Promise<Poll>
  /** Rolled back when the test has ended, unless it ended before. */
  begin(signal?: AbortSignal): Promise<Transaction<Tx>>
  /** A write of these ids that commits. */
  write(...ids: string[]): Promise<Recorded>
  /** `lockstep.invalidate` in SQL, which nobody but the outbox tells of. */
  writeForeign(id: string): Promise<void>
  /** Another instance, with a pool and a tail of its own. */
  another(): Promise<PostgresPlace>
}

export interface PostgresPlaceOptions {
  readonly url?: string
  /** With L2 rows are not applied until somebody says so. */
  readonly hasL2?: boolean
  /** On a plane with a log, rows are not published until somebody says so. */
  readonly hasLog?: boolean
  readonly poolSize?: number
  readonly wrap?: (pool: Pool) => Pool
  readonly source?: Partial<SourceOptions>
}

export const never: AbortSignal = new AbortController().signal

export async function openPostgresPlace(
  options: PostgresPlaceOptions = {},
): Promise<PostgresPlace> {
  const { url = required('DATABASE_URL'), hasL2 = true, poolSize = 8, wrap = same } = options
  const plane = options.hasLog ? kafkaPlane('lockstep.test', 4) : outboxPlane
  const namespace = ownNamespace()
  const pool = wrap(openPool({ connectionString: url, pool: { max: poolSize } } as never))
  const registration = { namespace, hasL2, plane, entities: [thing()] }
  const outbox = new PostgresOutbox(pool, registration, systemClock)
  const begun: Transaction<Tx>[] = []
  onTestFinished(async () => {
    outbox.close()
    for (const transaction of begun) await transaction.rollback().catch(() => {})
    await forget(pool, namespace).catch(() => {})
    await pool.close()
  })
  await register(pool, registration, systemClock)
  const source = new PostgresSource({
    pool,
    namespace,
    idleInTransactionMs: 30_000,
    outcomeDeadlineMs: 5_000,
    clock: systemClock,
    ...options.source,
  })
  // As the start of a cache does; it gives a new database its incarnation.
  await outbox.poll(undefined, never)
  const begin = async (signal = never): Promise<Transaction<Tx>> => {
    const transaction = await source.begin(signal)
    begun.push(transaction)
    return transaction
  }
  return {
    pool,
    namespace,
    outbox,
    source,
    poll: (since, signal = never) => outbox.poll(since, signal),
    begin,
    write: async (...ids) => {
      const transaction = await begin()
      const recorded = await transaction.record([{ entity: 'thing', ids }])
      const { kind } = await transaction.commit()
      if (kind !== 'committed') throw new Error(`"committed" was expected, not ${kind}`)
      return recorded
    },
    writeForeign: async (id) => {
      await pool.knex.raw(`select lockstep.invalidate('thing', ?::text, ?)`, [id, namespace])
    },
    another: () => openPostgresPlace(options),
  }
}

function same(pool: Pool): Pool {
  return pool
}

/** Other tests share the database: what is left would be read by nobody, and grow. */
async function forget(pool: Pool, namespace: string): Promise<void> {
  await pool.knex.raw('delete from lockstep.outbox where namespace = ?', [namespace])
  await pool.knex.raw('delete from lockstep.namespaces where name = ?', [namespace])
}
