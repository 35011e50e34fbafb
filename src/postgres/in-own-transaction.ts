import type { Client } from 'pg'
import type { Pool } from './pool.ts'

/**
 * Runs in a transaction over a connection of its own beside the pool. `begin`: the statement that it
 * begins with, and whatever is to hold in it alone. Rolled back when `run` rejects.
 */
export async function inOwnTransaction<T>(
  pool: Pool,
  begin: string,
  run: (connection: Client) => Promise<T>,
): Promise<T> {
  const connection = await pool.connect()
  try {
    await connection.query(begin)
    const result = await run(connection)
    await connection.query('commit')
    return result
  } catch (error) {
    await connection.query('rollback').catch(() => {})
    throw error
  } finally {
    connection.end().catch(() => {})
  }
}
