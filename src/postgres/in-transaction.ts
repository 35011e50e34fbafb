import type { Client } from 'pg'
import { hold } from './abort.ts'
import { type Pool, type RawClient, unavailable } from './pool.ts'
import { transact } from './transact.ts'

/** An instance that is stopped in the middle would keep its rows locked, and nobody else could tell of them. */
export const silenceMs = 2_000

/** Nobody waits for the disk. */
const beginStatements = `
  begin isolation level read committed;
  set local synchronous_commit = off;
  set local idle_in_transaction_session_timeout = ${silenceMs}`

/** A small transaction on a connection of the pool, for what a crash may take back: it is only done again. */
export async function inTransaction<T>(
  pool: Pool,
  signal: AbortSignal,
  run: (connection: Client) => Promise<T>,
): Promise<T> {
  try {
    const { connection, release } = await hold(pool.knex.client as RawClient, signal)
    try {
      return await transact(connection, beginStatements, run)
    } finally {
      await release()
    }
  } catch (error) {
    throw unavailable(error)
  }
}
