/**
 * PgBouncer in transaction mode: the library keeps no state in a session, so that each of its
 * transactions may run on another connection of the server.
 */
import { expect, onTestFinished, test } from 'vitest'
import { openPool } from '../../src/postgres/pool.ts'
import { startPgBouncer } from '../support/pgbouncer.ts'
import { bump, openWorld, until } from '../support/world.ts'

test('reads, writes, joined writes and the tail go through it', async () => {
  const world = await openWorld()
  const postgres = await startPgBouncer(world.databaseUrl)
  const through = { options: { postgres } as never }
  const [one, other] = [await world.open(through), await world.open(through)]
  expect((await other.item.get(1))?.version).toBe(0)

  // More at once than PgBouncer has connections to the server.
  const written = await Promise.all(
    Array.from({ length: 20 }, (_, index) => world.write(one, 1 + (index % 5))),
  )
  expect(written.every(({ fenced }) => fenced)).toBe(true)
  for (const id of [1, 2, 3, 4, 5]) {
    expect((await other.item.get(id, { consistency: 'strong' }))?.version).toBe(4)
  }
  expect((await other.item.getMany([1, 2, 3, 40])).size).toBe(4)

  const { knex, close } = openPool(postgres)
  onTestFinished(close)
  const { fencedAfterCommit } = await knex.transaction((tx) =>
    one.item.write(1, () => bump(tx, world.table, 1), { tx }),
  )
  expect(await fencedAfterCommit).toBe(true)
  expect((await other.item.get(1, { consistency: 'strong' }))?.version).toBe(5)

  await knex.raw(`update ${world.table} set version = 100 where id = 9`)
  await knex.raw(`select lockstep.invalidate('item', 9, ?)`, [world.namespace])
  await until('the tail has brought it', async () => (await other.item.get(9))?.version === 100)
})

test('a write that is given up does not leave its transaction to whoever comes next', async () => {
  const world = await openWorld()
  const postgres = await startPgBouncer(world.databaseUrl)
  const cache = await world.open({ options: { postgres } as never })
  const hung = cache.item.write(
    1,
    async (tx) => {
      await bump(tx, world.table, 1)
      return new Promise<never>(() => {})
    },
    { timeout: '200ms' },
  )
  await expect(hung).rejects.toMatchObject({ code: 'WRITE_TIMEOUT' })
  const versions = await Promise.all(
    Array.from({ length: 6 }, async () => (await world.write(cache, 1)).version),
  )
  expect(versions.sort()).toEqual([1, 2, 3, 4, 5, 6])
})
