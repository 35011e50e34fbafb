import type { Client } from 'pg'
import type { Pool } from './pool.ts'
import { transact } from './transact.ts'

/** As `transact`, over a connection of its own beside the pool. */
export async function inOwnTransaction<T>(
  pool: Pool,
  begin: string,
  run: (connection: Client) => Promise<T>,
): Promise<T> {
  const connection = await pool.connect()
  try {
    return await transact(connection, begin, run)
  } finally {
    connection.end().catch(() => {})
  }
}
