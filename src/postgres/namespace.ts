import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import { parseXid, type Xid } from '../model/snapshot.ts'
import { type Pool, unavailable } from './pool.ts'

export interface Registration {
  /**
   * A schema version, or L2 itself, was registered for the first time, in this transaction: whoever
   * took its xid before may not know of it, so L2 is not filled until they have finished.
   */
  readonly registeredIn: Xid | undefined
}

/** Makes the namespace, its tier and its schema versions known to everyone who writes. */
export async function register(
  pool: Pool,
  namespace: string,
  hasL2: boolean,
  entities: readonly AnyEntity[],
): Promise<Registration> {
  const connection = await pool.connect().catch((error: unknown) => {
    throw unavailable(error)
  })
  try {
    await connection.query('begin')
    await connection.query(
      'insert into lockstep.namespaces (name) values ($1) on conflict do nothing',
      [namespace],
    )
    const { rows } = await connection.query<{ has_l2: boolean }>(
      'select has_l2 from lockstep.namespaces where name = $1 for update',
      [namespace],
    )
    const hadL2 = rows[0]?.has_l2 ?? false
    if (hadL2 && !hasL2) {
      throw new LockstepError(
        'REDIS_REQUIRED',
        `other instances keep namespace "${namespace}" in Redis; give this one the same "redis", or a namespace of its own`,
      )
    }
    if (hasL2 && !hadL2) {
      await connection.query('update lockstep.namespaces set has_l2 = true where name = $1', [
        namespace,
      ])
    }
    const { rows: added } = await connection.query(
      `insert into lockstep.schema_versions (namespace, entity, version)
       select $1, e.entity, e.version from unnest($2::text[], $3::int[]) as e (entity, version)
       on conflict do nothing
       returning version`,
      [namespace, entities.map(({ name }) => name), entities.map(({ version }) => version)],
    )
    const { rows: own } = await connection.query<{ xid: string }>(
      'select pg_current_xact_id()::text as xid',
    )
    await connection.query('commit')
    const isNew = added.length > 0 || hasL2 !== hadL2
    return { registeredIn: isNew && own[0] ? parseXid(own[0].xid) : undefined }
  } catch (error) {
    await connection.query('rollback').catch(() => {})
    throw unavailable(error)
  } finally {
    connection.end().catch(() => {})
  }
}
