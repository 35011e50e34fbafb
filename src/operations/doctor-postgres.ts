import type { PostgresFacts } from '../model/doctor.ts'
import { broken, checksOn, ok, type PlaceChecks, warning } from './doctor.ts'
import { clockVerdict, countText, quoted, secondsText } from './doctor-words.ts'

const on = checksOn<PostgresFacts>()

const oldestVersion = 130_000
/** A pool of 10, a connection for the outbox and one for the relay. */
const connectionsOfAnInstance = 12

const migrate = 'run `lockstep migrate` as the role that is to own the schema'

export const postgresChecks: PlaceChecks<PostgresFacts> = {
  place: 'postgres',
  reach: {
    variable: 'DATABASE_URL',
    looksAt: 'whether a connection can be opened at `DATABASE_URL`',
    because: 'every load, every write and every proof of what L1 has is a query',
    remedy: 'correct DATABASE_URL, postgres://user:password@host:5432/database, or mend the server',
    remedies: {
      database: 'correct the database at the end of DATABASE_URL, or `createdb` it',
      rights:
        'let this user in from this host in pg_hba.conf, and grant it CONNECT on the database',
      full: 'raise max_connections, put PgBouncer in between, or give the instances smaller pools (`postgres.pool.max`)',
      tls: 'add ?sslmode=require to DATABASE_URL where the server wants TLS, or take it away where it has none; trust its certificate with NODE_EXTRA_CA_CERTS=/path/to/ca.pem',
    },
  },
  checks: {
    'postgres-version': on(
      'server',
      {
        looksAt: 'the version of the server',
        because: 'before 13 there are no 64-bit transaction ids, which are the clock of the cache',
        remedy: 'upgrade to PostgreSQL 13 or newer',
      },
      ({ versionNumber, version }) =>
        versionNumber < oldestVersion
          ? broken(`PostgreSQL ${version}`)
          : ok(`PostgreSQL ${version}`),
    ),
    'postgres-primary': on(
      'server',
      {
        looksAt: 'whether it takes writes: no standby, `default_transaction_read_only` off',
        because: 'writes, and the outbox rows that tell of them, need the primary',
        remedy: 'name the primary in DATABASE_URL; standbys go into `postgres.replicas`',
      },
      ({ isStandby, isReadOnly }) => {
        if (isStandby) return broken('it is a standby, which takes no writes')
        if (!isReadOnly) return ok('it takes writes')
        return broken(
          'default_transaction_read_only is on',
          "`alter role … reset default_transaction_read_only` (or database, or system); while a switchover goes on, `lockstep flags set source.readonly --for 10m --reason '…'`",
        )
      },
    ),
    'postgres-schema': on(
      'schema',
      {
        looksAt: 'the version of the schema `lockstep`',
        because:
          'without the schema of its version no instance starts (SCHEMA_MISSING, SCHEMA_NEWER)',
        remedy: migrate,
      },
      ({ present, newest }) => {
        if (present === newest) return ok(`version ${present} of the schema "lockstep"`)
        if (present === 0) return broken('there is no schema "lockstep"')
        const found = `version ${present} of the schema "lockstep", and this lockstep knows ${newest}`
        return present < newest
          ? broken(found)
          : broken(found, `install a newer lockstep: one has run \`lockstep migrate\` already`)
      },
    ),
    'postgres-rights': on(
      'rights',
      {
        looksAt: 'whether this role has the rights of docs/postgresql.md in the schema',
        because:
          'what an instance may not do fails when it is done: a read, a write, or all of them',
        remedy: 'grant what docs/postgresql.md has, as the owner of the schema',
      },
      ({ role, grants }) =>
        grants.length === 0
          ? ok(`role ${role} has what it needs`)
          : broken(
              `role ${role} lacks ${countText(grants.length, 'right')} in the schema "lockstep"`,
              `as the owner of the schema: ${grants.join('; ')}`,
            ),
    ),
    'postgres-pooler': on(
      'pooler',
      {
        looksAt: 'whether a pooler (PgBouncer) stands in between, and what it lets through',
        because: 'a write is a transaction, and LISTEN reaches nobody through transaction mode',
        remedy: 'set pool_mode = transaction (or session) in pgbouncer.ini',
      },
      ({ isThere, refusal }, { hasRedis }) => {
        if (refusal !== undefined) return broken(`it takes no transactions: ${refusal}`)
        if (!isThere) return ok('the server itself answers')
        const found = 'a pooler stands in between'
        return hasRedis
          ? ok(`${found}, and takes transactions`)
          : warning(
              `${found}, and there is no Redis: the other instances hear of a write with their next poll, 200 ms later`,
              'bring Redis, let the instances go to the server itself, or leave it so',
            )
      },
    ),
    'postgres-connections': on(
      'server',
      {
        looksAt: 'how many connections are left below `max_connections`',
        because: `an instance takes up to ${connectionsOfAnInstance}, and one that gets none can't load`,
        remedy:
          'raise max_connections, put PgBouncer in between, or give the instances smaller pools',
      },
      ({ connections, mostConnections }) => {
        const found = `${connections} of ${mostConnections} connections are in use`
        return mostConnections - connections < connectionsOfAnInstance ? warning(found) : ok(found)
      },
    ),
    'postgres-transactions': on(
      'transactions',
      {
        looksAt: 'transactions of more than a minute that hold snapshots back, idle ones too',
        because:
          'Bloom filters are not built, outbox rows not vacuumed and new entities not registered until they have ended',
        remedy: 'end them, and set idle_in_transaction_session_timeout',
      },
      ({ old, hidden }) => {
        const blind =
          hidden === 0
            ? ''
            : `; ${countText(hidden, 'session')} can't be looked into (grant pg_read_all_stats to see them)`
        if (old.length === 0) return ok(`none is older than a minute${blind}`)
        return old.map(({ pid, user, application, state, seconds }) =>
          warning(
            `process ${pid} (${quoted(application)} of ${quoted(user)}) has been ${state} in one for ${secondsText(seconds)}`,
            `\`select pg_terminate_backend(${pid})\`, and set idle_in_transaction_session_timeout`,
          ),
        )
      },
    ),
    'postgres-prepared': on(
      'prepared',
      {
        looksAt: 'prepared transactions of more than a minute',
        because:
          'nobody ends them by itself, and they hold snapshots and locks until somebody does',
        remedy: "`rollback prepared '…'` or `commit prepared '…'`",
      },
      (prepared) =>
        prepared.length === 0
          ? ok('none is older than a minute')
          : prepared.map(({ name, seconds }) =>
              warning(
                `${quoted(name)} has been prepared for ${secondsText(seconds)}`,
                `\`rollback prepared '${name.replaceAll("'", "''")}'\`, or commit it`,
              ),
            ),
    ),
    'postgres-durability': on(
      'server',
      {
        looksAt: '`fsync`, `full_page_writes` and `synchronous_commit`',
        because:
          'a crash may lose writes whose call has returned (the cache then has none of them either), and without fsync the whole database',
        remedy: 'set them to on, unless all of the data may be lost',
      },
      ({ offInCrash }) =>
        offInCrash.length === 0
          ? ok('all of them are on')
          : warning(
              `${offInCrash.join(' and ')} ${offInCrash.length === 1 ? 'is' : 'are'} off`,
              offInCrash.map((one) => `\`alter system set ${one} = on\``).join(', '),
            ),
    ),
    'postgres-clock': on(
      'clock',
      {
        looksAt: 'the clock of the server beside the one of this machine',
        because: 'no promise goes by it, but the ends of flags and what the logs say do',
        remedy: 'let both machines have their time from NTP',
      },
      clockVerdict,
    ),
    'postgres-triggers': on(
      'triggers',
      {
        looksAt: 'whether tables with triggers have all of them, partitions too',
        because:
          'a write that fires none is heard of by nobody: the cache goes on with the old value',
        remedy: '`lockstep triggers install` adds what is missing',
      },
      (triggers) => {
        const incomplete = triggers.filter(
          ({ lacking, notAlways, problem }) => lacking.length + notAlways.length > 0 || problem,
        )
        if (incomplete.length === 0) return ok(`${countText(triggers.length, 'table')}, complete`)
        return incomplete.map(({ table, entity, id, lacking, notAlways, problem }) =>
          broken(
            [
              ...(lacking.length > 0 ? [`lacking on ${lacking.join(', ')}`] : []),
              ...(notAlways.length > 0
                ? [`not enabled as they should be on ${notAlways.join(', ')}`]
                : []),
              ...(problem === undefined ? [] : [`writes of ${table} fail: ${problem}`]),
            ].join('; '),
            `lockstep triggers install '${table}' --entity ${entity} --id '${id}'`,
          ),
        )
      },
    ),
  },
}
