import type { Client } from 'pg'
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import { parseXid, type Xid } from '../model/snapshot.ts'
import { type Pool, unavailable } from './pool.ts'

export interface Registration {
  /**
   * Another schema version of an entity, or L2 itself, was registered for the first time, in this
   * transaction, and there were writers before: who took its xid earlier may not know of it, so L2
   * is not filled until they have finished.
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
    const isForOthersNew = await registerIn(connection, namespace, hasL2, entities)
    const { rows } = await connection.query<{ xid: string }>(
      'select pg_current_xact_id()::text as xid',
    )
    await connection.query('commit')
    return { registeredIn: isForOthersNew && rows[0] ? parseXid(rows[0].xid) : undefined }
  } catch (error) {
    await connection.query('rollback').catch(() => {})
    throw unavailable(error)
  } finally {
    connection.end().catch(() => {})
  }
}

/** Whether somebody may be writing who doesn't know of what was registered. */
async function registerIn(
  connection: Client,
  namespace: string,
  hasL2: boolean,
  entities: readonly AnyEntity[],
): Promise<boolean> {
  const made = await connection.query(
    'insert into lockstep.namespaces (name, has_l2) values ($1, $2) on conflict do nothing',
    [namespace, hasL2],
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
  // The select sees what was there before the insert.
  const { rows: added } = await connection.query<{ had_other: boolean }>(
    `with added as (
       insert into lockstep.schema_versions (namespace, entity, version)
       select $1, e.entity, e.version from unnest($2::text[], $3::int[]) as e (entity, version)
       on conflict do nothing
       returning entity
     )
     select exists (select from lockstep.schema_versions v
       where v.namespace = $1 and v.entity = added.entity) as had_other
     from added`,
    [namespace, entities.map(({ name }) => name), entities.map(({ version }) => version)],
  )
  const isL2New = hasL2 && !hadL2 && made.rowCount === 0
  return isL2New || added.some((row) => row.had_other)
}
