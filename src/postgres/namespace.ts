import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import { inOwnTransaction } from './in-own-transaction.ts'
import { checkPlane } from './plane.ts'
import { type Pool, unavailable } from './pool.ts'
import { sqlState } from './retryable.ts'

/** What the instances of a namespace, and everybody who writes, know of this one. */
export interface Registration {
  readonly namespace: string
  readonly hasL2: boolean
  /** The durable plane, as `planeName` has it. */
  readonly plane: string
  readonly entities: readonly AnyEntity[]
}

export interface Registered {
  /** Names the database, and its replicas alike, for as long as it lives. */
  readonly database: string
}

const deadlineMs = 30_000
/**
 * While this waits for the lock, whoever calls `lockstep.invalidate` waits behind it; so the first
 * tries are short. Transactions that overlap each other let only a wait through that outlasts each.
 */
const lockTimeoutMs = { first: 100, longest: 2_000 }
const pauseMs = 200
/** Shared by whoever tells of entities, taken alone to register one (migrations/0002_invalidate_in_sql.sql). */
export const entitiesLock = '7813590610137310577'
export const lockNotAvailable = '55P03'
/** Serialization failure and deadlock: whoever else registered has done so by now. */
const inEachOthersWay = ['40001', '40P01']

/**
 * Makes the namespace, its tier and its schema versions known, before the first fill: whoever tells
 * L2 of a write asks which versions may lie there after the COMMIT, and so learns of each version
 * that may have been loaded without that write (docs/decisions/0005).
 */
export async function register(
  pool: Pool,
  registration: Registration,
  clock: Clock,
): Promise<Registered> {
  const untilMs = clock.monotonicMs() + deadlineMs
  let waitMs = lockTimeoutMs.first
  for (;;) {
    try {
      return await tryToRegister(pool, registration, waitMs)
    } catch (error) {
      const state = sqlState(error) ?? ''
      const isBlocked = state === lockNotAvailable
      if (!isBlocked && !inEachOthersWay.includes(state)) throw unavailable(error)
      if (clock.monotonicMs() > untilMs) {
        if (!isBlocked) throw unavailable(error)
        throw new LockstepError(
          'REGISTRATION_BLOCKED',
          `at each try of ${deadlineMs / 1_000} s transactions that had called lockstep.invalidate or written a table with triggers were open, the last time for ${waitMs} ms or more; the entities of namespace "${registration.namespace}" can be registered when those have ended`,
        )
      }
      if (isBlocked) waitMs = Math.min(2 * waitMs, lockTimeoutMs.longest)
      await new Promise<void>((resolve) => clock.after(pauseMs, resolve))
    }
  }
}

async function tryToRegister(
  pool: Pool,
  registration: Registration,
  waitMs: number,
): Promise<Registered> {
  // Whatever the database's default is: each statement has to see who registered meanwhile.
  return inOwnTransaction(pool, 'begin isolation level read committed', async (connection) => {
    await registerIn(connection, registration, waitMs)
    return { database: await databaseOf(connection) }
  })
}

/** As `Registered` has it. */
export async function databaseOf(connection: Client): Promise<string> {
  const { rows } = await connection.query<Registered>(
    `select c.system_identifier || '/' || d.oid as database
     from pg_control_system() c, pg_database d where d.datname = current_database()`,
  )
  return (rows[0] as Registered).database
}

/** The entities that the namespace has ever had, each with its newest schema version. */
export interface KnownEntities extends Registered {
  readonly versions: ReadonlyMap<string, number>
}

export async function knownEntities(pool: Pool, namespace: string): Promise<KnownEntities> {
  const connection = await pool.connect()
  try {
    const { rows } = await connection.query<{ entity: string; version: number }>(
      `select entity, max(version)::int as version from lockstep.schema_versions
       where namespace = $1 group by entity order by entity`,
      [namespace],
    )
    const versions = new Map(rows.map(({ entity, version }) => [entity, version]))
    return { database: await databaseOf(connection), versions }
  } catch (error) {
    throw unavailable(error)
  } finally {
    connection.end().catch(() => {})
  }
}

async function registerIn(
  connection: Client,
  { namespace, hasL2, plane, entities }: Registration,
  waitMs: number,
): Promise<void> {
  const names = entities.map(({ name }) => name)
  const { rows: unknown } = await connection.query(
    `select from unnest($2::text[]) as e (name)
     where not exists (select from lockstep.schema_versions where namespace = $1 and entity = e.name)`,
    [namespace, names],
  )
  if (unknown.length > 0) {
    await connection.query(`set local lock_timeout = ${waitMs}`)
    await connection.query(`select pg_advisory_xact_lock(${entitiesLock})`)
    await connection.query('set local lock_timeout = 0')
    await checkNames(connection, namespace, names)
  }
  await connection.query(
    'insert into lockstep.namespaces (name, has_l2) values ($1, $2) on conflict do nothing',
    [namespace, hasL2],
  )
  const { rows } = await connection.query<{ has_l2: boolean; plane: string | null }>(
    'select has_l2, plane from lockstep.namespaces where name = $1 for update',
    [namespace],
  )
  checkPlane(namespace, plane, rows[0]?.plane ?? plane)
  const hadL2 = rows[0]?.has_l2 ?? false
  if (hadL2 && !hasL2) {
    throw new LockstepError(
      'REDIS_REQUIRED',
      `other instances keep namespace "${namespace}" in Redis; give this one the same "redis", or a namespace of its own`,
    )
  }
  await connection.query(
    `update lockstep.namespaces set has_l2 = has_l2 or $2, plane = $3
     where name = $1 and (has_l2 <> (has_l2 or $2) or plane is null)`,
    [namespace, hasL2, plane],
  )
  await connection.query(
    `insert into lockstep.schema_versions (namespace, entity, version)
     select $1, e.entity, e.version from unnest($2::text[], $3::int[]) as e (entity, version)
     on conflict do nothing`,
    [namespace, names, entities.map(({ version }) => version)],
  )
}

/**
 * No two entities of a namespace may have the same keys in Redis, whichever instances they are of.
 * Those that are known already have passed, or an entity could never come back.
 */
async function checkNames(
  connection: Client,
  namespace: string,
  names: readonly string[],
): Promise<void> {
  const { rows } = await connection.query<{ name: string; other: string }>(
    `select e.name, v.entity as other
     from unnest($2::text[]) as e (name), lockstep.schema_versions v
     where v.namespace = $1
       and (starts_with(v.entity, e.name || ':') or starts_with(e.name, v.entity || ':'))
       and not exists (select from lockstep.schema_versions where namespace = $1 and entity = e.name)
     limit 1`,
    [namespace, names],
  )
  const [clash] = rows
  if (!clash) return
  const [short, long] = [clash.name, clash.other].sort((a, b) => a.length - b.length)
  throw new LockstepError(
    'OPTION_INVALID',
    `entity "${clash.name}" cannot be added to namespace "${namespace}", which has "${clash.other}" already: an id of "${short}" that begins with "${long?.slice((short ?? '').length + 1)}:" would have the same keys in Redis as one of "${long}"; another name, or a namespace of its own, would do`,
  )
}

export function unregistered(namespace: string): Error {
  return new Error(`namespace "${namespace}" is not registered`)
}
