/** What foreign producers tell of, as rows that `lockstep.invalidate` writes. */
import type { Client } from 'pg'
import type { Invalidations, Recording } from '../model/bus-ports.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { EntityIds } from '../model/source-port.ts'
import { hold } from './abort.ts'
import { type Pool, type RawClient, unavailable } from './pool.ts'
import { sqlState } from './retryable.ts'

const knownStatement = `
  select distinct entity from lockstep.schema_versions
  where namespace = $1 and entity = any($2::text[])`

/** Data exceptions: a character that this database's encoding lacks, for one. */
const isRefusal = (error: unknown): boolean => sqlState(error)?.startsWith('22') === true

export class PostgresInvalidations implements Invalidations {
  readonly #pool: Pool
  readonly #namespace: string

  constructor(pool: Pool, namespace: string) {
    this.#pool = pool
    this.#namespace = namespace
  }

  async record(keys: readonly EntityIds[], signal: AbortSignal): Promise<Recording> {
    try {
      const { connection, release } = await hold(this.#pool.knex.client as RawClient, signal)
      try {
        return await this.#recordIn(connection, keys)
      } finally {
        await release()
      }
    } catch (error) {
      if (isRefusal(error))
        return { kind: 'refused', why: `PostgreSQL: SQLSTATE ${sqlState(error)}` }
      throw unavailable(error)
    }
  }

  async #recordIn(connection: Client, keys: readonly EntityIds[]): Promise<Recording> {
    // Who published believes that it is heard for good: the COMMIT waits for the disk.
    await connection.query(
      'begin isolation level read committed; set local synchronous_commit = on',
    )
    try {
      const entities = keys.map(({ entity }) => entity)
      const { rows } = await connection.query<{ entity: string }>(knownStatement, [
        this.#namespace,
        entities,
      ])
      const known = new Set(rows.map(({ entity }) => entity))
      for (const { entity, ids } of keys) {
        if (!known.has(entity)) continue
        await connection.query('select lockstep.invalidate($1, $2::text[], $3)', [
          entity,
          ids,
          this.#namespace,
        ])
      }
      await connection.query('commit')
      return {
        kind: 'recorded',
        unknown: new Set(entities.filter((entity) => !known.has(entity))),
      }
    } catch (error) {
      await connection.query('rollback').catch(() => {})
      throw error
    }
  }
}

/**
 * As SQL has it, in one namespace or in all that have the entity; how many were told. Rejects with
 * `OPTION_INVALID` when none has it.
 */
export async function invalidateInSql(
  pool: Pool,
  { entity, ids }: EntityIds,
  namespace: string | undefined,
): Promise<number> {
  try {
    const connection = await pool.connect()
    try {
      const { rows } = await connection.query<{ told: number }>(
        'select lockstep.invalidate($1, $2::text[], $3) as told',
        [entity, ids, namespace ?? null],
      )
      return rows[0]?.told ?? 0
    } finally {
      await connection.end()
    }
  } catch (error) {
    // What the function itself says no to: nobody has the entity.
    if (isRefusal(error)) throw new LockstepError('OPTION_INVALID', messageOf(error))
    throw unavailable(error)
  }
}
