/** The roles of docs/postgresql.md are enough, and no more than enough where it matters. */
import { readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import { PostgresInvalidations } from '../../src/postgres/invalidations.ts'
import { register } from '../../src/postgres/namespace.ts'
import { missingRights } from '../../src/postgres/needed-rights.ts'
import { outboxPlane } from '../../src/postgres/plane.ts'
import { openPool, type Pool } from '../../src/postgres/pool.ts'
import { installTriggers, listTriggers, removeTriggers } from '../../src/postgres/triggers.ts'
import { thing } from '../contract/words.ts'
import { connect, ownDatabase } from '../support/database.ts'
import { ownNamespace } from '../support/namespace.ts'
import { bump, openWorld, until } from '../support/world.ts'

const page = new URL('../../docs/postgresql.md', import.meta.url)

function openPoolOf(url: string): Pool {
  const pool = openPool(url)
  onTestFinished(() => pool.close())
  return pool
}

/** The statements of the page, for roles of this test's own: roles belong to the whole server. */
async function openRoles() {
  const databaseUrl = await ownDatabase()
  const world = await openWorld({ databaseUrl })
  const owner = await connect(databaseUrl)
  const mark = ownNamespace().replaceAll('-', '_')
  const [, statements = ''] = /```sql\n(.*?)```/s.exec(readFileSync(page, 'utf8')) ?? []
  const names = ['cache', 'writer', 'triggers'].map((role) => `${mark}_${role}`)
  const drop = names.map((name) => `drop owned by ${name}; drop role ${name};`).join('\n')
  await owner.query(
    `do $$ begin if exists (select from pg_roles where rolname = '${names[0]}') then
       drop role ${names.join(', ')}; end if; end $$`,
  )
  await owner.query(
    statements
      .replaceAll('lockstep_cache', `${mark}_cache`)
      .replaceAll('lockstep_writer', `${mark}_writer`)
      .replaceAll('lockstep_triggers', `${mark}_triggers`),
  )
  onTestFinished(async () => {
    const last = await connect(databaseUrl)
    await last.query(drop)
  })
  for (const name of names) {
    await owner.query(`alter role ${name} login; grant select, update on ${world.table} to ${name}`)
  }
  const as = (role: 'cache' | 'writer' | 'triggers'): string => {
    const url = new URL(databaseUrl)
    url.username = `${mark}_${role}`
    return url.href
  }
  return { world, owner, as, nameOf: (role: string) => `${mark}_${role}` }
}

test('a cache does all it does as lockstep_cache', async () => {
  const { world, owner, as } = await openRoles()
  // The first of its life begins the incarnation.
  await owner.query('truncate lockstep.incarnations')
  const timing = { outboxRetention: '2s', delayedDelete: '100ms', pollInterval: '50ms' }
  const open = () => world.open({ timing, options: { postgres: as('cache') } as never })
  const [one, other] = [await open(), await open()]
  expect((await other.item.get(1))?.version).toBe(0)
  const { ticket } = await one.item.write(1, (tx) => bump(tx, world.table, 1))
  expect((await other.item.get(1, { ticket }))?.version).toBe(1)
  await one.item.write(1, (tx) => bump(tx, world.table, 1), { wait: 'everywhere' })
  expect((await other.item.get(1))?.version).toBe(2)
  await other.item.invalidate(1)
  expect((await one.item.get(1, { consistency: 'strong' }))?.version).toBe(2)
  const events = new PostgresInvalidations(openPoolOf(as('cache')), world.namespace)
  const { signal } = new AbortController()
  expect(await events.record([{ entity: 'item', ids: ['2'] }], signal)).toMatchObject({
    kind: 'recorded',
  })
  expect((await missingRights(await connect(as('cache')))).grants).toEqual([])
  await until('rows are marked, and removed after the retention', async () => {
    return (await world.sql('select from lockstep.outbox')).length === 0
  })
})

test('a writer does what lockstep.invalidate does, and nothing else, as lockstep_writer', async () => {
  const { world, as } = await openRoles()
  const cache = await world.open()
  expect((await cache.item.get(1))?.version).toBe(0)
  const writer = await connect(as('writer'))
  await writer.query(
    `begin; update ${world.table} set version = 7 where id = 1; select lockstep.invalidate('item', 1); commit`,
  )
  await until('the new value is read', async () => (await cache.item.get(1))?.version === 7)
  for (const statement of [
    'select from lockstep.outbox',
    `insert into lockstep.outbox (namespace, entity, ids) values ('shop', 'item', '{1}')`,
    'select lockstep.begin_incarnation()',
    'truncate lockstep.incarnations',
  ]) {
    await expect(writer.query(statement), statement).rejects.toMatchObject({ code: '42501' })
  }
})

test('an owner of a table installs triggers as lockstep_triggers; who writes it needs no rights', async () => {
  const { world, owner, as, nameOf } = await openRoles()
  const [tables, writer] = [nameOf('triggers'), nameOf('writer')]
  await owner.query(`revoke all on schema lockstep from ${writer}`)
  await owner.query(`revoke all on all functions in schema lockstep from ${writer}`)
  await owner.query(`create schema shop; grant usage on schema shop to ${tables}, ${writer};
    alter table ${world.table} set schema shop; alter table shop.${world.table} owner to ${tables};
    revoke select on shop.${world.table} from ${writer};
    grant insert, truncate on shop.${world.table} to ${writer}`)
  const pool = openPoolOf(as('triggers'))
  const table = `shop.${world.table}`
  await register(
    openPoolOf(world.databaseUrl),
    { namespace: world.namespace, hasL2: false, plane: outboxPlane, entities: [thing()] },
    systemClock,
  )
  await installTriggers(pool, { table, entity: 'thing', id: 'id' })
  const client = await connect(as('writer'))
  await client.query(`insert into ${table} (id) values (1000)`)
  await client.query(`truncate ${table}`)
  const rows = await world.sql('select ids from lockstep.outbox order by row_id')
  expect(rows[0]).toEqual({ ids: ['1000'] })
  expect(rows[1]?.ids).toHaveLength(51)
  await expect(client.query('select from lockstep.outbox')).rejects.toMatchObject({ code: '42501' })
  // The function can't be put on a table of somebody else's.
  const [called] = await world.sql(
    `select proname from pg_proc where starts_with(proname, 'told_by_')`,
  )
  await owner.query(
    `grant create on schema shop to ${writer}; grant usage on schema lockstep to ${writer}`,
  )
  await expect(
    client.query(`create table shop.own (id int);
      create trigger t before truncate on shop.own execute function lockstep.${called?.proname}('thing', 'id')`),
  ).rejects.toMatchObject({ code: '42501' })
  await removeTriggers(pool, table)
  expect(await listTriggers(pool)).toEqual([])
})

test('a role without rights is told so at the start', async () => {
  const { world, owner, as } = await openRoles()
  // The doctor has the statements for all that it lacks.
  const { grants } = await missingRights(await connect(as('writer')))
  for (const one of grants) await owner.query(one)
  expect((await missingRights(await connect(as('writer')))).grants).toEqual([])
  for (const one of grants) {
    await owner.query(one.replace('grant', 'revoke').replace(/ to ("[^"]+")$/, ' from $1'))
  }
  const starting = world.open({ options: { postgres: as('writer') } as never })
  await expect(starting).rejects.toMatchObject({
    code: 'SOURCE_UNAVAILABLE',
    message: expect.stringContaining('permission denied'),
  })
})
