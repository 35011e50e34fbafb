import type { Client } from 'pg'
import { brokenBy } from './abort.ts'
import { unavailable } from './pool.ts'
import { isBroken } from './retryable.ts'

/**
 * What somebody's statements over a connection have failed with. Of one that broke Knex says only that
 * the transaction is complete, and pg that it can't be asked: that is the source's failure, not theirs.
 */
export function failureOver(connection: Client, error: unknown): unknown {
  const cause = isBroken(error) ? error : brokenBy(connection)
  return cause === undefined ? error : unavailable(cause)
}
