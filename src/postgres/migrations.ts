/**
 * Migrations are SQL files, forward only, one transaction each under one lock, so that any number
 * of processes may run them at once.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { Client } from 'pg'
import { LockstepError, messageOf } from '../model/errors.ts'
import { type Pool, unavailable } from './pool.ts'

const folder = new URL('../../migrations/', import.meta.url)
/** An arbitrary number that is the same everywhere: `lockstep` in ASCII, cut to 63 bits. */
const lock = '7813590610137310576'
const oldestServer = 130_000

interface Migration {
  readonly number: number
  readonly name: string
}

function known(): readonly Migration[] {
  return readdirSync(folder)
    .filter((name) => /^\d{4}_\w+\.sql$/.test(name))
    .sort()
    .map((name) => ({ number: Number(name.slice(0, 4)), name }))
}

/** Brings the schema `lockstep` up to date; the names of the migrations that ran. */
export async function migrate(pool: Pool): Promise<readonly string[]> {
  const connection = await pool.connect()
  try {
    await checkServer(connection)
    const ran: string[] = []
    for (const migration of known()) {
      if (await run(connection, migration)) ran.push(migration.name)
    }
    return ran
  } finally {
    connection.end().catch(() => {})
  }
}

async function run(connection: Client, migration: Migration): Promise<boolean> {
  await connection.query('begin')
  try {
    await connection.query(`select pg_advisory_xact_lock(${lock})`)
    await connection.query('create schema if not exists lockstep')
    await connection.query(
      `create table if not exists lockstep.migrations (
         number integer primary key, name text not null, ran_at timestamptz not null default now())`,
    )
    const { rowCount } = await connection.query(
      'insert into lockstep.migrations (number, name) values ($1, $2) on conflict do nothing',
      [migration.number, migration.name],
    )
    if (rowCount === 1)
      await connection.query(readFileSync(new URL(migration.name, folder), 'utf8'))
    await connection.query('commit')
    return rowCount === 1
  } catch (error) {
    await connection.query('rollback').catch(() => {})
    throw new LockstepError(
      'SOURCE_UNAVAILABLE',
      `migration ${migration.name}: ${messageOf(error)}`,
      {
        cause: error,
      },
    )
  }
}

/** Throws `SCHEMA_MISSING` or `SCHEMA_NEWER` unless the schema is the one that this code knows. */
export async function checkSchema(pool: Pool): Promise<void> {
  const connection = await pool.connect()
  try {
    await checkServer(connection)
    const newest = newestKnown()
    const present = await newestOf(connection)
    if (present < newest) {
      throw new LockstepError(
        'SCHEMA_MISSING',
        `the database has ${present === 0 ? 'no schema "lockstep"' : `version ${present} of the schema "lockstep"`}, version ${newest} is needed: run \`lockstep migrate\``,
      )
    }
    if (present > newest) {
      throw new LockstepError(
        'SCHEMA_NEWER',
        `the database has version ${present} of the schema "lockstep", this lockstep knows ${newest}: a newer lockstep has run \`lockstep migrate\`; update this one`,
      )
    }
  } catch (error) {
    throw unavailable(error)
  } finally {
    connection.end().catch(() => {})
  }
}

/** The version of the schema that this code knows. */
export function newestKnown(): number {
  return known().at(-1)?.number ?? 0
}

/** The version that is there; 0: there is none. */
export async function newestOf(connection: Client): Promise<number> {
  const { rows } = await connection.query<{ found: boolean }>(
    `select to_regclass('lockstep.migrations') is not null as found`,
  )
  if (!rows[0]?.found) return 0
  const { rows: newest } = await connection.query<{ number: number | null }>(
    'select max(number) as number from lockstep.migrations',
  )
  return newest[0]?.number ?? 0
}

async function checkServer(connection: Client): Promise<void> {
  const { rows } = await connection.query<{ version: number; name: string; standby: boolean }>(
    `select current_setting('server_version_num')::int as version,
       current_setting('server_version') as name, pg_is_in_recovery() as standby`,
  )
  const server = rows[0]
  if (server && server.version < oldestServer) {
    throw new LockstepError(
      'SOURCE_UNSUPPORTED',
      `PostgreSQL ${server.name} has no 64-bit transaction ids; 13 or newer would do`,
    )
  }
  if (server?.standby) {
    throw new LockstepError(
      'SOURCE_UNSUPPORTED',
      'option "postgres" names a standby, which takes no writes; the primary would do',
    )
  }
}
