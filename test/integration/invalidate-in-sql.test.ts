/** `lockstep.invalidate` in SQL (I2, I3): a write that no library is near is heard of by every tier. */
import type { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import { register } from '../../src/postgres/namespace.ts'
import { outboxPlane } from '../../src/postgres/plane.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { thing } from '../contract/words.ts'
import { connect, ownDatabase } from '../support/database.ts'
import { openWorld, until, type World } from '../support/world.ts'

const bumpIn = (world: World, id: number): string =>
  `update ${world.table} set version = version + 1 where id = ${id}`

async function open() {
  const databaseUrl = await ownDatabase()
  const world = await openWorld({ databaseUrl })
  const client = await connect(databaseUrl)
  return { world, client, caches: [await world.open(), await world.open()] as const }
}

/** A connection to a database in which one namespace has the entity "thing", without any instance. */
async function openSchema(): Promise<Client> {
  const url = await ownDatabase()
  const pool = openPool(url)
  await register(
    pool,
    { namespace: 'shop', hasL2: false, plane: outboxPlane, entities: [thing()] },
    systemClock,
  )
  await pool.close()
  return connect(url)
}

/** The rows that a transaction would leave; it is rolled back. */
async function rowsOf(client: Client, call: string): Promise<readonly unknown[]> {
  await client.query('begin')
  await client.query(`select ${call}`)
  const { rows } = await client.query(
    'select entity, ids from lockstep.outbox where xid = pg_current_xact_id() order by row_id',
  )
  await client.query('rollback')
  return rows
}

test('a committed write reaches L2 and the L1 of every instance; one that is rolled back, none', async () => {
  const { world, client, caches } = await open()
  const versions = () =>
    Promise.all(caches.map(async (cache) => (await cache.item.get(1))?.version))
  expect(await versions()).toEqual([0, 0])
  await until('it lies in every L1', async () => {
    await versions()
    return caches.every((cache) => cache.item.peek(1) !== undefined)
  })
  await client.query(`begin; ${bumpIn(world, 1)}; select lockstep.invalidate('item', 1); rollback`)
  expect(await versions()).toEqual([0, 0])
  await client.query(`begin; ${bumpIn(world, 1)}; select lockstep.invalidate('item', 1); commit`)
  await until('the old value is gone everywhere', async () => {
    const found = await versions()
    return found.every((version) => version === 1)
  })
  await until('Redis has been told', async () => {
    const [row] = await world.sql('select bool_and(applied) as all_applied from lockstep.outbox')
    return row?.all_applied === true
  })
})

test('a row is claimed at once: its writer tells nobody', async () => {
  const { world, client, caches } = await open()
  await caches[0].item.get(1, { consistency: 'strong' })
  // Longer than the test may take: a row of the library's own would be left to its writer until then.
  const patient = await world.open({ timing: { writeDeadline: '20s', tombstoneRetention: '60s' } })
  await caches[0].close()
  await caches[1].close()
  await client.query(`begin; ${bumpIn(world, 1)}; select lockstep.invalidate('item', 1); commit`)
  await until('the new value is read', async () => {
    return (await patient.item.get(1, { consistency: 'strong' }))?.version === 1
  })
})

describe('its arguments', () => {
  test.each([
    ['a number', `lockstep.invalidate('thing', 42)`, ['42']],
    ['a text', `lockstep.invalidate('thing', '42')`, ['42']],
    ['a bigint', `lockstep.invalidate('thing', 42::bigint)`, ['42']],
    [
      'a uuid',
      `lockstep.invalidate('thing', 'AAAAAAAA-0000-4000-8000-000000000000'::uuid)`,
      ['aaaaaaaa-0000-4000-8000-000000000000'],
    ],
    ['several numbers', `lockstep.invalidate('thing', array[1, 2])`, ['1', '2']],
    ['several', `lockstep.invalidate('thing', array['1', '2', '1'])`, ['1', '2']],
    [
      'no instruction',
      `lockstep.invalidate('thing', $$'); drop table lockstep.outbox; --$$)`,
      [`'); drop table lockstep.outbox; --`],
    ],
  ])('%s', async (_, call, ids) => {
    const client = await openSchema()
    const [row, ...others] = (await rowsOf(client, call)) as { entity: string; ids: string[] }[]
    expect(others).toEqual([])
    expect({ ...row, ids: row?.ids.sort() }).toEqual({ entity: 'thing', ids })
  })

  test('more than 1,000 ids are several rows', async () => {
    const client = await openSchema()
    const rows = (await rowsOf(
      client,
      `lockstep.invalidate('thing', array(select generate_series(1, 2500)::text))`,
    )) as { ids: string[] }[]
    expect(rows.map(({ ids }) => ids.length).sort((a, b) => a - b)).toEqual([500, 1_000, 1_000])
    expect(new Set(rows.flatMap(({ ids }) => ids)).size).toBe(2_500)
  })

  test.each([
    [
      'an entity that no cache has',
      `lockstep.invalidate('itme', 1)`,
      /no cache has an entity "itme"/,
    ],
    [
      'a namespace that is none',
      `lockstep.invalidate('thing', 1, 'shpo')`,
      /in a namespace "shpo"/,
    ],
    ['a namespace without it', `lockstep.invalidate('other', 1, 'shop')`, /no cache has an entity/],
    ['no entity', `lockstep.invalidate(null, 1)`, /not null/],
    ['no id', `lockstep.invalidate('thing', null::text)`, /not null/],
    ['an empty id', `lockstep.invalidate('thing', '')`, /1 to 512/],
    ['an id that is too long', `lockstep.invalidate('thing', repeat('x', 513))`, /1 to 512/],
  ])('%s is refused', async (_, call, message) => {
    const client = await openSchema()
    await expect(client.query(`select ${call}`)).rejects.toThrow(message)
  })
})

test('it tells every namespace that has the entity, or the one that is named', async () => {
  const { world, client } = await open()
  const pool = openPool(world.databaseUrl)
  for (const namespace of ['shop', 'office']) {
    await register(
      pool,
      { namespace, hasL2: false, plane: outboxPlane, entities: [thing()] },
      systemClock,
    )
  }
  await pool.close()
  const told = async (call: string) => {
    await client.query('begin')
    const [answer] = (await client.query(`select ${call} as namespaces`)).rows
    const { rows } = await client.query(
      'select namespace from lockstep.outbox where xid = pg_current_xact_id() order by 1',
    )
    await client.query('rollback')
    return [answer.namespaces, rows.map(({ namespace }) => namespace)]
  }
  expect(await told(`lockstep.invalidate('thing', 1)`)).toEqual([2, ['office', 'shop']])
  expect(await told(`lockstep.invalidate('thing', 1, 'shop')`)).toEqual([1, ['shop']])
  expect(await told(`lockstep.invalidate('item', 1)`)).toEqual([1, [world.namespace]])
})

test('in a database without any cache there is nobody to tell, and nothing to refuse', async () => {
  const client = await connect(await ownDatabase())
  const { rows } = await client.query(`select lockstep.invalidate('item', 1) as namespaces`)
  expect(rows).toEqual([{ namespaces: 0 }])
})

test('an entity is registered when those who could not know of it have ended', async () => {
  const { world, client } = await open()
  await client.query('begin')
  await client.query(`select lockstep.invalidate('item', 1)`)
  const pool = openPool(world.databaseUrl)
  let isRegistered = false
  const registration = { namespace: 'shop', hasL2: false, plane: outboxPlane, entities: [thing()] }
  const registered = register(pool, registration, systemClock).then(() => {
    isRegistered = true
  })
  // A second writer comes and goes while the registration waits.
  const other = await connect(world.databaseUrl)
  await until('it waits', async () => {
    const { rows } = await other.query(
      `select from pg_locks where locktype = 'advisory' and not granted and pid in
         (select pid from pg_stat_activity where datname = current_database())`,
    )
    return rows.length > 0
  })
  await other.query(`select lockstep.invalidate('item', 1)`)
  expect(isRegistered).toBe(false)
  await client.query('commit')
  await registered
  await pool.close()
})
