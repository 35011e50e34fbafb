/** The database of the run has its schema before any test asks for it. */
import { migrate } from '../../src/postgres/migrations.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { required } from './world.ts'

export async function setup(): Promise<void> {
  const pool = openPool(required('DATABASE_URL'))
  try {
    await migrate(pool)
  } finally {
    await pool.close()
  }
}
