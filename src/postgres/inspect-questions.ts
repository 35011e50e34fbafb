/** The statements of `lockstep doctor`. None of them writes, or waits for anybody. */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import { mostOwedCounted } from '../model/defaults.ts'
import type {
  FlagFacts,
  NamespaceFacts,
  OldTransaction,
  PostgresFacts,
  ServerFacts,
} from '../model/doctor.ts'
import { environmentMark } from '../model/flags.ts'
import { sleep } from '../resilience/deadline.ts'
import { outboxPlane } from './plane.ts'
import { relayLock } from './relay.ts'

const mostShown = 10
/** Another instance takes over within a second. */
const relayLooks = { most: 4, everyMs: 500 }

const serverStatement = `
  select current_setting('server_version_num')::int as "versionNumber",
    current_setting('server_version') as version, pg_is_in_recovery() as "isStandby",
    current_setting('default_transaction_read_only')::boolean as "isReadOnly",
    (select coalesce(array_agg(s.name order by s.name), '{}') from pg_settings s
      where s.name in ('fsync', 'full_page_writes', 'synchronous_commit') and s.setting = 'off')
      as "offInCrash",
    (select sum(numbackends)::int from pg_stat_database) as connections,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
      as "mostConnections"`

// Who holds no snapshot and has written nothing, as whoever relays, holds nobody up.
const transactionsStatement = `
  select pid, coalesce(usename, '') as user, application_name as application,
    coalesce(state, 'at work') as state,
    extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
  from pg_stat_activity
  where backend_type = 'client backend' and (backend_xid is not null or backend_xmin is not null)
    and xact_start < clock_timestamp() - $1::float8 * interval '1 s'
  order by xact_start limit ${mostShown}`

// Of others' sessions a role without the right sees neither since when, nor what.
const hiddenStatement = `
  select count(*)::int as hidden from pg_stat_activity where query = '<insufficient privilege>'`

const preparedStatement = `
  select gid as name, extract(epoch from clock_timestamp() - prepared)::float8 as seconds
  from pg_prepared_xacts where prepared < clock_timestamp() - $1::float8 * interval '1 s'
  order by prepared limit ${mostShown}`

const flagsStatement = `
  select flag, concat_ws(' ', 'for', coalesce(nullif(entity, ''), 'all entities'),
      'on ' || nullif(instance, '')) as scope, reason, author, set_by as by,
    to_char(until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as until
  from lockstep.flags where namespace = $1 and until > clock_timestamp() order by change_id`

const owedIn = (waiting: string): string => `
  (select json_build_object('rows', count(*), 'oldestSeconds',
      coalesce(extract(epoch from clock_timestamp() - min(w.created_at)), 0)::float8)
    from (select created_at from lockstep.outbox where namespace = $1 and ${waiting}
      order by row_id limit ${mostOwedCounted}) w)`

// The lock is looked for, not taken: whoever is about to relay must not find it taken by this.
const relayedColumn = `
  exists (
    select from pg_locks l, (select ${relayLock('$1')} as key) k
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())
      and l.classid::bigint = (k.key >> 32) & 4294967295 and l.objid::bigint = k.key & 4294967295
  )`

const namespaceStatement = `
  select n.name is not null as "isKnown", coalesce(n.has_l2, false) as "hasL2", n.plane,
    (select coalesce(array_agg(o.name), '{}')
      from (select name from lockstep.namespaces where name <> $1 order by name limit ${mostShown}) o)
      as others,
    (select coalesce(json_agg(json_build_object('name', i.instance, 'flags', i.flags,
        'silentSeconds', extract(epoch from clock_timestamp() - i.seen_at)::float8) order by i.instance), '[]')
      from lockstep.instances i where i.namespace = $1) as instances,
    ${relayedColumn} as "isRelayed",
    ${owedIn('not applied and n.has_l2')} as "owedToRedis",
    ${owedIn(`not published and n.plane <> '${outboxPlane}'`)} as "owedToKafka"
  from (select $1::text as wanted) w left join lockstep.namespaces n on n.name = w.wanted`

export async function askServer(connection: Client): Promise<ServerFacts> {
  const { rows } = await connection.query<ServerFacts>(serverStatement)
  return rows[0] as ServerFacts
}

export async function askTransactions(
  connection: Client,
  oldSeconds: number,
): Promise<PostgresFacts['transactions']> {
  const { rows: old } = await connection.query<OldTransaction>(transactionsStatement, [oldSeconds])
  const { rows } = await connection.query<{ hidden: number }>(hiddenStatement)
  return { old, hidden: rows[0]?.hidden ?? 0 }
}

export async function askPrepared(
  connection: Client,
  oldSeconds: number,
): Promise<PostgresFacts['prepared']> {
  return (
    await connection.query<PostgresFacts['prepared'][number]>(preparedStatement, [oldSeconds])
  ).rows
}

export async function askFlags(
  connection: Client,
  namespace: string,
): Promise<readonly FlagFacts[]> {
  return (await connection.query<FlagFacts>(flagsStatement, [namespace])).rows
}

interface NamespaceRow extends Omit<NamespaceFacts, 'plane' | 'instances'> {
  readonly plane: string | null
  readonly instances: readonly {
    readonly name: string
    readonly silentSeconds: number
    readonly flags: readonly string[]
  }[]
}

/** Where instances run and none relays, another is about to: so it is looked for again, for a while. */
export async function askNamespace(
  within: <T>(question: (connection: Client) => Promise<T>) => Promise<T>,
  namespace: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<NamespaceFacts> {
  for (let looks = 1; ; looks++) {
    const row = await within(async (connection) => {
      const { rows } = await connection.query<NamespaceRow>(namespaceStatement, [namespace])
      return rows[0] as NamespaceRow
    })
    if (row.isRelayed || row.instances.length === 0 || looks === relayLooks.most)
      return factsOf(row)
    await sleep(relayLooks.everyMs, signal, clock)
    signal.throwIfAborted()
  }
}

function factsOf({ plane, instances, ...others }: NamespaceRow): NamespaceFacts {
  return {
    ...others,
    plane: plane ?? undefined,
    instances: instances.map(({ flags, ...one }) => ({
      ...one,
      overrides: flags
        .filter((flag) => flag.startsWith(environmentMark))
        .map((flag) => flag.slice(environmentMark.length)),
    })),
  }
}
