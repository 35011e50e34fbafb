/** A class repository in front of real caches: its reads and writes keep the cache's promises (I1, I10). */
import type { Knex } from 'knex'
import { expect, onTestFinished, test } from 'vitest'
import { openPool } from '../../src/postgres/pool.ts'
import { wrapRepository } from '../../src/wrap.ts'
import type { Written } from '../../src/wrap-types.ts'
import {
  gate,
  type Item,
  type ItemWorldCache,
  openWorld,
  until,
  type World,
} from '../support/world.ts'

class ItemRepository {
  readonly #db: Knex
  readonly #table: string
  /** What goes wrong after the statement has committed. */
  lostAnswer: Error | undefined

  constructor(db: Knex, table: string) {
    this.#db = db
    this.#table = table
  }

  async findById(id: number): Promise<Item | null> {
    return (await this.#db<Item>(this.#table).where({ id }).first()) ?? null
  }

  async findByIds(ids: readonly number[]): Promise<Item[]> {
    return this.#db<Item>(this.#table).whereIn('id', ids)
  }

  async bump(id: number): Promise<Item | undefined> {
    const query = this.#db<Item>(this.#table).where({ id }).increment('version', 1)
    const [row] = (await query.returning('*')) as Item[]
    if (this.lostAnswer) throw this.lostAnswer
    return row
  }

  async create(id: number): Promise<Item> {
    const [row] = await this.#db<Item>(this.#table).insert({ id }).returning('*')
    return row as Item
  }

  async delete(id: number): Promise<boolean> {
    return (await this.#db<Item>(this.#table).where({ id }).delete()) > 0
  }
}

async function repositoryOf({ databaseUrl, table }: World): Promise<ItemRepository> {
  const pool = openPool(databaseUrl)
  onTestFinished(() => pool.close())
  return new ItemRepository(pool.knex, table)
}

/** As a service would have it: SQL in the class, and transactions of the cache. */
function wrap(
  repository: ItemRepository,
  cache: ItemWorldCache,
  { table }: World,
  session: { ticket?: string } = {},
): ItemRepository {
  return wrapRepository(repository, cache.item, {
    read: {
      findById: {
        id: (id) => id,
        options: () => (session.ticket ? { ticket: session.ticket } : undefined),
        result: (found) => found ?? null,
      },
      findByIds: { ids: (ids) => ids, result: (found) => [...found.values()] },
    },
    write: {
      bump: { id: (id) => id, run: (tx, id) => new ItemRepository(tx, table).bump(id) },
      create: { run: (tx, id) => new ItemRepository(tx, table).create(id) },
      delete: { id: (id) => id, run: (tx, id) => new ItemRepository(tx, table).delete(id) },
    },
    onWrite: ({ ticket }) => {
      session.ticket = ticket
    },
  })
}

/** As one whose statements can't run in a transaction of the cache. */
function wrapWeakly(
  repository: ItemRepository,
  cache: ItemWorldCache,
  onWrite?: (written: Written) => void,
): ItemRepository {
  return wrapRepository(repository, cache.item, {
    read: { findById: { id: (id) => id, result: (found) => found ?? null } },
    write: ['bump'],
    ...(onWrite && { onWrite }),
  })
}

test('reads are the cache’s: one load for many of them, null for an id that does not exist', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const items = wrap(await repositoryOf(world), cache, world)
  const both = { id: 1, version: 0 }
  expect(await Promise.all([items.findById(1), items.findById(1)])).toEqual([both, both])
  expect(await items.findByIds([2, 1, 99])).toEqual([{ id: 2, version: 0 }, both])
  expect([await items.findById(99), await items.findById(99)]).toEqual([null, null])
  expect(cache.stats().item).toMatchObject({ loads: 2, loadedIds: 3 })
})

test('a write is seen by the next read with its ticket, on another instance too', async () => {
  const world = await openWorld()
  const repository = await repositoryOf(world)
  const session: { ticket?: string } = {}
  const here = wrap(repository, await world.open(), world, session)
  const there = wrap(repository, await world.open(), world, session)
  for (let version = 1; version <= 20; version++) {
    const [writer, reader] = version % 2 === 0 ? [here, there] : [there, here]
    expect(await writer.bump(1)).toEqual({ id: 1, version })
    expect(await reader.findById(1)).toEqual({ id: 1, version })
  }
})

test('a row that is made or deleted changes what was known of its id', async () => {
  const world = await openWorld()
  const items = wrap(await repositoryOf(world), await world.open(), world)
  expect(await items.findById(77)).toBeNull()
  expect(await items.create(77)).toEqual({ id: 77, version: 0 })
  expect(await items.findById(77)).toEqual({ id: 77, version: 0 })
  expect(await items.delete(77)).toBe(true)
  expect(await items.findById(77)).toBeNull()
})

test('a run that throws rolls back, and its error comes out as it is', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const lost = new RangeError('second thoughts')
  const items = wrapRepository(await repositoryOf(world), cache.item, {
    write: {
      bump: {
        id: (id) => id,
        run: async (tx, id) => {
          await new ItemRepository(tx, world.table).bump(id)
          throw lost
        },
      },
    },
  })
  await expect(items.bump(1)).rejects.toBe(lost)
  expect(await world.truth(1)).toBe(0)
})

test('without a run: a load that was under way can’t bring back what the method overwrote', async () => {
  const world = await openWorld()
  const { held, open, pass } = gate()
  let isFirst = true
  const cache = await world.open({
    afterRead: async () => {
      if (!isFirst) return
      isFirst = false
      await pass()
    },
  })
  const items = wrapWeakly(await repositoryOf(world), cache)
  const early = items.findById(1)
  await held
  expect(await items.bump(1)).toEqual({ id: 1, version: 1 })
  open()
  await early
  for (const other of [cache, await world.open()]) {
    const read = wrapWeakly(await repositoryOf(world), other)
    expect(await read.findById(1)).toEqual({ id: 1, version: 1 })
  }
})

test('without a run: the ticket is of the method’s write, although it is of the invalidation', async () => {
  const world = await openWorld()
  const repository = await repositoryOf(world)
  const tickets: string[] = []
  const here = wrapWeakly(repository, await world.open(), ({ ticket }) => tickets.push(ticket))
  const there = await world.open()
  for (let version = 1; version <= 20; version++) {
    await there.item.get(1)
    await here.bump(1)
    const ticket = tickets.at(-1) as string
    expect(await there.item.get(1, { ticket })).toEqual({ id: 1, version })
  }
})

test('without a run: a method that failed after its commit is invalidated all the same', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const repository = await repositoryOf(world)
  const items = wrapWeakly(repository, cache)
  expect(await items.findById(1)).toEqual({ id: 1, version: 0 })
  repository.lostAnswer = new RangeError('the answer was lost')
  await expect(items.bump(1)).rejects.toBe(repository.lostAnswer)
  expect(await items.findById(1)).toEqual({ id: 1, version: 1 })
})

test('without a run: where Redis can’t be told, the others hear of it, even if writes are rejected', async () => {
  const world = await openWorld()
  const there = await world.open()
  expect(await there.item.get(1)).toEqual({ id: 1, version: 0 })
  const written: Written[] = []
  const here = await world.open({
    redisUrl: 'redis://127.0.0.1:1',
    options: { onFenceFailure: 'reject' },
  })
  const items = wrapWeakly(await repositoryOf(world), here, (one) => written.push(one))
  expect(await items.bump(1)).toEqual({ id: 1, version: 1 })
  expect(written).toMatchObject([{ method: 'bump', fenced: false }])
  await until('the other one has the new version', async () => {
    return (await there.item.get(1))?.version === 1
  })
})

test('without a run: what could not be invalidated is told, and not to be tried again', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const items = wrapWeakly(await repositoryOf(world), cache)
  await cache.close()
  await expect(items.bump(1)).rejects.toMatchObject({
    code: 'WRITE_NOT_INVALIDATED',
    retryable: false,
    cause: { code: 'CLOSED' },
  })
  expect(await world.truth(1)).toBe(1)
})

test('without a run: an id that won’t do is told before anything is written', async () => {
  const world = await openWorld()
  const items = wrapWeakly(await repositoryOf(world), await world.open())
  await expect(items.bump({} as never)).rejects.toMatchObject({ code: 'ID_INVALID' })
  expect(await world.sql(`select 1 from ${world.table} where version > 0`)).toEqual([])
})
