/**
 * What users hold, on every way to open it: `lockstep()` over PostgreSQL and Redis, and `testCache()`
 * in memory. What a test of theirs sees is what they would have seen.
 */
import { describe, expect, onTestFinished, test } from 'vitest'
import { LockstepError, PartialReadError } from '../../src/index.ts'
import { lockstep } from '../../src/lockstep.ts'
import { openPool, type Tx } from '../../src/postgres/pool.ts'
import { type TestCacheOptions, testCache } from '../../src/testing/test-cache.ts'
import { type Cache, type EntityCache, entity } from '../../src/types.ts'
import { ownNamespace } from '../support/namespace.ts'
import { required } from '../support/world.ts'

interface City {
  readonly id: number
  readonly name: string
}

const seeded: readonly City[] = [
  { id: 1, name: 'Lutetia' },
  { id: 2, name: 'Londinium' },
  { id: 3, name: 'Vindobona' },
]

interface OpenOptions {
  readonly hasL2?: boolean
  readonly writeThrough?: boolean
  /** Stands in for the loader. */
  readonly load?: (ids: number[]) => Promise<City[]>
}

/** One cache, and the statements that go with it. */
interface Place {
  readonly cache: { readonly city: EntityCache<'city', number, City> } & Pick<
    Cache<{ city: ReturnType<typeof cityEntity> }>,
    'write' | 'invalidate' | 'close' | 'stats'
  >
  put(tx: Tx, city: City): Promise<City[]>
  /** By somebody who doesn't know the cache. */
  putUnnoticed(city: City): Promise<void>
}

function cityEntity(table: string, { writeThrough = false, load }: OpenOptions) {
  return entity('city', {
    load: async (ids: number[], { db }): Promise<City[]> =>
      load ? load(ids) : db<City>(table).whereIn('id', ids),
    id: (row) => row.id,
    writeThrough,
  })
}

async function openTable() {
  const table = ownNamespace().replaceAll(/\W/g, '_')
  const pool = openPool({ connectionString: required('DATABASE_URL'), pool: { max: 4 } } as never)
  onTestFinished(async () => {
    await pool.knex.schema.dropTableIfExists(table)
    await pool.close()
  })
  await pool.knex.schema.dropTableIfExists(table)
  await pool.knex.raw(`create table ${table} (id int primary key, name text not null)`)
  await pool.knex(table).insert(seeded)
  const put = (tx: Pick<Tx, never>, city: City): Promise<City[]> =>
    (tx as Tx)<City>(table).insert(city).onConflict('id').merge().returning('*') as Promise<City[]>
  return {
    table,
    knex: pool.knex,
    put,
    putUnnoticed: async (city: City) => void (await put(pool.knex, city)),
  }
}

async function openReal(options: OpenOptions = {}): Promise<Place> {
  const { table, put, putUnnoticed } = await openTable()
  const cache = await lockstep({
    namespace: ownNamespace(),
    postgres: required('DATABASE_URL'),
    ...(options.hasL2 === false ? {} : { redis: required('REDIS_URL') }),
    entities: { city: cityEntity(table, options) },
    // Long, so that a busy machine breaks no promise.
    timing: {
      stalenessBound: '30s',
      redisDeadline: '2s',
      loadDeadline: '5s',
      readDeadline: '20s',
      writeDeadline: '5s',
    },
  })
  onTestFinished(() => cache.close({ timeout: 0 }))
  return { cache, put, putUnnoticed }
}

async function openInMemory(options: OpenOptions = {}): Promise<Place> {
  const place: Pick<TestCacheOptions<never>, 'redis'> = { redis: options.hasL2 ?? true }
  const { cache, rows, rowsIn, close } = await testCache({
    ...place,
    entities: { city: cityEntity('no_table', options) },
    ...(options.load ? {} : { rows: { city: seeded } }),
  })
  onTestFinished(close)
  return {
    cache,
    put: async (tx, city) => [rowsIn(tx).city.put(city)],
    putUnnoticed: async (city) => void rows.city.put(city),
  }
}

async function openWithKnex(options: OpenOptions = {}): Promise<Place> {
  const { table, knex, put, putUnnoticed } = await openTable()
  const { cache, close } = await testCache({
    entities: { city: cityEntity(table, options) },
    knex,
    redis: options.hasL2 ?? true,
  })
  onTestFinished(close)
  return { cache, put, putUnnoticed }
}

const implementations: readonly [string, (options?: OpenOptions) => Promise<Place>][] = [
  ['PostgreSQL and Redis', openReal],
  ['memory', openInMemory],
  ['memory, with a Knex', openWithKnex],
]

describe.each(implementations)('a cache in %s', (_name, open) => {
  describe('reads', () => {
    test('get the value, frozen and shared, or undefined', async () => {
      const { cache } = await open()
      const city = await cache.city.get(1)
      expect(city).toEqual({ id: 1, name: 'Lutetia' })
      expect(Object.isFrozen(city)).toBe(true)
      expect(await cache.city.get(1)).toBe(city)
      expect(await cache.city.get(99)).toBeUndefined()
    })

    test('say where the value came from', async () => {
      const { cache } = await open()
      const first = await cache.city.getEntry(1)
      expect(first).toMatchObject({ tier: 'source', state: 'fresh', proven: true })
      const second = await cache.city.getEntry(1)
      expect(second).toMatchObject({ tier: 'l1', state: 'fresh', proven: true })
      expect(second.value).toEqual({ id: 1, name: 'Lutetia' })
    })

    test('peek into L1, and no further', async () => {
      const { cache } = await open()
      expect(cache.city.peek(1)).toBeUndefined()
      await cache.city.get(1)
      expect(cache.city.peek(1)).toEqual({ id: 1, name: 'Lutetia' })
    })

    test('of many bring those that exist, each id once', async () => {
      const { cache } = await open()
      const cities = await cache.city.getMany(new Set([3, 99, 1]).values())
      expect([...cities]).toEqual([
        [3, { id: 3, name: 'Vindobona' }],
        [1, { id: 1, name: 'Lutetia' }],
      ])
      expect((await cache.city.getMany([2, 2])).size).toBe(1)
      expect((await cache.city.getMany([])).size).toBe(0)
    })

    test('of one turn are one load, and absent ids are remembered', async () => {
      const { cache } = await open()
      await Promise.all([cache.city.get(1), cache.city.get(1), cache.city.getMany([2, 99])])
      await Promise.all([cache.city.get(1), cache.city.get(99)])
      expect(cache.stats().city).toMatchObject({ loads: 1, loadedIds: 3, misses: 4 })
      expect(cache.stats().city.hits).toEqual({ l1: 2, l2: 0 })
    })

    test('that cannot be are told', async () => {
      const { cache } = await open()
      await expect(cache.city.get(Number.NaN)).rejects.toMatchObject({ code: 'ID_INVALID' })
      const ticket = { ticket: 'none' }
      await expect(cache.city.get(1, ticket)).rejects.toMatchObject({ code: 'TICKET_INVALID' })
      const timeout = { timeout: 'soon' }
      await expect(cache.city.get(1, timeout)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      await expect(cache.city.getMany(7 as never)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
      await expect(cache.city.get(1, { signal: AbortSignal.abort('gone') })).rejects.toBe('gone')
    })
  })

  describe('a loader', () => {
    test('that fails is told with its error', async () => {
      const cause = new Error('relation "cities" does not exist')
      const { cache } = await open({ load: () => Promise.reject(cause) })
      const error = await cache.city.get(1).catch((caught: unknown) => caught)
      expect(error).toBeInstanceOf(LockstepError)
      expect(error).toMatchObject({ code: 'LOADER_FAILED', cause })
    })

    test('that brings something odd fails the ids of that', async () => {
      const odd = { id: 2, name: 'odd', code: () => {} }
      const { cache } = await open({ load: async () => [{ id: 1, name: 'even' }, odd] })
      const error = await cache.city.getMany([1, 2]).catch((caught: unknown) => caught)
      expect(error).toBeInstanceOf(PartialReadError)
      const { values, failures } = error as PartialReadError
      expect([...values]).toEqual([[1, { id: 1, name: 'even' }]])
      expect([...failures.keys()]).toEqual([2])
      expect(failures.get(2)).toMatchObject({ code: 'VALUE_NOT_ENCODABLE' })
    })

    test('that brings no rows is told', async () => {
      const { cache } = await open({ load: async () => ({}) as never })
      await expect(cache.city.get(1)).rejects.toMatchObject({ code: 'LOADER_INVALID' })
    })
  })

  describe('writes', () => {
    test.each([true, false])('are seen by the reads after them (with L2: %s)', async (hasL2) => {
      const { cache, put } = await open({ hasL2 })
      await cache.city.get(1)
      const written = await cache.city.write(1, (tx) => put(tx, { id: 1, name: 'Paris' }))
      expect(written).toMatchObject({ fenced: true, value: [{ id: 1, name: 'Paris' }] })
      expect(cache.city.peek(1)).toBeUndefined()
      expect(await cache.city.get(1, { ticket: written.ticket })).toMatchObject({ name: 'Paris' })
      expect(await cache.city.get(1, { consistency: 'strong' })).toMatchObject({ name: 'Paris' })
      expect(await cache.city.get(1)).toMatchObject({ name: 'Paris' })
    })

    test('without an id take those of the returned rows', async () => {
      const { cache, put } = await open()
      expect(await cache.city.get(4)).toBeUndefined()
      await cache.city.write((tx) => put(tx, { id: 4, name: 'Roma' }))
      expect(await cache.city.get(4)).toMatchObject({ name: 'Roma' })
    })

    test('without an id and without rows are rolled back', async () => {
      const { cache, put } = await open()
      const write = cache.city.write(async (tx) => {
        await put(tx, { id: 1, name: 'Paris' })
        return []
      })
      await expect(write).rejects.toMatchObject({ code: 'WRITE_KEYS_MISSING' })
      expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
    })

    test('of several keys are one transaction', async () => {
      const { cache, put } = await open()
      await cache.city.getMany([1, 2])
      await cache.write([cache.city.key(1), cache.city.key(2)], async (tx) => {
        await put(tx, { id: 1, name: 'Paris' })
        await put(tx, { id: 2, name: 'London' })
      })
      const cities = await cache.city.getMany([1, 2])
      expect([...cities.values()].map(({ name }) => name)).toEqual(['Paris', 'London'])
    })

    test('whose callback throws are rolled back, and its error comes out as it is', async () => {
      const { cache, put } = await open()
      await cache.city.get(1)
      const refused = new Error('no such thing')
      const write = cache.city.write(1, async (tx) => {
        await put(tx, { id: 1, name: 'Paris' })
        throw refused
      })
      await expect(write).rejects.toBe(refused)
      expect(await cache.city.get(1, { consistency: 'strong' })).toMatchObject({ name: 'Lutetia' })
    })

    test('see what they wrote, and nobody else does before they have committed', async () => {
      const { cache, put } = await open()
      await cache.city.write(1, async (tx) => {
        await put(tx, { id: 1, name: 'Paris' })
        expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
        expect(await put(tx, { id: 1, name: 'Paris' })).toEqual([{ id: 1, name: 'Paris' }])
      })
      expect(await cache.city.get(1)).toMatchObject({ name: 'Paris' })
    })

    test('leave their value in L2 where the entity writes through', async () => {
      const { cache, put } = await open({ writeThrough: true })
      await cache.city.get(1)
      await cache.city.write(1, (tx) => put(tx, { id: 1, name: 'Paris' }))
      const entry = await cache.city.getEntry(1)
      expect(entry).toMatchObject({ tier: 'l2', value: { name: 'Paris' } })
      expect(cache.stats().city.loads).toBe(1)
    })

    test('that cannot be are told', async () => {
      const { cache } = await open()
      const code = 'OPTION_INVALID'
      await expect(cache.city.write(1, 'no callback' as never)).rejects.toMatchObject({ code })
      await expect(cache.write([], () => {})).rejects.toMatchObject({ code })
      await expect(cache.city.write(1, () => {}, { retries: -1 })).rejects.toMatchObject({ code })
    })
  })

  test('what somebody else wrote is old until it is invalidated', async () => {
    const { cache, putUnnoticed } = await open()
    await cache.city.get(1)
    await putUnnoticed({ id: 1, name: 'Paris' })
    expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
    const { ticket, fenced } = await cache.city.invalidate(1)
    expect(fenced).toBe(true)
    expect(await cache.city.get(1, { ticket })).toMatchObject({ name: 'Paris' })
    await putUnnoticed({ id: 1, name: 'Lutetia' })
    await cache.invalidate([cache.city.key(1)])
    expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
  })

  test('a closed cache answers nothing more', async () => {
    const { cache } = await open()
    const reading = cache.city.get(1)
    await cache.close()
    expect(await reading).toMatchObject({ name: 'Lutetia' })
    await expect(cache.city.get(2)).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(cache.city.write(1, () => {})).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe.each(implementations.filter(([name]) => name !== 'memory'))(
  'with SQL in %s',
  (_name, open) => {
    test('a callback that ends the transaction itself is told', async () => {
      const { cache, put } = await open()
      const write = cache.city.write(1, async (tx) => {
        await put(tx, { id: 1, name: 'Paris' })
        await tx.rollback()
      })
      await expect(write).rejects.toMatchObject({ code: 'WRITE_ENDED_EARLY' })
      expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
    })

    test('a statement that PostgreSQL refuses rejects with its error, and rolls back', async () => {
      const { cache, put } = await open()
      const write = cache.city.write(1, async (tx) => {
        await put(tx, { id: 1, name: 'Paris' })
        await put(tx, { id: 2, name: null as never })
      })
      await expect(write).rejects.toMatchObject({ code: '23502' })
      expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
    })
  },
)
