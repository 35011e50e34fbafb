/**
 * Several statements at once in a write's callback or a loader: pg takes one at a time, and what still
 * waits when the transaction or the load is over must never run.
 */
import { expect, onTestFinished, test } from 'vitest'
import { assemble } from '../../src/lockstep.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { entity } from '../../src/types.ts'
import { openWorld, required } from '../support/world.ts'

test.each([3, 4, 5])(
  'with %i statements at once, of which the first fails, nothing of the write stays',
  async (count) => {
    const world = await openWorld()
    const cache = await world.open()
    const writing = cache.item.write(
      1,
      (tx) =>
        Promise.all([
          tx.raw('select 1/0'),
          ...Array.from({ length: count - 2 }, () => tx.raw('select 1')),
          tx.raw(`update ${world.table} set version = 99 where id = 1`),
        ]) as never,
      { retries: 0 },
    )
    await expect(writing).rejects.toMatchObject({ code: '22012' })
    // Its connection is used again: whatever was sent over it has been answered.
    await Promise.all(Array.from({ length: 3 }, (_, id) => world.write(cache, id + 10)))
    expect(await world.truth(1), 'the UPDATE of a write that was rolled back').toBe(0)
  },
)

test('statements that the callback has not awaited belong to the write', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await cache.item.write(1, async (tx) => {
    void tx.raw('select pg_sleep(0.05)').then(() => {})
    void tx.raw(`update ${world.table} set version = 99 where id = 1`).then(() => {})
  })
  expect(await world.truth(1)).toBe(99)
})

test.each([1, 10])(
  'a load of several statements that fail leaves the writes of others alone (pool of %i)',
  async (max) => {
    const world = await openWorld()
    const { knex, close } = openPool({
      connectionString: world.databaseUrl,
      pool: { max },
    } as never)
    onTestFinished(close)
    const cache = await assemble(
      {
        namespace: world.namespace,
        postgres: knex,
        redis: required('REDIS_URL'),
        entities: {
          item: entity('item', {
            // As while a migration runs, or a table is missing: each of them fails.
            load: async (_: number[], { db }) => {
              const [rows] = await Promise.all(
                Array.from({ length: 6 }, () => db.raw('select * from there_is_no_such_table')),
              )
              return rows.rows as { id: number }[]
            },
            id: (row: { id: number }) => row.id,
          }),
        },
        timing: {
          redisDeadline: '2s',
          loadDeadline: '8s',
          readDeadline: '20s',
          writeDeadline: '5s',
        },
      },
      (parts) => parts,
    )
    onTestFinished(() => cache.close())
    const failures: string[] = []
    for (let round = 0; round < 20; round++) {
      const read = cache.item.get(round).catch(() => {})
      const writes = Array.from({ length: 5 }, (_, n) =>
        cache.item
          .write(n + 1, async (tx) => {
            await tx(world.table)
              .where({ id: n + 1 })
              .increment('version', 1)
            await tx.raw('select 1')
          })
          .catch((error: Error) => failures.push(error.message)),
      )
      await Promise.all([read, ...writes])
    }
    expect(failures).toEqual([])
  },
  60_000,
)
