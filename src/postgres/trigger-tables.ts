/** The tables that triggers are installed on: found by name, with all that lies below them. */
import type { Client } from 'pg'
import { wrong } from '../model/entity.ts'
import { sqlState } from './retryable.ts'

export interface Table {
  readonly oid: number
  /** As SQL would name it. */
  readonly name: string
  readonly hasRows: boolean
  readonly isForeign: boolean
}

interface FoundTable {
  readonly oid: number
  readonly name: string
  readonly kind: string
  readonly is_temporary: boolean
  readonly schema: string
}

/** A name that is none in SQL. */
const invalidNames: readonly unknown[] = ['42601', '42602', '0A000']
const kinds: Readonly<Record<string, string>> = {
  v: 'a view; its table',
  m: 'a materialized view; its tables',
  f: 'a foreign table, which is written elsewhere; triggers where it is',
  i: 'an index; its table',
  I: 'an index; its table',
  S: 'a sequence; a table',
  c: 'a composite type; a table',
  t: 'internal to PostgreSQL; a table',
}

// A name of pg_catalog on the search path stands without its schema: `public` does as well.
const columns = `
  c.oid::int8::text as oid, c.relkind as kind, c.relpersistence = 't' as is_temporary, n.nspname as schema,
  pg_catalog.format('%I.%I', n.nspname, c.relname) as name`

/** Throws `OPTION_INVALID` where there is none, or none that triggers on it would tell all of. */
export async function findTable(
  connection: Client,
  given: string,
  option = '<table>',
): Promise<Table> {
  const found =
    (await tableNamed(connection, 'to_regclass($1)', given)) ??
    // As it stands in a list of tables: Cities, which in SQL is "Cities".
    (await tableNamed(connection, 'to_regclass(quote_ident($1))', given))
  if (!found) {
    throw wrong(
      option,
      given,
      `there is no such table; one like 'cities' or 'shop.cities' would do`,
    )
  }
  const instead =
    kinds[found.kind] ??
    (found.is_temporary ? 'temporary, so no cache can read it; a lasting table' : undefined) ??
    (/^(pg_|information_schema$|lockstep$)/.test(found.schema)
      ? `in the schema ${found.schema}; a table of your own`
      : undefined)
  if (instead) throw wrong(option, given, `that is ${instead} would do`)
  return { oid: Number(found.oid), name: found.name, hasRows: found.kind === 'r', isForeign: false }
}

async function tableNamed(
  connection: Client,
  which: string,
  given: string,
): Promise<FoundTable | undefined> {
  await connection.query('savepoint named')
  try {
    const { rows } = await connection.query<FoundTable>(
      `select ${columns} from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.oid = ${which}`,
      [given],
    )
    return rows[0]
  } catch (error) {
    if (!invalidNames.includes(sqlState(error))) throw error
    await connection.query('rollback to named')
    return undefined
  }
}

/**
 * The table, its partitions and its children, and theirs. A statement fires the triggers of the
 * table that it names, for the rows of all below: so each needs its own.
 */
export async function treeOf(connection: Client, root: Table): Promise<readonly Table[]> {
  const { rows } = await connection.query<FoundTable>(
    `with recursive tree (oid) as (
       select $1::oid union select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid
     )
     select ${columns} from tree t join pg_class c on c.oid = t.oid
     join pg_namespace n on n.oid = c.relnamespace
     order by c.oid <> $1, name`,
    [root.oid],
  )
  return rows.map(({ oid, name, kind }) => ({
    oid: Number(oid),
    name,
    hasRows: kind === 'r',
    isForeign: kind === 'f',
  }))
}

export function refuseForeign(root: Table, tree: readonly Table[]): void {
  const foreign = tree.find(({ isForeign }) => isForeign)
  if (!foreign) return
  throw wrong(
    '<table>',
    root.name,
    `${foreign.name} below it is a foreign table, whose rows PostgreSQL shows to no trigger; a table without one would do`,
  )
}

/** What stands above it: a statement that names one of these doesn't fire this table's triggers. */
export async function parentsOf(connection: Client, table: Table): Promise<readonly string[]> {
  const { rows } = await connection.query<{ name: string }>(
    `select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
     from pg_inherits i join pg_class c on c.oid = i.inhparent
     join pg_namespace n on n.oid = c.relnamespace where i.inhrelid = $1 order by 1`,
    [table.oid],
  )
  return rows.map(({ name }) => name)
}
