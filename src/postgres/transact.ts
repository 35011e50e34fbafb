import type { Client } from 'pg'

/**
 * Runs in a transaction of a connection that is in none. `begin`: the statement that it begins with,
 * and whatever is to hold in it alone. Rolled back when `run` rejects.
 */
export async function transact<T>(
  connection: Client,
  begin: string,
  run: (connection: Client) => Promise<T>,
): Promise<T> {
  try {
    await connection.query(begin)
    const result = await run(connection)
    await connection.query('commit')
    return result
  } catch (error) {
    await connection.query('rollback').catch(() => {})
    throw error
  }
}
