/** Triggers (I2): whatever SQL writes a table, its ids are in the outbox, in the same transaction. */
import { chmodSync } from 'node:fs'
import { type Client, escapeIdentifier } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import { register } from '../../src/postgres/namespace.ts'
import { outboxPlane } from '../../src/postgres/plane.ts'
import { openPool, type Pool } from '../../src/postgres/pool.ts'
import { installTriggers, listTriggers, removeTriggers } from '../../src/postgres/triggers.ts'
import { entity } from '../../src/types.ts'
import { connect, migratedDatabase, ownDatabase } from '../support/database.ts'
import { ownFolder, startPostgres } from '../support/servers.ts'
import { openWorld, until } from '../support/world.ts'

interface Place {
  readonly url: string
  readonly pool: Pool
  readonly client: Client
}

const cached = (name: string) =>
  entity(name, { load: async (_: number[]): Promise<{ id: number }[]> => [], id: (row) => row.id })

/** A database in which the namespace "shop" has these entities, without any instance. */
async function openPlace(sql: string, entities = ['city', 'country']): Promise<Place> {
  const url = await ownDatabase()
  const pool = openPool(url)
  onTestFinished(() => pool.close())
  await register(
    pool,
    { namespace: 'shop', hasL2: false, plane: outboxPlane, entities: entities.map(cached) },
    systemClock,
  )
  const client = await connect(url)
  await client.query(sql)
  return { url, pool, client }
}

/** What the transaction of these statements tells, by entity: ids in order, those told twice twice. */
async function toldBy(
  client: Client,
  ...statements: readonly string[]
): Promise<Record<string, string[]>> {
  await client.query('begin')
  try {
    for (const statement of statements) await client.query(statement)
    const { rows } = await client.query<{ entity: string; ids: string[]; told_by_writer: boolean }>(
      'select entity, ids, told_by_writer from lockstep.outbox where xid = pg_current_xact_id()',
    )
    expect(rows.filter((row) => row.told_by_writer || row.ids.length > 1_000)).toEqual([])
    const told: Record<string, string[]> = {}
    for (const { entity, ids } of rows) told[entity] = [...(told[entity] ?? []), ...ids].sort()
    return told
  } finally {
    await client.query('rollback')
  }
}

const cities = `create table cities (id int primary key, name text not null default '', country text);
  insert into cities select i, 'c' || i, case when i % 2 = 0 then 'FR' else 'DE' end from generate_series(1, 6) i`

describe('what is told', () => {
  test('of every statement, the ids of its rows, each once', async () => {
    const { pool, client } = await openPlace(cities)
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    await installTriggers(pool, { table: 'cities', entity: 'country', id: 'country' })
    const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
      [`insert into cities values (7, 'x', 'IT'), (8, 'y', 'IT')`, ['7', '8'], ['IT']],
      [`update cities set name = 'x' where id in (1, 2, 3)`, ['1', '2', '3'], ['DE', 'FR']],
      [`delete from cities where id < 3`, ['1', '2'], ['DE', 'FR']],
      [`truncate cities`, ['1', '2', '3', '4', '5', '6'], ['DE', 'FR']],
      // The new id and the old one; the same for a key that is nobody's id.
      [`update cities set id = id + 100 where id = 1`, ['1', '101'], ['DE']],
      [`update cities set id = id + 1 where id = 6`, ['6', '7'], ['FR']],
      [`update cities set country = 'IT' where id = 1`, ['1'], ['DE', 'IT']],
      [`update cities set country = null where id = 1`, ['1'], ['DE']],
      [`insert into cities values (7, 'x', null)`, ['7'], []],
      // Nothing has changed, but somebody may have been told otherwise.
      [`update cities set name = name where id = 1`, ['1'], ['DE']],
      [`update cities set name = 'x' where id = 99`, [], []],
      [
        `insert into cities values (1, 'x', 'DE'), (9, 'n', 'IT') on conflict (id) do update set name = 'z', country = 'ES'`,
        ['1', '9'],
        ['DE', 'ES', 'IT'],
      ],
      [`insert into cities values (1) on conflict do nothing`, [], []],
      [
        `with gone as (delete from cities where id = 2 returning *) insert into cities select id + 50 from gone`,
        ['2', '52'],
        ['FR'],
      ],
    ]
    for (const [statement, ids, countries] of cases) {
      const { city = [], country = [] } = await toldBy(client, statement)
      expect({ statement, city, country }).toEqual({ statement, city: ids, country: countries })
    }
  })

  test('rolled back, or back to a savepoint, it was never there', async () => {
    const { pool, client } = await openPlace(cities)
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    await client.query(`begin; update cities set name = 'x'; rollback`)
    expect((await client.query('select from lockstep.outbox')).rows).toEqual([])
    const told = await toldBy(
      client,
      `update cities set name = 'x' where id = 1; savepoint s; update cities set name = 'x' where id = 2`,
      `rollback to s; update cities set name = 'x' where id = 3`,
    )
    expect(told).toEqual({ city: ['1', '3'] })
  })

  test('by MERGE and COPY too', async () => {
    const { pool, client } = await openPlace(cities)
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    const { rows } = await client.query(`select current_setting('server_version_num')::int as n`)
    // MERGE came with PostgreSQL 15.
    if (rows[0].n >= 150_000) {
      const merge = `merge into cities c using (values (1, 'x'), (2, 'y'), (9, 'z')) as v (id, name)
        on c.id = v.id when matched and c.id = 1 then delete when matched then update set name = v.name
        when not matched then insert values (v.id, v.name, 'IT')`
      expect(await toldBy(client, merge)).toEqual({ city: ['1', '2', '9'] })
    }
    const folder = ownFolder('lockstep-copy-')
    chmodSync(folder, 0o777)
    expect(
      await toldBy(
        client,
        `copy (select i, 'x', 'FR' from generate_series(101, 103) i) to '${folder}/rows'`,
        `copy cities from '${folder}/rows'`,
      ),
    ).toEqual({ city: ['101', '102', '103'] })
  })

  test('in a session that replicates', async () => {
    const { pool, client } = await openPlace(cities)
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    const replica = 'set local session_replication_role = replica'
    expect(await toldBy(client, replica, 'delete from cities where id = 1')).toEqual({
      city: ['1'],
    })
    expect(await toldBy(client, replica, 'truncate cities')).toEqual({
      city: ['1', '2', '3', '4', '5', '6'],
    })
  })

  test('of 100,000 rows in rows of 1,000 ids, whatever plan a small statement left behind', async () => {
    const { pool, client } = await openPlace(
      `create table cities (id int primary key, version int not null default 0, country int not null);
       create table many (like cities including all)`,
    )
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    await installTriggers(pool, { table: 'cities', entity: 'country', id: 'country' })
    const ids = Array.from({ length: 100_000 }, (_, index) => String(index + 1)).sort()
    const countries = Array.from({ length: 200 }, (_, index) => String(index)).sort()
    await client.query(
      'insert into cities values (0, 0, 0); update cities set version = 1; delete from cities',
    )
    const insert = 'insert into cities select i, 0, i % 200 from generate_series(1, 100000) i'
    expect(await toldBy(client, insert)).toEqual({ city: ids, country: countries })
    await client.query(insert)
    for (const statement of ['update cities set version = version + 1', 'truncate cities']) {
      expect(await toldBy(client, statement)).toEqual({ city: ids, country: countries })
    }
    const { city = [] } = await toldBy(client, 'update cities set id = id + 100000')
    expect(new Set(city).size).toBe(200_000)
  })
})

describe('ids as text are those of the cache', () => {
  const strange = `we"ird %s ' $1 \\ {`
  test('of each type that is taken', async () => {
    const types = [
      ['bigint', '9007199254740993', 9007199254740993n],
      ['smallint', '-7', -7],
      ['uuid', `'AAAAAAAA-0000-4000-8000-00000000000F'`, 'aaaaaaaa-0000-4000-8000-00000000000f'],
      ['text', `'Ü, "x" \\ {}'`, 'Ü, "x" \\ {}'],
      ['varchar(9)', `' a '`, ' a '],
      // As pg returns it.
      ['char(4)', `'ab'`, 'ab  '],
      ['numeric(6, 2)', '1.5', '1.50'],
      ['mood', `'very sad'`, 'very sad'],
      ['positive', '42', 42],
    ] as const
    const { pool, client } = await openPlace(
      `create type mood as enum ('very sad'); create domain positive as int check (value > 0)`,
      ['thing', 'other'],
    )
    for (const [type, value, id] of types) {
      await client.query(
        `drop table if exists things; create table things (id ${type} unique, key ${type})`,
      )
      await installTriggers(pool, { table: 'things', entity: 'thing', id: 'id' })
      await installTriggers(pool, { table: 'things', entity: 'other', id: 'key' })
      const { rows } = await client.query(`select ${value}::${type} as id`)
      expect(String(rows[0].id)).toBe(String(id))
      const insert = `insert into things values (${value}, ${value}), (null, null)`
      const told = (times: number) => Array.from({ length: times }, () => String(id))
      const both = (times: number) => ({ type, thing: told(times), other: told(times) })
      expect({ type, ...(await toldBy(client, insert)) }).toEqual(both(1))
      const later = ['update things set key = key', 'truncate things']
      expect({ type, ...(await toldBy(client, insert, ...later)) }).toEqual(both(3))
      expect({ type, ...(await toldBy(client, insert, 'delete from things')) }).toEqual(both(2))
    }
  })

  test('of several columns', async () => {
    const { pool, client } = await openPlace(
      `create table things (tenant uuid, id int, note text, namespaces text default 'n', primary key (tenant, id))`,
      ['thing', 'note'],
    )
    const installed = await installTriggers(pool, {
      table: 'things',
      entity: 'thing',
      id: '{tenant}:{id}',
    })
    expect(installed).toMatchObject({ id: '{tenant}:{id}', isKnown: true })
    await installTriggers(pool, {
      table: 'things',
      entity: 'note',
      id: `{namespaces}'{{\\{note}}}%`,
    })
    const tenant = '00000000-0000-4000-8000-000000000001'
    const told = await toldBy(
      client,
      `insert into things values ('${tenant}', 1, 'a'), ('${tenant}', 2, 'a'), ('${tenant}', 3, null)`,
      `update things set id = 4 where id = 3`,
    )
    expect(told).toEqual({
      thing: [`${tenant}:1`, `${tenant}:2`, `${tenant}:3`, `${tenant}:3`, `${tenant}:4`],
      note: [`n'{\\a}%`],
    })
  })

  test('ids that no cache can have are left out, and fail no write', async () => {
    const { pool, client } = await openPlace('create table things (id text)', ['thing'])
    await installTriggers(pool, { table: 'things', entity: 'thing', id: 'id' })
    const told = await toldBy(
      client,
      `insert into things values (''), (null), (repeat('x', 513)), (repeat('y', 512))`,
    )
    expect(told).toEqual({ thing: ['y'.repeat(512)] })
  })

  test('names that need quotes are names, and nothing else', async () => {
    const quoted = escapeIdentifier(strange)
    const { pool, client } = await openPlace(
      `create schema "select"; create table "select".${quoted} (${quoted} int primary key, "old" int)`,
      ['thing', 'user:old'],
    )
    const table = `"select".${quoted}`
    await expect(
      installTriggers(pool, { table, entity: 'thing', id: `{${strange}}` }),
    ).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await client.query(`alter table ${table} rename column ${quoted} to "a ""b' $1 %s \\"`)
    await installTriggers(pool, { table, entity: 'thing', id: `a "b' $1 %s \\` })
    await installTriggers(pool, { table, entity: 'user:old', id: 'old' })
    expect(await toldBy(client, `insert into ${table} values (1, 5)`, `truncate ${table}`)).toEqual(
      {
        thing: ['1', '1'],
        'user:old': ['5', '5'],
      },
    )
    const listed = await listTriggers(pool, table)
    expect(listed.map(({ entity, id }) => [entity, id])).toEqual([
      ['thing', `a "b' $1 %s \\`],
      ['user:old', 'old'],
    ])
    await expect(
      installTriggers(pool, { table: `x'; drop table ${table}; --`, entity: 'thing', id: 'id' }),
    ).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })

  test('a table whose name has capitals is found as it stands', async () => {
    const { pool } = await openPlace(
      'create table "Weird Table" (id int); create table "Cities" (id int)',
    )
    for (const [given, table] of [
      ['Weird Table', 'public."Weird Table"'],
      ['"Weird Table"', 'public."Weird Table"'],
      ['Cities', 'public."Cities"'],
    ] as const) {
      const installed = await installTriggers(pool, { table: given, entity: 'city', id: 'id' })
      expect(installed.table).toBe(table)
    }
  })
})

describe('tables below tables', () => {
  const partitioned = `create table cities (id int, region int, primary key (id, region)) partition by list (region);
    create table cities_1 partition of cities for values in (1);
    create table cities_2 partition of cities for values in (2) partition by range (id);
    create table cities_2_low partition of cities_2 for values from (0) to (100);
    insert into cities values (1, 1), (2, 2)`

  test('a partition that is written by its own name, and rows that move between them', async () => {
    const { pool, client } = await openPlace(partitioned)
    const { installed } = await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    expect(installed).toEqual(
      ['cities', 'cities_1', 'cities_2', 'cities_2_low'].map((name) => `public.${name}`),
    )
    for (const [statement, ids] of [
      ['update cities set id = id', ['1', '2']],
      ['update cities_1 set id = id', ['1']],
      ['delete from cities_2', ['2']],
      ['insert into cities_2_low values (7, 2)', ['7']],
      ['update cities set region = 2 where id = 1', ['1']],
      ['update cities set region = 2, id = 9 where id = 1', ['1', '9']],
      ['truncate cities', ['1', '2']],
      ['truncate cities_2', ['2']],
    ] as const) {
      expect({ statement, ...(await toldBy(client, statement)) }).toEqual({ statement, city: ids })
    }
  })

  test('a partition that comes later is listed as lacking, and install adds what it lacks', async () => {
    const { pool, client } = await openPlace(partitioned)
    const choice = { table: 'cities', entity: 'city', id: 'id' }
    await installTriggers(pool, choice)
    expect(await installTriggers(pool, choice)).toMatchObject({ installed: [] })
    expect(await listTriggers(pool)).toEqual([
      { ...choice, table: 'public.cities', tables: 4, lacking: [], notAlways: [], isKnown: true },
    ])
    await client.query('create table cities_3 partition of cities for values in (3)')
    // By the name of the table above it is heard of all the same.
    expect(await toldBy(client, 'insert into cities values (5, 3)')).toEqual({ city: ['5'] })
    expect(await toldBy(client, 'insert into cities_3 values (5, 3)')).toEqual({})
    expect(await listTriggers(pool)).toMatchObject([{ tables: 5, lacking: ['public.cities_3'] }])
    expect(await installTriggers(pool, choice)).toMatchObject({ installed: ['public.cities_3'] })
    expect(await toldBy(client, 'insert into cities_3 values (5, 3)')).toEqual({ city: ['5'] })
    expect(await listTriggers(pool)).toMatchObject([{ tables: 5, lacking: [] }])
  })

  test('children by inheritance', async () => {
    const { pool, client } = await openPlace(
      'create table cities (id int); create table capitals (of text) inherits (cities)',
    )
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    await client.query(`insert into cities values (1); insert into capitals values (2, 'FR')`)
    for (const [statement, ids] of [
      ['update cities set id = id', ['1', '2']],
      [`update capitals set "of" = 'IT'`, ['2']],
      ['delete from only cities', ['1']],
      ['truncate cities', ['1', '2']],
      ['truncate only cities', ['1']],
    ] as const) {
      expect({ statement, ...(await toldBy(client, statement)) }).toEqual({ statement, city: ids })
    }
  })
})

describe('what can’t have them is refused', () => {
  const tables = `create table cities (id int, at timestamptz, ratio float8, spot point);
    create view city_names as select id from cities;
    create materialized view city_ids as select id from cities;
    create sequence numbers;
    create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
    create foreign table far_cities (id int) server nowhere;
    create table parts (id int) partition by list (id);
    create table part_1 partition of parts for values in (1);
    create table mixed (id int) partition by list (id);
    create foreign table mixed_1 partition of mixed for values in (1) server nowhere`

  test('and it is said what would do', async () => {
    const { pool } = await openPlace(tables)
    const good = { table: 'cities', entity: 'city', id: 'id' }
    for (const [choice, message] of [
      [{ table: 'nowhere' }, /"nowhere"; there is no such table/],
      [{ table: 'a.b.c.d' }, /no such table/],
      [{ table: '' }, /no such table/],
      [{ table: 'city_names' }, /"city_names"; that is a view; its table would do/],
      [{ table: 'city_ids' }, /materialized view/],
      [{ table: 'far_cities' }, /foreign table/],
      [{ table: 'mixed' }, /public.mixed_1 below it is a foreign table/],
      [{ table: 'numbers' }, /sequence/],
      [{ table: 'part_1' }, /part of public.parts, which would do/],
      [{ table: 'pg_class' }, /in the schema pg_catalog/],
      [{ table: 'lockstep.outbox' }, /in the schema lockstep/],
      [{ id: 'number' }, /has no column "number"; one of id, at, ratio, spot would do/],
      [{ id: '{id}:{number}' }, /has no column "number"/],
      [{ id: 'ctid' }, /has no column "ctid"/],
      [{ id: 'ratio' }, /is double precision/],
      [{ id: 'at' }, /timestamp with time zone/],
      [{ id: 'spot' }, /is point/],
      [{ id: '' }, /has no column ""/],
      [{ id: '{id' }, /a format like/],
      [{ id: '{{}}' }, /one that names a column/],
      [{ entity: 'no such!' }, /"--entity" is "no such!"/],
    ] as const) {
      const refused = installTriggers(pool, { ...good, ...choice })
      await expect(refused, JSON.stringify(choice)).rejects.toMatchObject({
        code: 'OPTION_INVALID',
        message: expect.stringMatching(message),
      })
    }
    expect(await listTriggers(pool)).toEqual([])
  })

  test('a temporary table: no other connection sees one', async () => {
    const { pool, client } = await openPlace('create temp table scratch (id int)')
    const { rows } = await client.query(`select 'scratch'::regclass::oid::int8::text as oid,
      (select nspname from pg_namespace where oid = pg_my_temp_schema()) as schema`)
    const table = `${rows[0].schema}.scratch`
    await expect(installTriggers(pool, { table, entity: 'city', id: 'id' })).rejects.toMatchObject({
      message: expect.stringContaining('temporary'),
    })
  })

  test('TRUNCATE under a snapshot that may miss rows', async () => {
    const { pool, client } = await openPlace(cities)
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    for (const isolation of ['repeatable read', 'serializable']) {
      await client.query(`begin isolation level ${isolation}; select from cities`)
      await expect(client.query('truncate cities')).rejects.toMatchObject({ code: '25000' })
      await client.query('rollback')
    }
    // Of what nobody caches nothing has to be told.
    await client.query('delete from lockstep.schema_versions')
    await client.query('begin isolation level serializable; truncate cities; commit')
  })
})

test('a table that is being written is waited for, a moment', async () => {
  const { pool, client } = await openPlace(cities)
  await client.query('begin; update cities set id = id where id = 1')
  await expect(
    installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' }),
  ).rejects.toMatchObject({
    code: 'SOURCE_UNAVAILABLE',
    message: expect.stringMatching(/being written/),
  })
  await client.query('rollback')
})

test('installs at the same time are as one', async () => {
  const { pool } = await openPlace(`${cities}; create table towns (id int primary key)`)
  const choices = ['cities', 'towns', 'cities', 'towns'].map((table) => ({
    table,
    entity: 'city',
    id: 'id',
  }))
  const all = await Promise.all(choices.map((choice) => installTriggers(pool, choice)))
  expect(all.flatMap(({ installed }) => installed).sort()).toEqual([
    'public.cities',
    'public.towns',
  ])
  expect(await listTriggers(pool)).toMatchObject([{ lacking: [] }, { lacking: [] }])
})

test('what was switched off or changed is listed, and install makes it right', async () => {
  const { pool, client } = await openPlace(cities)
  const choice = { table: 'cities', entity: 'city', id: 'id' }
  await installTriggers(pool, choice)
  await client.query('alter table cities disable trigger all')
  expect(await listTriggers(pool)).toMatchObject([{ lacking: [], notAlways: ['public.cities'] }])
  await client.query('alter table cities enable trigger all')
  expect(await listTriggers(pool)).toMatchObject([{ lacking: [], notAlways: ['public.cities'] }])
  await installTriggers(pool, choice)
  expect(await listTriggers(pool)).toMatchObject([{ lacking: [], notAlways: [] }])
  // Ids that can come twice are told once.
  await client.query('alter table cities drop constraint cities_pkey')
  expect(await listTriggers(pool)).toMatchObject([{ lacking: ['public.cities'] }])
  await installTriggers(pool, choice)
  expect(await toldBy(client, 'insert into cities (id) values (7), (7)')).toEqual({ city: ['7'] })
  // A write that nobody would hear of fails.
  await client.query('alter table cities rename column id to number')
  await expect(client.query('update cities set name = name')).rejects.toThrow(/id/)
  expect(await listTriggers(pool)).toMatchObject([
    { problem: expect.stringContaining('has no column "id"') },
  ])
  await removeTriggers(pool, 'cities')
  await client.query('update cities set name = name')
})

test('remove leaves nothing', async () => {
  const { pool, client } = await openPlace(cities)
  await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
  await installTriggers(pool, { table: 'cities', entity: 'country', id: 'country' })
  expect(await removeTriggers(pool, 'cities')).toEqual({
    table: 'public.cities',
    removed: [
      { entity: 'city', id: 'id' },
      { entity: 'country', id: 'country' },
    ],
  })
  const left = await client.query(
    `select tgname from pg_trigger where tgrelid = 'cities'::regclass
     union all select proname from pg_proc where starts_with(proname, 'told_by_')`,
  )
  expect(left.rows).toEqual([])
  expect(await toldBy(client, 'update cities set id = id')).toEqual({})
  expect(await removeTriggers(pool, 'cities')).toEqual({ table: 'public.cities', removed: [] })
})

describe('an entity that no cache has had', () => {
  test('fails no write, and is told of from its first start', async () => {
    const { pool, client } = await openPlace(cities, [])
    const choice = { table: 'cities', entity: 'city', id: 'id' }
    expect(await installTriggers(pool, choice)).toMatchObject({ isKnown: false })
    expect(await toldBy(client, 'update cities set id = id where id = 1')).toEqual({})
    await register(
      pool,
      { namespace: 'shop', hasL2: false, plane: outboxPlane, entities: [cached('city')] },
      systemClock,
    )
    expect(await listTriggers(pool)).toMatchObject([{ isKnown: true }])
    expect(await toldBy(client, 'update cities set id = id where id = 1')).toEqual({ city: ['1'] })
  })

  test('is registered when the writes that could not know of it have ended', async () => {
    const { url, pool, client } = await openPlace(cities, [])
    await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
    await client.query('begin; update cities set id = id where id = 1')
    let isRegistered = false
    const registered = register(
      pool,
      { namespace: 'shop', hasL2: false, plane: outboxPlane, entities: [cached('city')] },
      systemClock,
    ).then(() => {
      isRegistered = true
    })
    const other = await connect(url)
    await until('it waits', async () => {
      const { rows } = await other.query(
        `select from pg_locks where locktype = 'advisory' and not granted and database =
           (select oid from pg_database where datname = current_database())`,
      )
      return rows.length > 0
    })
    await other.query('update cities set id = id where id = 2')
    expect(isRegistered).toBe(false)
    await client.query('commit')
    await registered
    expect(await toldBy(client, 'update cities set id = id where id = 1')).toEqual({ city: ['1'] })
  })
})

test('every tier of every instance hears of plain SQL', async () => {
  const databaseUrl = await ownDatabase()
  const world = await openWorld({ databaseUrl })
  const client = await connect(databaseUrl)
  const pool = openPool(databaseUrl)
  onTestFinished(() => pool.close())
  await installTriggers(pool, { table: world.table, entity: 'item', id: 'id' })
  const caches = [await world.open(), await world.open()]
  const versions = () => Promise.all(caches.map(async ({ item }) => (await item.get(1))?.version))
  const saw = (what: string, version: number | undefined) =>
    until(what, async () => (await versions()).every((seen) => seen === version))
  await saw('all have read it', 0)
  await client.query(`update ${world.table} set version = 5 where id = 1`)
  await saw('all have heard of the update', 5)
  await client.query(`truncate ${world.table}`)
  await saw('all have heard of the truncate', undefined)
  await client.query(`insert into ${world.table} values (1, 7)`)
  await saw('all have heard of the insert', 7)
  await client.query(`insert into ${world.table} select i from generate_series(1000, 20999) i`)
  await until(
    'Redis has been told of all',
    async () => {
      const [row] = await world.sql('select bool_and(applied) as done from lockstep.outbox')
      return row?.done === true
    },
    20_000,
  )
})

test('what a subscription applies is heard of', async () => {
  const server = await startPostgres({ config: { wal_level: 'logical' } })
  const url = await migratedDatabase(server)
  const admin = await connect(server.url)
  await admin.query('create database publisher')
  const publisherUrl = new URL(server.url)
  publisherUrl.pathname = '/publisher'
  const publisher = await connect(publisherUrl.href)
  const table = 'create table cities (id int primary key, name text)'
  await publisher.query(`${table}; create publication p for table cities`)
  await publisher.query(`select pg_create_logical_replication_slot('s', 'pgoutput')`)
  await admin.query(table)
  const pool = openPool(url)
  onTestFinished(() => pool.close())
  await register(
    pool,
    { namespace: 'shop', hasL2: false, plane: outboxPlane, entities: [cached('city')] },
    systemClock,
  )
  await installTriggers(pool, { table: 'cities', entity: 'city', id: 'id' })
  await admin.query(
    `create subscription s connection '${publisherUrl.href}' publication p
     with (create_slot = false, slot_name = 's', copy_data = false)`,
  )
  for (const [statement, ids] of [
    [`insert into cities values (1, 'x'), (2, 'x')`, ['1', '2']],
    [`update cities set name = 'y' where id = 1`, ['1']],
    ['update cities set id = 3 where id = 1', ['1', '3']],
    ['delete from cities where id = 2', ['2']],
    ['truncate cities', ['3']],
  ] as const) {
    await admin.query('delete from lockstep.outbox')
    await publisher.query(statement)
    let told: string[] = []
    await until(`${statement} is applied`, async () => {
      const { rows } = await admin.query('select ids from lockstep.outbox')
      told = rows.flatMap((row) => row.ids).sort()
      return told.length > 0
    })
    expect({ statement, told }).toEqual({ statement, told: ids })
  }
  await admin.query(
    'alter subscription s disable; alter subscription s set (slot_name = none); drop subscription s',
  )
})
