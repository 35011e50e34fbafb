/** Writes that join a transaction of the caller's: they stand and fall with it (I1, I2, I10). */
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Tx } from '../../src/postgres/pool.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { ownDatabase } from '../support/database.ts'
import {
  bump,
  type Item,
  openWorld,
  until,
  type World,
  type WorldOptions,
} from '../support/world.ts'

async function open(options: WorldOptions = {}) {
  const world = await openWorld(options)
  const cache = await world.open()
  const { knex, close } = openPool({
    connectionString: world.databaseUrl,
    pool: { max: 4 },
  } as never)
  onTestFinished(close)
  const strong = async (id = 1) => (await cache.item.get(id, { consistency: 'strong' }))?.version
  return { world, cache, knex, strong }
}

const bumpOf =
  (world: World, id = 1) =>
  (tx: Tx) =>
    bump(tx, world.table, id)

test('a joined write is told with the COMMIT of its caller, and its ticket is kept', async () => {
  const { world, cache, knex, strong } = await open()
  expect(await strong()).toBe(0)
  const tx = await knex.transaction()
  const { ticket, value, fenced, fencedAfterCommit } = await cache.item.write(1, bumpOf(world), {
    tx,
  })
  expect({ value, fenced }).toEqual({ value: [{ id: 1, version: 1 }], fenced: false })
  expect(await world.truth(1)).toBe(0)
  expect(await strong(), 'nothing has committed').toBe(0)
  expect(await world.redis.exists(world.valueKey(1)), 'nobody may fill the old value').toBe(0)
  await tx.commit()
  expect((await cache.item.get(1, { ticket }))?.version).toBe(1)
  expect(await fencedAfterCommit).toBe(true)
  expect(await strong()).toBe(1)
})

test('a joined write that is rolled back leaves no trace, and no lock', async () => {
  const { world, cache, knex, strong } = await open()
  const tx = await knex.transaction()
  const { fencedAfterCommit } = await cache.item.write(1, bumpOf(world), { tx })
  await tx.rollback()
  expect(await fencedAfterCommit).toBe(false)
  expect(await strong()).toBe(0)
  await until('the value is in Redis again', async () => {
    await strong()
    return (await world.redis.exists(world.valueKey(1))) === 1
  })
  expect(
    await world.sql(`select from lockstep.outbox where namespace = '${world.namespace}'`),
  ).toEqual([])
})

test('several keys, rows without ids, and an invalidation join alike', async () => {
  const { world, cache, knex, strong } = await open()
  expect(await strong()).toBe(0)
  const ended = await knex.transaction(async (tx) => {
    const made = await cache.item.write(
      (own) => own<Item>(world.table).insert({ id: 700 }).returning('*') as PromiseLike<Item[]>,
      { tx },
    )
    await bump(tx, world.table, 1)
    const told = await cache.item.invalidate(1, { tx })
    const both = await cache.write([cache.item.key(2), cache.item.key(3)], bumpOf(world, 2), { tx })
    return [made, told, both]
  })
  expect(await Promise.all(ended.map(({ fencedAfterCommit }) => fencedAfterCommit))).toEqual([
    true,
    true,
    true,
  ])
  expect([await strong(1), await strong(2), await strong(700)]).toEqual([1, 1, 0])
})

test('the end of a savepoint is not the end', async () => {
  const { world, cache, knex } = await open()
  const tx = await knex.transaction()
  const savepoint = await tx.transaction()
  const { fencedAfterCommit } = await cache.item.write(1, bumpOf(world), { tx: savepoint })
  await savepoint.commit()
  const first = await Promise.race([fencedAfterCommit, cache.item.get(2).then(() => 'still open')])
  expect(first).toBe('still open')
  await tx.commit()
  expect(await fencedAfterCommit).toBe(true)
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(1)
})

test('a savepoint that is rolled back takes its write along, and nothing else', async () => {
  const { world, cache, knex, strong } = await open()
  const tx = await knex.transaction()
  await cache.item.write(2, bumpOf(world, 2), { tx })
  const savepoint = await tx.transaction()
  await cache.item.write(1, bumpOf(world), { tx: savepoint })
  await savepoint.rollback()
  await tx.commit()
  expect([await strong(1), await strong(2)]).toEqual([0, 1])
})

test('a transaction of REPEATABLE READ labels nothing with a snapshot that is newer than its own', async () => {
  const { world, knex } = await open()
  const cache = await world.open({ entity: { writeThrough: true } as never })
  const tx = await knex.transaction({ isolationLevel: 'repeatable read' })
  await tx(world.table).first()
  await world.write(cache, 1)
  // Reads the version of before that write, and returns it as its own row.
  const { fencedAfterCommit } = await cache.item.write(
    1,
    (own) => own<Item>(world.table).where({ id: 1 }) as PromiseLike<Item[]>,
    { tx },
  )
  await tx.commit()
  await fencedAfterCommit
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(1)
})

describe('what will not do', () => {
  test.each([
    ['a Knex instance', async ({ knex }: Awaited<ReturnType<typeof open>>) => knex],
    ['something else', async () => ({}) as never],
    [
      'a transaction that has ended',
      async ({ knex }: Awaited<ReturnType<typeof open>>) => {
        const tx = await knex.transaction()
        await tx.commit()
        return tx
      },
    ],
  ])('%s is refused', async (_, make) => {
    const opened = await open()
    const tx = (await make(opened)) as Tx
    const write = opened.cache.item.write(1, bumpOf(opened.world), { tx })
    await expect(write).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })

  test('retries: the caller repeats the transaction', async () => {
    const { world, cache, knex } = await open()
    const tx = await knex.transaction()
    const options = { tx, retries: 1 } as never
    await expect(cache.item.write(1, bumpOf(world), options)).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    })
    await tx.rollback()
  })

  test("a callback that fails is the caller's: the transaction is left to it", async () => {
    const { cache, knex } = await open()
    const tx = await knex.transaction()
    const failing = cache.item.write(1, () => Promise.reject(new Error('mine')), { tx })
    await expect(failing).rejects.toThrow('mine')
    expect(tx.isCompleted()).toBe(false)
    expect((await tx.raw('select 1 as one')).rows).toEqual([{ one: 1 }])
    await tx.rollback()
  })
})

test('a connection that breaks before the row is written is the failure of the source', async () => {
  const { world, cache, knex } = await open()
  const tx = await knex.transaction()
  const { rows } = await tx.raw('select pg_backend_pid() as pid')
  const breaking = async (): Promise<void> => {
    const [{ pid }] = rows as [{ pid: number }]
    await world.sql(`select pg_terminate_backend(${pid})`)
    await until('it has ended', async () => {
      return (await world.sql(`select from pg_stat_activity where pid = ${pid}`)).length === 0
    })
  }
  await expect(cache.item.write(1, breaking, { tx })).rejects.toMatchObject({
    code: 'SOURCE_UNAVAILABLE',
    retryable: true,
  })
  await tx.rollback().catch(() => {})
})

test('a transaction that is never finished holds up neither reads nor a close', async () => {
  const { world, cache, knex, strong } = await open()
  const tx = await knex.transaction()
  const { fencedAfterCommit } = await cache.item.write(1, bumpOf(world), { tx })
  expect(await strong()).toBe(0)
  await cache.close({ timeout: 50 })
  expect(await fencedAfterCommit).toBe(false)
  await tx.commit()
  const other = await world.open()
  await until('some instance has told Redis', async () => {
    return (await other.item.get(1, { consistency: 'strong' }))?.version === 1
  })
})

test('a pool of one connection is enough', async () => {
  const world = await openWorld()
  const { knex, close } = openPool({
    connectionString: world.databaseUrl,
    pool: { max: 1 },
  } as never)
  onTestFinished(close)
  const cache = await world.open({ options: { postgres: knex } as never })
  expect((await cache.item.get(1))?.version).toBe(0)
  await world.write(cache, 1)
  const { fencedAfterCommit } = await knex.transaction((tx) =>
    cache.item.write(1, bumpOf(world), { tx }),
  )
  expect(await fencedAfterCommit).toBe(true)
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(2)
  expect((await cache.item.getMany([1, 2, 3])).size).toBe(3)
})

test.each([
  ['a COMMIT of its own', (tx: Tx) => tx.raw('commit'), true],
  ['a ROLLBACK of its own', (tx: Tx) => tx.raw('rollback'), false],
])('%s, which Knex does not see, ends it all the same', async (_, end, isTold) => {
  const { world, cache, knex } = await open()
  const tx = await knex.transaction()
  const { fencedAfterCommit } = await cache.item.write(1, bumpOf(world), { tx })
  await end(tx)
  expect(await fencedAfterCommit).toBe(isTold)
  await tx.rollback()
})

test('what is said of a write that is given up is that the transaction is its caller’s', async () => {
  const { cache, knex } = await open()
  const tx = await knex.transaction()
  const late = cache.item.write(1, () => new Promise<never>(() => {}), { tx, timeout: 50 })
  await expect(late).rejects.toMatchObject({
    code: 'WRITE_TIMEOUT',
    message: expect.stringContaining('yours to roll back'),
  })
  await tx.rollback()
})

test('a transaction of another database is refused, and nobody loses trust over it', async () => {
  const { world, cache } = await open()
  const databaseUrl = await ownDatabase()
  const other = openPool(databaseUrl)
  onTestFinished(() => other.close())
  await other.knex.raw('insert into lockstep.namespaces (name) values (?)', [world.namespace])
  // The first write of its life begins the incarnation.
  await other.knex.raw('select lockstep.begin_incarnation()')
  const lost: unknown[] = []
  cache.on('trust', (change) => {
    if (change.state === 'lost') lost.push(change)
  })
  const write = other.knex.transaction((tx) => cache.item.invalidate(1, { tx }))
  await expect(write).rejects.toMatchObject({ code: 'WRITE_ABORTED' })
  expect(lost).toEqual([])
})

test('many joined writes of one transaction ask over the pool, and not over a connection each', async () => {
  // Of its own: connections are counted, and other files of tests run meanwhile.
  const { world, cache, knex } = await open({ databaseUrl: await ownDatabase() })
  const count = async (): Promise<number> => {
    const [row] = await world.sql(
      `select count(*)::int as open from pg_stat_activity where datname = current_database() and application_name = 'lockstep'`,
    )
    return row?.open as number
  }
  const ended: Promise<boolean>[] = []
  let most = 0
  const before = await count()
  await knex.transaction(async (tx) => {
    for (let id = 1; id <= 40; id++) {
      ended.push((await cache.item.write(id, bumpOf(world, id), { tx })).fencedAfterCommit)
    }
  })
  const all = Promise.all(ended)
  let isOver = false
  void all.then(() => {
    isOver = true
  })
  while (!isOver) most = Math.max(most, (await count()) - before)
  expect((await all).every((isFenced) => isFenced)).toBe(true)
  // Of the cache's pool of ten.
  expect(most).toBeLessThanOrEqual(12)
})
