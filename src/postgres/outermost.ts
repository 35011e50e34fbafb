/** Loads no client, so that a cache under test asks it too. */
import type { Tx } from './pool.ts'

/** What Knex' types leave out. */
type KnexTransaction = Tx & {
  /** Settles with the end of the transaction. */
  readonly executionPromise?: Promise<unknown>
  readonly parentTransaction?: KnexTransaction
}

/** The transaction whose end is the end: to Knex a savepoint is one as well. */
export function outermostOf(tx: Tx): KnexTransaction {
  let outermost: KnexTransaction = tx
  while (outermost.parentTransaction) outermost = outermost.parentTransaction
  return outermost
}
