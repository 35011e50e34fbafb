/**
 * Triggers that leave the outbox row for any SQL on a table (I2; DESIGN §5). A table has them for
 * each entity and id that its rows are told as; what is told is kept in the triggers' own arguments.
 *
 * On each table of a tree, since a partition that is written by its own name fires only its own;
 * ENABLE ALWAYS, since a session that replicates fires no others; before TRUNCATE, which fires no
 * DELETE. The apply worker of a logical replication fires triggers of rows only: they are there for
 * it alone, which has no query.
 */
import { type Client, escapeIdentifier } from 'pg'
import { checkEntityName, wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import { type IdExpressions, idExpressionsOf, settleIdFormat } from './id-format.ts'
import { inOwnTransaction } from './in-own-transaction.ts'
import { type Pool, unavailable } from './pool.ts'
import { sqlState } from './retryable.ts'
import {
  createTrigger,
  type Found,
  isEnabled,
  isThere,
  type Mapping,
  mappingsOf,
  triggersIn,
  wantedFor,
} from './table-triggers.ts'
import { functionPrefix, triggerFunction } from './trigger-function.ts'
import { findTable, parentsOf, refuseForeign, type Table, treeOf } from './trigger-tables.ts'

/** Whose rows are told as what. */
export interface TriggerChoice {
  /** As in SQL: `cities`, `shop.cities`, `"Weird Table"`. */
  readonly table: string
  readonly entity: string
  /** A column, or a format of several: `{tenant}:{id}`. */
  readonly id: string
}

export interface InstalledTriggers extends TriggerChoice {
  /** The table, and its partitions and children, where something was missing. */
  readonly installed: readonly string[]
  /** Some cache has had the entity; until then nobody is told. */
  readonly isKnown: boolean
}

export interface ListedTriggers extends TriggerChoice {
  /** With its partitions and children. */
  readonly tables: number
  /** Those that have not all of the triggers as they should be: `install` adds what is missing. */
  readonly lacking: readonly string[]
  /** Those whose triggers a session that replicates doesn't fire, or that are switched off. */
  readonly notAlways: readonly string[]
  readonly isKnown: boolean
  /** Why writes fail, as when a column is gone; `undefined`: they don't. */
  readonly problem?: string
}

export interface RemovedTriggers {
  readonly table: string
  readonly removed: readonly Mapping[]
}

/** `triggers` in ASCII. */
const lock = '8390045714890843763'
/** While this waits for a table, whoever writes the table waits behind it. */
const lockTimeoutMs = 1_000
const lockNotAvailable = '55P03'

/** Adds what is missing; whatever is there stays. Throws `OPTION_INVALID` for what can't have triggers. */
export async function installTriggers(
  pool: Pool,
  { table: given, entity, id }: TriggerChoice,
): Promise<InstalledTriggers> {
  checkEntityName('--entity', entity)
  const format = settleIdFormat(id)
  return inTransaction(pool, async (connection) => {
    const root = await findTable(connection, given)
    const parents = await parentsOf(connection, root)
    if (parents.length > 0) {
      throw wrong('<table>', given, `that is a part of ${parents.join(' and ')}, which would do`)
    }
    await connection.query(`lock table ${root.name} in share row exclusive mode`)
    const tree = await treeOf(connection, root)
    refuseForeign(root, tree)
    const mapping = { entity, id: format }
    const ids = await idExpressionsOf(connection, root, format)
    const called = triggerFunction(ids, await roleOf(connection))
    const present = await triggersIn(connection)
    await connection.query(called.create)
    const installed: string[] = []
    for (const table of tree) {
      const lacking = wantedFor(table, mapping).filter(
        (wanted) =>
          !present.some((one) => isThere(one, table, wanted, ids) && isEnabled(one, wanted)),
      )
      for (const wanted of lacking) {
        await connection.query(createTrigger(table, wanted, called, mapping))
      }
      if (lacking.length > 0) installed.push(table.name)
    }
    await dropUnused(connection)
    const isKnown = (await knownEntities(connection)).has(entity)
    return { table: root.name, ...mapping, installed, isKnown }
  })
}

/** Of one table, or of all. */
export async function listTriggers(pool: Pool, given?: string): Promise<readonly ListedTriggers[]> {
  return inTransaction(pool, async (connection) => {
    const only = given === undefined ? undefined : await findTable(connection, given)
    const present = await triggersIn(connection)
    const known = await knownEntities(connection)
    const listed: ListedTriggers[] = []
    for (const root of only ? [only] : await rootsOf(connection, present)) {
      const tree = await treeOf(connection, root)
      const oids = new Set(tree.map(({ oid }) => oid))
      const inTree = present.filter(({ table }) => oids.has(table))
      for (const mapping of mappingsOf(inTree)) {
        const ids = await idsOrProblem(connection, root, mapping)
        const isKnown = known.has(mapping.entity)
        listed.push({
          table: root.name,
          ...mapping,
          ...stateOf(tree, inTree, mapping, ids),
          isKnown,
        })
      }
    }
    return listed
  })
}

function stateOf(
  tree: readonly Table[],
  present: readonly Found[],
  mapping: Mapping,
  ids: IdExpressions | LockstepError,
): Pick<ListedTriggers, 'tables' | 'lacking' | 'notAlways' | 'problem'> {
  const known = ids instanceof LockstepError ? undefined : ids
  const lacking: string[] = []
  const notAlways: string[] = []
  for (const table of tree) {
    const wanted = wantedFor(table, mapping)
    const pairs = wanted.flatMap((one) => {
      const found = present.find((trigger) => isThere(trigger, table, one, known))
      return found ? [{ found, one }] : []
    })
    if (pairs.length < wanted.length) lacking.push(table.name)
    if (pairs.some(({ found, one }) => !isEnabled(found, one))) notAlways.push(table.name)
  }
  const problem = ids instanceof LockstepError ? { problem: ids.message } : {}
  return { tables: tree.length, lacking, notAlways, ...problem }
}

/** All of a table's, whatever they tell. */
export async function removeTriggers(pool: Pool, given: string): Promise<RemovedTriggers> {
  return inTransaction(pool, async (connection) => {
    const root = await findTable(connection, given)
    await connection.query(`lock table ${root.name} in share row exclusive mode`)
    const tree = new Map((await treeOf(connection, root)).map((table) => [table.oid, table]))
    const present = (await triggersIn(connection)).filter(({ table }) => tree.has(table))
    for (const { table, name } of present) {
      const place = (tree.get(table) as Table).name
      await connection.query(`drop trigger ${escapeIdentifier(name)} on ${place}`)
    }
    await dropUnused(connection)
    return { table: root.name, removed: mappingsOf(present) }
  })
}

/** The topmost tables above those that have triggers. */
async function rootsOf(connection: Client, found: readonly Found[]): Promise<readonly Table[]> {
  const { rows } = await connection.query<{ name: string }>(
    `with recursive up (oid) as (
       select unnest($1::oid[]) union select i.inhparent from up u join pg_inherits i on i.inhrelid = u.oid
     )
     select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
     from up u join pg_class c on c.oid = u.oid join pg_namespace n on n.oid = c.relnamespace
     where not exists (select from pg_inherits i where i.inhrelid = u.oid)
     order by 1`,
    [found.map(({ table }) => table)],
  )
  const roots: Table[] = []
  for (const { name } of rows) roots.push(await findTable(connection, name))
  return roots
}

async function roleOf(connection: Client): Promise<string> {
  const { rows } = await connection.query<{ role: string }>('select current_user as role')
  return rows[0]?.role ?? ''
}

async function idsOrProblem(
  connection: Client,
  table: Table,
  { id }: Mapping,
): Promise<IdExpressions | LockstepError> {
  try {
    return await idExpressionsOf(connection, table, id)
  } catch (error) {
    if (error instanceof LockstepError) return error
    throw error
  }
}

async function knownEntities(connection: Client): Promise<ReadonlySet<string>> {
  const { rows } = await connection.query<{ entity: string }>(
    'select distinct entity from lockstep.schema_versions',
  )
  return new Set(rows.map(({ entity }) => entity))
}

/** Functions of this role that no trigger calls any more. */
async function dropUnused(connection: Client): Promise<void> {
  const { rows } = await connection.query<{ name: string }>(
    `select p.proname as name from pg_proc p
     where p.pronamespace = 'lockstep'::regnamespace and starts_with(p.proname, $1)
       and pg_has_role(p.proowner, 'usage')
       and not exists (select from pg_trigger t where t.tgfoid = p.oid)`,
    [functionPrefix],
  )
  for (const { name } of rows) {
    await connection.query(`drop function lockstep.${escapeIdentifier(name)}()`)
  }
}

async function inTransaction<T>(pool: Pool, run: (connection: Client) => Promise<T>): Promise<T> {
  const begin = `begin; set local lock_timeout = ${lockTimeoutMs}`
  try {
    return await inOwnTransaction(pool, begin, async (connection) => {
      await connection.query(`select pg_advisory_xact_lock(${lock})`)
      return run(connection)
    })
  } catch (error) {
    if (sqlState(error) === lockNotAvailable) {
      throw new LockstepError(
        'SOURCE_UNAVAILABLE',
        `PostgreSQL: the table is being written by a transaction that did not end in ${lockTimeoutMs} ms; the same may succeed when it has`,
        { cause: error },
      )
    }
    throw unavailable(error)
  }
}
