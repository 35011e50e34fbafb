/**
 * The function that a table's triggers call (I2): it leaves outbox rows for the ids of the rows that
 * a statement has written, in the transaction of that statement. It is made for one way of making
 * ids, with the columns written into it, so that PostgreSQL keeps its plans; its name is a digest of
 * what it does, so that one that is there is the right one.
 *
 * The lock and the order of its statements are those of migrations/0002_invalidate_in_sql.sql: a
 * namespace that isn't found has loaded nothing yet that this transaction writes. Here that is no
 * error, since nothing of the table is cached.
 */
import { createHash } from 'node:crypto'
import { escapeIdentifier, escapeLiteral } from 'pg'
import { idsPerOutboxRow } from '../model/defaults.ts'
import type { IdExpressions } from './id-format.ts'
import { entitiesLock } from './namespace.ts'

export interface TriggerFunction {
  /** In the schema lockstep. */
  readonly name: string
  readonly create: string
}

/** What names of these functions begin with, and of no others. */
export const functionPrefix = 'told_by_'

// Row security would hide rows from TRUNCATE. To plan a statement, or to compile it, takes longer than
// to run it on a row: PostgreSQL would do both anew each time.
const settings = `
      language plpgsql security definer
      set search_path = pg_catalog, pg_temp set row_security = off
      set jit = off set plan_cache_mode = force_generic_plan`

/** For `owner`, with whose rights it runs: who writes the table needs none. */
export function triggerFunction(id: IdExpressions, owner: string): TriggerFunction {
  const body = bodyOf(id)
  const whole = [owner, settings, body].join('\n')
  const digest = createHash('sha256').update(whole).digest('hex').slice(0, 16)
  const name = `${functionPrefix}${digest}`
  const qualified = `lockstep.${escapeIdentifier(name)}`
  return {
    name,
    create: `
      create or replace function ${qualified}() returns trigger${settings}
      as ${escapeLiteral(body)};
      revoke execute on function ${qualified}() from public`,
  }
}

/** What the inserts go by: variables of plpgsql, or parameters of EXECUTE. */
interface Told {
  readonly namespaces: string
  readonly entity: string
}

const variables: Told = { namespaces: 'namespaces', entity: 'tg_argv[0]' }
const parameters: Told = { namespaces: '$1', entity: '$2' }
/** No identifier has one. */
const tablePlace = '\0'

function bodyOf(id: IdExpressions): string {
  const keys = (rows: string): string =>
    `select ${id.key('r')} as id from ${rows} r where ${id.isUsable(id.key('r'))}`
  const distinctKeys = (rows: string): string =>
    id.isUnique ? keys(rows) : `select distinct s.id from (${keys(rows)}) s`
  const both = `${keys('old_rows')} union ${keys('new_rows')}`
  const ofRow = ['old', 'new'].map((row) => `select ${id.key(row)} as id`).join(' union ')
  const ofTable = recordMany(distinctKeys(`only ${tablePlace}`), parameters)
  const [before, after] = ofTable.split(tablePlace) as [string, string]
  const recordRows = (rows: string, few: string, many: string): string => `
    if exists (select from ${rows} offset ${id.mostAtOnce}) then${recordMany(many)};
    else${few};
    end if`
  const recordAll = (rows: string): string =>
    recordRows(rows, recordFew(distinctKeys(rows)), distinctKeys(rows))
  const fewUpdated = id.isUnique ? recordPairs(keys('old_rows'), keys('new_rows')) : recordFew(both)
  return `
#variable_conflict use_column
declare
  namespaces text[];
begin
  perform pg_advisory_xact_lock_shared(${entitiesLock});
  select array_agg(distinct v.namespace) into namespaces
  from lockstep.schema_versions v where v.entity = tg_argv[0];
  if namespaces is null then
    return null;
  end if;
  if tg_level = 'ROW' then${recordFew(`select s.id from (${ofRow}) s where ${id.isUsable('s.id')}`)};
  elsif tg_op = 'INSERT' then${recordAll('new_rows')};
  elsif tg_op = 'DELETE' then${recordAll('old_rows')};
  elsif tg_op = 'UPDATE' then${recordRows('old_rows', fewUpdated, both)};
  else
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
      raise exception 'lockstep: TRUNCATE of % under a snapshot that may not see all of its rows', tg_relid::regclass
        using errcode = 'invalid_transaction_state', hint = 'READ COMMITTED would do, or DELETE.';
    end if;
    execute ${escapeLiteral(before)} || tg_relid::regclass || ${escapeLiteral(after)}
    using namespaces, tg_argv[0];
  end if;
  return null;
end
`
}

const insertInto = ({ namespaces, entity }: Told, ids: string, chunks: string): string => `
    insert into lockstep.outbox (namespace, entity, ids, told_by_writer)
    select n.name, ${entity}, (${ids})::text[], false
    from ${chunks} cross join unnest(${namespaces}) as n (name)`

/** Any number of ids, none of them kept twice in memory. */
function recordMany(source: string, told: Told = variables): string {
  const chunk = `(row_number() over () - 1) / ${idsPerOutboxRow}`
  return insertInto(
    told,
    'c.ids',
    `(
      select array_agg(f.id) as ids from (select s.id, ${chunk} as chunk from (${source}) s) f
      group by f.chunk
    ) c`,
  )
}

/** Out of one array, in half of the time. */
function recordFew(source: string): string {
  return recordSlices(`(select array(${source}) as ids) a`)
}

/**
 * An UPDATE has as many old rows as new ones, as a rule with the same keys in the same order: then
 * the old ones are all. To look for each among the others would cost as much as the UPDATE.
 */
function recordPairs(before: string, after: string): string {
  return recordSlices(`(select array(${before}) as old_ids, array(${after}) as new_ids offset 0) p
    cross join lateral (
      values (p.old_ids), (case when p.new_ids <> p.old_ids then p.new_ids end)
    ) as a (ids)`)
}

function recordSlices(arrays: string): string {
  return insertInto(
    variables,
    `a.ids[s.before + 1 : s.before + ${idsPerOutboxRow}]`,
    `${arrays} cross join lateral
      generate_series(0, cardinality(a.ids) - 1, ${idsPerOutboxRow}) as s (before)`,
  )
}
