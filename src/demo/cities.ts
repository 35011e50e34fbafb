/**
 * Brings the cities into PostgreSQL, once: in one transaction under one lock, so that a load that
 * breaks off leaves nothing, and of demos that begin at the same time one loads and the others wait.
 */
import { closeOnAbort } from '../postgres/abort.ts'
import type { Pool } from '../postgres/pool.ts'
import { schema } from './city.ts'
import { countryOf, type PackedCity, readPackage } from './packed-cities.ts'

/** An arbitrary number that is the same everywhere: `cities` in ASCII. */
const lock = '109316136805747'
const rowsPerInsert = 5_000

export interface LoadReport {
  /** Another process loads; this one waits for it. */
  waiting(): void
  loaded(rows: number, of: number): void
}

type Connection = Awaited<ReturnType<Pool['connect']>>

const tables = `
  create schema if not exists ${schema};
  create table if not exists ${schema}.loaded (
    only_row boolean primary key default true check (only_row),
    cities integer not null,
    package text not null,
    loaded_at timestamptz not null default now()
  );
  create table if not exists ${schema}.countries (code text primary key, name text not null);
  create table if not exists ${schema}.regions (
    code text primary key,
    country text not null references ${schema}.countries (code),
    level integer not null check (level in (1, 2)),
    name text not null
  );
  create table if not exists ${schema}.cities (
    id integer primary key,
    name text not null,
    country text not null references ${schema}.countries (code),
    admin1 text not null,
    admin2 text not null,
    lat double precision not null,
    lng double precision not null,
    version integer not null default 0
  ) with (fillfactor = 70);
`

/** How many cities there are; their ids are 1 … that many. */
export async function loadCities(
  pool: Pool,
  report: LoadReport,
  signal: AbortSignal,
): Promise<number> {
  const connection = await pool.connect()
  const endWatch = closeOnAbort(connection, signal)
  try {
    const present = await citiesPresent(connection)
    if (present !== undefined) return present
    await connection.query('begin')
    await takeLock(connection, report)
    await connection.query(tables)
    const rows = (await citiesPresent(connection)) ?? (await load(connection, report, signal))
    await connection.query('commit')
    return rows
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    endWatch()
    // What has not been committed is rolled back with it.
    connection.end().catch(() => {})
  }
}

async function citiesPresent(connection: Connection): Promise<number | undefined> {
  const { rows: found } = await connection.query<{ found: boolean }>(
    `select to_regclass('${schema}.loaded') is not null as found`,
  )
  if (!found[0]?.found) return undefined
  const { rows } = await connection.query<{ cities: number }>(`select cities from ${schema}.loaded`)
  return rows[0]?.cities
}

async function takeLock(connection: Connection, report: LoadReport): Promise<void> {
  const { rows } = await connection.query<{ taken: boolean }>(
    `select pg_try_advisory_xact_lock(${lock}) as taken`,
  )
  if (rows[0]?.taken) return
  report.waiting()
  await connection.query(`select pg_advisory_xact_lock(${lock})`)
}

async function load(
  connection: Connection,
  report: LoadReport,
  signal: AbortSignal,
): Promise<number> {
  const { cities, regions, version } = readPackage()
  const countries = [
    ...new Set([...cities.map(({ country }) => country), ...regions.map(countryOf)]),
  ]
  const names = new Intl.DisplayNames(['en'], { type: 'region', fallback: 'code' })
  await insert(
    connection,
    'countries (code, name)',
    ['text', 'text'],
    [countries, countries.map((code) => names.of(code) ?? code)],
  )
  await insert(
    connection,
    'regions (code, country, level, name)',
    ['text', 'text', 'int', 'text'],
    [
      regions.map(({ code }) => code),
      regions.map(countryOf),
      regions.map(({ code }) => code.split('.').length - 1),
      regions.map(({ name }) => name),
    ],
  )
  for (let start = 0; start < cities.length; start += rowsPerInsert) {
    signal.throwIfAborted()
    report.loaded(start, cities.length)
    await insertCities(connection, start, cities.slice(start, start + rowsPerInsert))
  }
  await connection.query(`insert into ${schema}.loaded (cities, package) values ($1, $2)`, [
    cities.length,
    version,
  ])
  await connection.query(`analyze ${schema}.cities`)
  report.loaded(cities.length, cities.length)
  return cities.length
}

/** The rows have no id of their own: their place in the file, from 1, does. */
function insertCities(
  connection: Connection,
  start: number,
  some: readonly PackedCity[],
): Promise<void> {
  return insert(
    connection,
    'cities (id, name, country, admin1, admin2, lat, lng)',
    ['int', 'text', 'text', 'text', 'text', 'float8', 'float8'],
    [
      some.map((_, index) => start + index + 1),
      some.map(({ name }) => name),
      some.map(({ country }) => country),
      some.map(({ admin1 }) => admin1),
      some.map(({ admin2 }) => admin2),
      some.map(({ lat }) => lat),
      some.map(({ lng }) => lng),
    ],
  )
}

async function insert(
  connection: Connection,
  target: string,
  types: readonly string[],
  columns: readonly (readonly unknown[])[],
): Promise<void> {
  const parameters = types.map((type, index) => `$${index + 1}::${type}[]`)
  await connection.query(
    `insert into ${schema}.${target} select * from unnest(${parameters.join(', ')})`,
    [...columns],
  )
}
