import { wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { Transaction } from '../model/source-port.ts'
import { outermostOf } from '../postgres/outermost.ts'
import type { Tx } from '../postgres/pool.ts'
import type { MemoryTransaction } from './memory-source.ts'
import type { AutoClock } from './test-clock.ts'

interface Query {
  readonly sql: string
}

/** What is in memory stands and falls with a Knex transaction of the test's own. */
export function joinKnex(
  tx: Tx,
  memory: MemoryTransaction,
  check: (tx: Tx) => Promise<void>,
): Transaction<Tx> {
  if (tx?.isTransaction !== true || tx.isCompleted()) {
    throw wrong(
      'tx',
      tx,
      'an open Knex transaction, or what the callback of another write was given would do',
    )
  }
  const outermost = outermostOf(tx)
  let last = ''
  outermost.on('query', ({ sql }: Query) => {
    last = sql
  })
  // After it: a load that begins in between then sees more than it says, and never less.
  const ended = outermost.executionPromise?.catch(() => {}) ?? Promise.resolve()
  void ended.then(async () => {
    if (/^\s*commit\b/i.test(last)) await memory.commit()
    else await memory.rollback()
  })
  return {
    handle: tx,
    record: async (keys) => {
      await check(tx)
      return memory.record(keys)
    },
    commit: () => memory.ended,
    rollback: async () => {},
  }
}

/** A connection of pg. */
interface Connection {
  query(sql: string): Promise<unknown>
  /** What PostgreSQL said with its last answer: I for idle, outside a transaction. */
  getTransactionStatus?(): string
}

/** Throws what the statement of the outbox row would, which a test does without. */
export async function checkOpen(tx: Tx, clock: AutoClock, whyNot: string): Promise<void> {
  if (tx.isCompleted() || (await clock.outside(() => isOutsideTransaction(tx)))) {
    throw new LockstepError('WRITE_ENDED_EARLY', whyNot)
  }
}

/** `false` where another database or a stub stands in. */
async function isOutsideTransaction(tx: Tx): Promise<boolean> {
  const client = tx.client as { acquireConnection?(): Promise<Connection> } | undefined
  const connection = await client?.acquireConnection?.()
  if (!connection?.getTransactionStatus) return false
  // Fails in a transaction that has failed; of that the status tells only some time after the error.
  await connection.query('select 1')
  return connection.getTransactionStatus() === 'I'
}
