/** The triggers of one table for one entity and id: which there should be, and which there are. */
import { createHash } from 'node:crypto'
import { type Client, escapeIdentifier, escapeLiteral } from 'pg'
import type { IdExpressions } from './id-format.ts'
import { functionPrefix, type TriggerFunction, triggerFunction } from './trigger-function.ts'
import type { Table } from './trigger-tables.ts'

/** What is kept in a trigger's arguments. */
export interface Mapping {
  readonly entity: string
  readonly id: string
}

/** A trigger of ours, as it is. */
export interface Found extends Mapping {
  readonly table: number
  readonly name: string
  readonly function: string
  /** Of the function. */
  readonly owner: string
  readonly enabled: string
}

export interface Wanted {
  readonly name: string
  /** What stands around the table's name. */
  readonly fires: string
  readonly how: string
  readonly enabled: 'always' | 'replica'
}

export function wantedFor(table: Table, { entity, id }: Mapping): readonly Wanted[] {
  const digest = createHash('sha256').update(`${entity}\n${id}`).digest('hex').slice(0, 12)
  const statement = 'for each statement'
  const olds = 'old table as old_rows'
  const news = 'new table as new_rows'
  const wanted = [
    { event: 'insert', fires: 'after insert', how: `referencing ${news} ${statement}` },
    { event: 'update', fires: 'after update', how: `referencing ${olds} ${news} ${statement}` },
    { event: 'delete', fires: 'after delete', how: `referencing ${olds} ${statement}` },
    // When it is done there are no rows left to tell.
    { event: 'truncate', fires: 'before truncate', how: statement },
    {
      event: 'apply',
      fires: 'after insert or update or delete',
      how: 'for each row when (pg_catalog.current_query() is null)',
    },
  ]
  return wanted
    .filter(({ event }) => event !== 'apply' || table.hasRows)
    .map(({ event, fires, how }) => ({
      name: `lockstep_${digest}_${event}`,
      fires,
      how,
      enabled: event === 'apply' ? 'replica' : 'always',
    }))
}

/** It is there, and calls what it should; with ids that the columns can't give, whatever it calls. */
export function isThere(
  found: Found,
  table: Table,
  { name }: Wanted,
  ids: IdExpressions | undefined,
): boolean {
  if (found.table !== table.oid || found.name !== name) return false
  return ids === undefined || found.function === triggerFunction(ids, found.owner).name
}

export function isEnabled(found: Found, { enabled }: Wanted): boolean {
  return found.enabled === (enabled === 'always' ? 'A' : 'R')
}

export function createTrigger(
  table: Table,
  { name, fires, how, enabled }: Wanted,
  { name: called }: TriggerFunction,
  { entity, id }: Mapping,
): string {
  const trigger = escapeIdentifier(name)
  const args = [entity, id].map(escapeLiteral).join(', ')
  return `
    drop trigger if exists ${trigger} on ${table.name};
    create trigger ${trigger} ${fires} on ${table.name} ${how}
      execute function lockstep.${escapeIdentifier(called)}(${args});
    alter table only ${table.name} enable ${enabled} trigger ${trigger}`
}

/** All of ours in the database. */
export async function triggersIn(connection: Client): Promise<readonly Found[]> {
  const { rows } = await connection.query<{
    table: string
    name: string
    args: Buffer
    function: string
    owner: string
    enabled: string
  }>(
    `select t.tgrelid::int8::text as table, t.tgname as name, t.tgargs as args, p.proname as function,
       pg_get_userbyid(p.proowner) as owner, t.tgenabled as enabled
     from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where p.pronamespace = 'lockstep'::regnamespace and starts_with(p.proname, $1)
     order by t.tgrelid, t.tgname`,
    [functionPrefix],
  )
  return rows.map(({ table, args, ...found }) => {
    // Each argument ends in a NUL.
    const [entity = '', id = ''] = args.toString('utf8').split('\0')
    return { ...found, table: Number(table), entity, id }
  })
}

export function mappingsOf(found: readonly Found[]): readonly Mapping[] {
  const mappings = new Map(found.map(({ entity, id }) => [`${entity}\n${id}`, { entity, id }]))
  return [...mappings.keys()].sort().map((key) => mappings.get(key) as Mapping)
}
