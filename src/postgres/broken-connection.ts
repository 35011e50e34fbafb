import type { Client } from 'pg'
import { brokenBy } from './abort.ts'
import { unavailable } from './pool.ts'
import { isBroken, sqlState } from './retryable.ts'

/**
 * What somebody's statements over a connection have failed with. Of one that broke Knex says only that
 * the transaction is complete, and pg that it can't be asked: that is the source's failure, not theirs.
 * Over one that is well, what is called ECONNREFUSED came from another service that they asked.
 */
export function failureOver(connection: Client, error: unknown): unknown {
  const broken = brokenBy(connection)
  // PostgreSQL says that it ends the connection before it does.
  const isTheSource = broken !== undefined || sqlState(error) !== undefined
  if (isTheSource && isBroken(error)) return unavailable(error)
  return broken === undefined ? error : unavailable(broken)
}
