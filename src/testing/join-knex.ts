import { wrong } from '../model/entity.ts'
import type { Transaction } from '../model/ports.ts'
import type { Tx } from '../postgres/pool.ts'
import type { MemoryTransaction } from './memory-source.ts'

interface Query {
  readonly sql: string
}

/** What Knex' types leave out. */
type KnexTransaction = Tx & {
  readonly executionPromise?: Promise<unknown>
  readonly parentTransaction?: KnexTransaction
}

/** What is in memory stands and falls with a Knex transaction of the test's own. */
export function joinKnex(tx: Tx, memory: MemoryTransaction): Transaction<Tx> {
  if (tx?.isTransaction !== true || tx.isCompleted()) {
    throw wrong(
      'tx',
      tx,
      'an open Knex transaction, or what the callback of another write was given would do',
    )
  }
  let outermost = tx as KnexTransaction
  while (outermost.parentTransaction) outermost = outermost.parentTransaction
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
    record: (keys) => memory.record(keys),
    commit: () => memory.ended,
    rollback: async () => {},
  }
}
