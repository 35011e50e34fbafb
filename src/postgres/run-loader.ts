import type { Client } from 'pg'
import type { AnyEntity } from '../model/entity.ts'
import { inTurn, type Pool } from './pool.ts'

interface LoaderRun {
  readonly pool: Pool
  readonly connection: Client
  readonly entity: AnyEntity
  readonly ids: readonly unknown[]
  readonly signal: AbortSignal
}

/**
 * The rows that the entity's loader returns. All of its statements go over the connection, and none
 * that is left is sent once it has ended. Where the entity wants a transaction, `begun` runs in it first.
 */
export async function runLoader(
  { pool, connection, entity, ids, signal }: LoaderRun,
  begun: () => Promise<void> = async () => {},
): Promise<readonly unknown[]> {
  if (entity.isolation === 'read committed') {
    const { db, turns } = pool.on(connection)
    try {
      return await entity.load([...ids], { db, signal })
    } finally {
      await turns.end()
    }
  }
  const tx = await pool.knex.transaction({
    connection,
    isolationLevel: 'repeatable read',
    readOnly: true,
  })
  const turns = inTurn(tx)
  try {
    await begun()
    return await entity.load([...ids], { db: tx, signal })
  } finally {
    await turns.end()
    await tx.rollback().catch(() => {})
  }
}
