/** What the role of an instance needs in the schema `lockstep`: the same as docs/postgresql.md has. */
import { type Client, escapeIdentifier } from 'pg'

const neededOnTables = {
  migrations: ['select'],
  incarnations: ['select'],
  last_incarnation: ['select'],
  namespaces: ['select', 'insert', 'update'],
  schema_versions: ['select', 'insert'],
  outbox: ['select', 'insert', 'update', 'delete'],
  instances: ['select', 'insert', 'update', 'delete'],
  flags: ['select'],
  flag_changes: ['select'],
} as const satisfies Record<string, readonly string[]>

const neededFunctions = [
  'incarnation',
  'begin_incarnation',
  'record',
  'live_versions',
  'set_flag',
  'unset_flag',
] as const

const missingOnTables = `
  select c.relname as object, array_agg(w.privilege order by w.place) as privileges
  from unnest($1::text[], $2::text[]) with ordinality as w (object, privilege, place)
  join pg_class c on c.relname = w.object
    and c.relnamespace = (select oid from pg_namespace where nspname = 'lockstep')
  where not has_table_privilege(c.oid, w.privilege)
  group by c.relname order by min(w.place)`

// Of the functions with the name `invalidate` the one that the library calls.
const missingFunctions = `
  select format('lockstep.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) as function
  from pg_proc p
  where p.pronamespace = (select oid from pg_namespace where nspname = 'lockstep')
    and (p.proname = any($1) or p.proname = 'invalidate' and p.proargtypes[1] = 'text[]'::regtype)
    and not has_function_privilege(p.oid, 'execute')
  order by 1`

const roleStatement = `
  select current_user as role,
    coalesce((select has_schema_privilege(n.oid, 'usage') from pg_namespace n
      where n.nspname = 'lockstep'), true) as may_use,
    has_function_privilege('pg_control_system()', 'execute') as may_identify`

interface Role {
  readonly role: string
  readonly may_use: boolean
  readonly may_identify: boolean
}

/** Statements that give the role of this connection what it lacks; what is not there is not asked for. */
export async function missingRights(
  connection: Client,
): Promise<{ readonly role: string; readonly grants: readonly string[] }> {
  const { rows: roles } = await connection.query<Role>(roleStatement)
  const { role, may_use, may_identify } = roles[0] as Role
  const wanted = Object.entries(neededOnTables).flatMap(([object, privileges]) =>
    privileges.map((privilege) => [object, privilege]),
  )
  const { rows: tables } = await connection.query<{ object: string; privileges: string[] }>(
    missingOnTables,
    [wanted.map(([object]) => object), wanted.map(([, privilege]) => privilege)],
  )
  const { rows: functions } = await connection.query<{ function: string }>(missingFunctions, [
    neededFunctions,
  ])
  const missing = [
    ...(may_use ? [] : ['usage on schema lockstep']),
    ...tables.map(({ object, privileges }) => `${privileges.join(', ')} on lockstep.${object}`),
    ...functions.map((one) => `execute on function ${one.function}`),
    ...(may_identify ? [] : ['execute on function pg_control_system()']),
  ]
  return { role, grants: missing.map((right) => `grant ${right} to ${escapeIdentifier(role)}`) }
}
