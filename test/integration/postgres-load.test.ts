/** Loads from PostgreSQL (DESIGN §4.5): under which snapshot, and what becomes of one that is given up. */
import { expect, onTestFinished, test } from 'vitest'
import { type AnyEntity, defineEntity, type LoadContext } from '../../src/model/entity.ts'
import { visible } from '../../src/model/snapshot.ts'
import type { Db } from '../../src/postgres/pool.ts'
import { never, openPostgresPlace } from '../contract/postgres-place.ts'
import { connect, sharedDatabase } from '../support/database.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { gate, until } from '../support/world.ts'

type Load = (ids: string[], context: LoadContext<Db>) => PromiseLike<readonly object[]>

function loading(isolation: 'read committed' | 'repeatable read', load: Load): AnyEntity {
  return defineEntity('loaded', { load, id: (row: object) => String(row), isolation })
}

const isolations = ['read committed', 'repeatable read'] as const

test.each(isolations)(
  'a load under %s brings the rows that the loader returns',
  async (isolation) => {
    const { source } = await openPostgresPlace()
    const ids: unknown[] = []
    const entity = loading(isolation, async (some, { db, signal }) => {
      ids.push(...some)
      expect(signal).toBe(never)
      return (await db.raw('select 1 as one union all select 2')).rows
    })
    const given = ['a', 'b']
    const { rows } = await source.load(entity, given, never)
    expect(rows).toEqual([{ one: 1 }, { one: 2 }])
    expect(ids).toEqual(given)
  },
)

test.each(isolations)('a loader under %s may ask several things at once', async (isolation) => {
  const { source } = await openPostgresPlace({ poolSize: 2 })
  const warnings: Error[] = []
  const warned = (warning: Error) => warnings.push(warning)
  process.on('warning', warned)
  onTestFinished(() => {
    process.off('warning', warned)
  })
  const entity = loading(isolation, async (_ids, { db }) => {
    const asked = [1, 2, 3].map((one) => db.raw('select ?::int as one', [one]))
    return (await Promise.all(asked)).flatMap(({ rows }) => rows)
  })
  const { rows } = await source.load(entity, ['a'], never)
  expect(rows).toEqual([{ one: 1 }, { one: 2 }, { one: 3 }])
  // A warning is told with the next turn of the event loop.
  await new Promise((resolve) => setImmediate(resolve))
  expect(warnings).toEqual([])
})

test('a load under read committed may use a transaction of its own', async () => {
  const { source } = await openPostgresPlace({ poolSize: 1 })
  const entity = loading('read committed', async (_ids, { db }) => {
    return db.transaction(async (tx) => (await tx.raw('select 1 as one')).rows)
  })
  for (let turn = 0; turn < 3; turn++) {
    const { rows } = await source.load(entity, ['a'], never)
    expect(rows).toEqual([{ one: 1 }])
  }
})

test('a load under repeatable read tells the snapshot that its rows were read under', async () => {
  const place = await openPostgresPlace()
  const begun = gate()
  const entity = loading('repeatable read', async (_ids, { db }) => {
    const count = async () =>
      (await db.raw('select from lockstep.outbox where namespace = ?', [place.namespace])).rows
        .length
    const first = await count()
    await begun.pass()
    return [{ first, second: await count() }]
  })
  const before = await place.write('before')
  const load = place.source.load(entity, ['a'], never)
  await begun.held
  const after = await place.write('after')
  begun.open()
  const { rows, snapshot } = await load
  expect(rows).toEqual([{ first: 1, second: 1 }])
  if (!snapshot) throw new Error('a snapshot was expected')
  expect(visible(before.write, snapshot)).toBe(true)
  expect(visible(after.write, snapshot)).toBe(false)
})

test('a load under repeatable read writes nothing', async () => {
  const { source } = await openPostgresPlace()
  const entity = loading('repeatable read', async (_ids, { db }) => {
    return (await db.raw('create table never_made (id int)')).rows
  })
  await expect(source.load(entity, ['a'], never)).rejects.toMatchObject({ code: '25006' })
})

test.each(isolations)(
  'a loader under %s that fails gives its connection back',
  async (isolation) => {
    const place = await openPostgresPlace({ poolSize: 1 })
    const failing = loading(isolation, async (_ids, { db }) => db.raw('select 1 / 0'))
    const throwing = loading(isolation, () => Promise.reject(new Error('a mistake')))
    for (let turn = 0; turn < 3; turn++) {
      await expect(place.source.load(failing, ['a'], never)).rejects.toMatchObject({
        code: '22012',
      })
      await expect(place.source.load(throwing, ['a'], never)).rejects.toThrow('a mistake')
    }
    await place.write('the pool is of use')
  },
)

test.each(isolations)(
  'a load under %s that is given up ends, and gives its connection back',
  async (isolation) => {
    const place = await openPostgresPlace({ poolSize: 1 })
    const watching = await connect(await sharedDatabase())
    const statement = `select pg_sleep(20), '${place.namespace} ${isolation}'`
    const giveUp = new AbortController()
    const entity = loading(isolation, async (_ids, { db }) => (await db.raw(statement)).rows)
    const load = place.source.load(entity, ['a'], giveUp.signal)
    load.catch(() => {})
    onTestFinished(async () => {
      await watching.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where query = $1 and pid <> pg_backend_pid()',
        [statement],
      )
    })
    await until('it is being done', async () => {
      const { rows } = await watching.query('select from pg_stat_activity where query = $1', [
        statement,
      ])
      return rows.length > 0
    })
    giveUp.abort()
    // The only connection of the pool: who waits for it is told after 2 s.
    await place.write('the pool is of use')
    await expect(load).rejects.toThrow()
  },
)

/** A pool of one connection, on which a load hangs that has been given up. */
async function openHanging(isolation: 'read committed' | 'repeatable read') {
  const url = await sharedDatabase()
  const proxy = await openTcpProxy(url)
  const place = await openPostgresPlace({ url: proxy.through(url), poolSize: 1 })
  onTestFinished(() => proxy.cut())
  const asks = (statement: string) =>
    loading(isolation, async (_ids, { db }) => (await db.raw(statement)).rows)
  const isHanging = proxy.at(`'no answer'`, 'hang reply')
  const giveUp = new AbortController()
  place.source.load(asks(`select 'no answer'`), ['a'], giveUp.signal).catch(() => {})
  await isHanging
  giveUp.abort()
  return { ...place, asks }
}

test.each(isolations)(
  'a load under %s over a connection that hangs costs no later load',
  async (isolation) => {
    const { source, asks } = await openHanging(isolation)
    const { rows } = await source.load(asks('select 1 as one'), ['a'], never)
    expect(rows).toEqual([{ one: 1 }])
  },
)

test.each(isolations)(
  'a pool is closed although a load under %s hangs in it',
  async (isolation) => {
    const { pool } = await openHanging(isolation)
    let isClosed = false
    void pool.close().then(() => {
      isClosed = true
    })
    await until('it is closed', () => isClosed, 5_000)
  },
)

test('a database that cannot be reached may be asked again', async () => {
  const url = await sharedDatabase()
  const proxy = await openTcpProxy(url)
  const place = await openPostgresPlace({ url: proxy.through(url) })
  await proxy.refuse()
  for (const isolation of isolations) {
    const entity = loading(isolation, async (_ids, { db }) => (await db.raw('select 1')).rows)
    const error = await place.source.load(entity, ['a'], never).catch((reason: unknown) => reason)
    expect(place.source.isRetryable(error)).toBe(true)
  }
  await proxy.pass()
})
