/** What `testCache` adds to a cache: rows, loaders, what stands for the database, the recorder. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { testCache } from '../../../src/testing/test-cache.ts'
import { entity } from '../../../src/types.ts'
import { type City, city, country, londinium, lutetia, openCities } from './cities.ts'

const optionInvalid = expect.objectContaining({ code: 'OPTION_INVALID' })

describe('rows', () => {
  test('are copies: what a test does to its own changes nothing', async () => {
    const own = { id: 3, name: 'Vindobona' }
    const { cache, rows } = await openCities({ rows: { city: [own] } })
    own.name = 'changed'
    const read = rows.city.get(3) as { name: string }
    read.name = 'changed'
    expect(await cache.city.get(3)).toEqual({ id: 3, name: 'Vindobona' })
    // A frozen value of the cache can be put back, and changed.
    rows.city.put((await cache.city.get(3)) as City)
    expect(Object.isFrozen(rows.city.get(3))).toBe(false)
  })

  test('are put, deleted, and told in order', async () => {
    const { rows } = await openCities()
    expect(rows.city.put({ id: 3, name: 'Vindobona' })).toEqual({ id: 3, name: 'Vindobona' })
    rows.city.delete(1)
    expect(rows.city.get(1)).toBeUndefined()
    expect(rows.city.all().map(({ id }) => id)).toEqual([2, 3])
  })

  test('are seen by a transaction as it left them, and by others once it has committed', async () => {
    const { cache, rows, rowsIn } = await openCities()
    const seen: unknown[] = []
    await cache.city.write(1, (tx) => {
      const own = rowsIn(tx).city
      own.put({ id: 1, name: 'Paris' })
      own.delete(2)
      seen.push(own.all(), rows.city.all())
    })
    expect(seen).toEqual([[{ id: 1, name: 'Paris' }], [lutetia, londinium]])
    expect(rows.city.all()).toEqual([{ id: 1, name: 'Paris' }])
  })

  test('are as before after a callback that threw', async () => {
    const { cache, rows, rowsIn } = await openCities()
    const write = cache.city.write(1, (tx) => {
      rowsIn(tx).city.put({ id: 1, name: 'Paris' })
      rowsIn(tx).city.put({ id: 4, name: 'Roma' })
      throw new Error('changed my mind')
    })
    await expect(write).rejects.toThrow('changed my mind')
    expect(rows.city.all()).toEqual([lutetia, londinium])
  })

  test('may be many', async () => {
    const many = Array.from({ length: 5_000 }, (_, id) => ({ id, name: `city ${id}` }))
    const { cache, rows } = await openCities({ rows: { city: many } })
    for (const { id } of many) rows.city.put({ id, name: 'Paris' })
    expect((await cache.city.getMany(many.map(({ id }) => id))).size).toBe(5_000)
  }, 30_000)

  test('that do not exist are looked for, also with the option bloom', async () => {
    const bloomed = entity('city', {
      load: async (): Promise<City[]> => [],
      id: ({ id }) => id,
      bloom: { table: 'cities', column: 'id' },
    })
    const { cache, recorder, close } = await testCache({
      entities: { city: bloomed },
      rows: { city: [lutetia] },
    })
    onTestFinished(() => close())
    expect([...(await cache.city.getMany([1, 99])).keys()]).toEqual([1])
    expect(recorder.loads).toEqual([{ entity: 'city', ids: [1, 99] }])
  })

  test('of an entity that is not kept in memory are refused, with what would do', async () => {
    const { rows, rowsIn } = await openCities({ loaders: { city: async () => [] } })
    expect(() => rows.city.get(1)).toThrow(/rows: \{ city: \[\] \}/)
    expect(() => rowsIn({})).toThrow(optionInvalid)
  })
})

describe('where there is no database', () => {
  const bare = async () => {
    const opened = await testCache({ entities: { city } })
    onTestFinished(() => opened.close())
    return opened
  }

  test('a loader that uses it is told which use it was, and what would do', async () => {
    const { cache } = await bare()
    const message =
      /loader of entity "city" used db\("cities"\).*rows: \{ city: \[\] \}.*loaders.*knex/
    const error = await cache.city.get(1).catch((caught: unknown) => caught)
    expect(error).toEqual(optionInvalid)
    expect(error).toMatchObject({ message: expect.stringMatching(message) })
  })

  test('so is the callback of a write, for calls and properties alike', async () => {
    const { cache } = await bare()
    const call = cache.city.write(1, (tx) => tx('cities').where({ id: 1 }).update({ name: 'x' }))
    await expect(call).rejects.toThrow(/callback of a write used tx\("cities"\).*knex.*tx.*rowsIn/)
    const raw = cache.city.write(1, async (tx) => void (await tx.raw('select 1')))
    await expect(raw).rejects.toThrow(/used tx\.raw/)
  })

  test('a loader that doesn’t use it runs, and so does a callback', async () => {
    const loaders = { city: async (ids: number[]) => ids.map((id) => ({ id, name: `city ${id}` })) }
    const { cache } = await openCities({ loaders })
    expect(await cache.city.get(7)).toEqual({ id: 7, name: 'city 7' })
    // To be printed or awaited is no use of it.
    const { value } = await cache.city.write(7, async (tx) => {
      expect(await tx).toBe(tx)
      return 'done'
    })
    expect(value).toBe('done')
  })
})

test('tx makes what a callback gets, from the rows of its transaction', async () => {
  const entities = { city }
  const { cache, rows, rowsIn, close } = await testCache({
    entities,
    rows: { city: [lutetia] },
    tx: ({ city: own }) => ({
      renameCity: (id: number, name: string) => own.put({ id, name }),
    }),
  })
  onTestFinished(close)
  const rename = (tx: unknown, name: string): City =>
    (tx as { renameCity(id: number, name: string): City }).renameCity(1, name)
  await cache.city.write(1, (tx) => rename(tx, 'Paris'))
  expect(await cache.city.get(1)).toEqual({ id: 1, name: 'Paris' })
  const write = cache.city.write(1, (tx) => {
    rename(tx, 'Roma')
    expect(rowsIn(tx).city.get(1)).toEqual({ id: 1, name: 'Roma' })
    throw new Error('no')
  })
  await expect(write).rejects.toThrow('no')
  expect(rows.city.all()).toEqual([{ id: 1, name: 'Paris' }])
})

describe('the recorder', () => {
  test('has what was asked and what was loaded, each in order', async () => {
    const { cache, recorder } = await openCities()
    await cache.city.get(1)
    await cache.city.getMany([1, 2])
    await cache.city.getEntry(2, { consistency: 'strong' })
    cache.country.peek('FR')
    expect(recorder.loads).toEqual([
      { entity: 'city', ids: [1] },
      { entity: 'city', ids: [2] },
    ])
    expect(recorder.reads).toEqual([
      { method: 'get', entity: 'city', ids: [1] },
      { method: 'getMany', entity: 'city', ids: [1, 2] },
      { method: 'getEntry', entity: 'city', ids: [2], options: { consistency: 'strong' } },
      { method: 'peek', entity: 'country', ids: ['FR'] },
    ])
    recorder.clear()
    expect([recorder.all, recorder.reads, recorder.loads]).toEqual([[], [], []])
  })

  test('has the writes and invalidations that returned, by their keys', async () => {
    const { cache, recorder, rowsIn } = await openCities()
    await cache.city.write(1, () => {})
    await cache.city.write((tx) => [
      rowsIn(tx).city.put({ id: 8, name: 'Roma' }),
      rowsIn(tx).city.put({ id: 8, name: 'Rome' }),
    ])
    const failed = cache.city.write(2, () => Promise.reject(new Error('no')))
    await expect(failed).rejects.toThrow('no')
    await cache.write([cache.city.key(1), cache.country.key('FR')], () => {})
    await cache.country.invalidate('FR')
    await cache.invalidate([cache.city.key(2)])
    expect(recorder.writes).toEqual([
      { keys: [{ entity: 'city', id: '1' }] },
      { keys: [{ entity: 'city', id: '8' }] },
      { keys: [cache.city.key(1), cache.country.key('FR')] },
    ])
    expect(recorder.invalidations).toEqual([
      { keys: [cache.country.key('FR')] },
      { keys: [cache.city.key(2)] },
    ])
  })

  test('has all of it in one order, with the time', async () => {
    const { cache, clock, recorder } = await openCities()
    await cache.city.get(1)
    await clock.advance('1s')
    await cache.city.invalidate(1)
    expect(recorder.all).toEqual([
      { kind: 'read', atMs: 0, method: 'get', entity: 'city', ids: [1] },
      { kind: 'load', atMs: 0, entity: 'city', ids: [1] },
      { kind: 'invalidation', atMs: 1_000, keys: [{ entity: 'city', id: '1' }] },
    ])
  })

  test('begins anew when a test runs for too long', async () => {
    const { cache, recorder } = await openCities()
    for (let count = 0; count < 100_001; count++) cache.city.peek(1)
    expect([recorder.all.length, recorder.reads.length]).toEqual([1, 1])
  })
})

test('the same calls come to the same recording, each time', async () => {
  const run = async () => {
    const { cache, clock, recorder, rowsIn, trouble } = await openCities()
    const rename = (name: string) =>
      cache.city.write(1, (tx) => rowsIn(tx).city.put({ id: 1, name }))
    const outcomes: unknown[] = []
    const note = async (call: Promise<unknown>) =>
      void outcomes.push(await call.catch((error: { code: string }) => error.code))
    await note(Promise.all([cache.city.get(1), cache.city.getMany([2, 1, 3])]))
    await note(rename('Paris'))
    await clock.advance('10m')
    await note(cache.city.getEntry(2))
    trouble.slowLoads('300ms')
    await Promise.all([
      note(cache.country.get('FR')),
      note(rename('Roma')),
      note(cache.city.get(1)),
    ])
    trouble.sourceDown()
    await Promise.all([note(cache.city.get(9)), note(cache.country.get('DE')), note(rename('x'))])
    await clock.advance('2h')
    trouble.end()
    trouble.redisDown()
    await note(rename('Rome'))
    trouble.loseTrust()
    await note(cache.city.getEntry(1))
    return { outcomes, all: recorder.all, now: clock.now(), stats: cache.stats() }
  }
  const [first, ...others] = [await run(), await run(), await run()]
  expect(first?.all.length).toBeGreaterThan(10)
  for (const other of others) expect(other).toEqual(first)
})

test('caches of two tests share nothing', async () => {
  const [one, other] = [await openCities(), await openCities()]
  one.rows.city.put({ id: 1, name: 'Paris' })
  await one.clock.advance('1h')
  expect(await other.cache.city.get(1)).toEqual(lutetia)
  expect(other.clock.now()).toBeLessThan(one.clock.now())
  expect(one.recorder.all).toEqual([])
})

test('await using closes it', async () => {
  let kept: Awaited<ReturnType<typeof openCities>>['cache']
  {
    await using opened = await openCities()
    kept = opened.cache
    await kept.city.get(1)
  }
  await expect(kept.city.get(1)).rejects.toMatchObject({ code: 'CLOSED' })
})

describe('options that won’t do', () => {
  const entities = { city, country }
  const wrong: readonly [string, object, RegExp][] = [
    ['an unknown one', { entities, postgres: 'x' }, /option "postgres".*one of entities, rows/],
    ['no entities', {}, /option "entities"/],
    ['rows of nobody', { entities, rows: { town: [] } }, /option "rows.town".*city, country/],
    ['rows that are none', { entities, rows: { city: {} } }, /option "rows.city".*array/],
    ['two rows of one id', { entities, rows: { city: [lutetia, lutetia] } }, /id of its own/],
    ['loaders of nobody', { entities, loaders: { town: () => [] } }, /option "loaders.town"/],
    ['loaders that are none', { entities, loaders: { city: [] } }, /option "loaders.city"/],
    [
      'rows and a loader',
      { entities, rows: { city: [] }, loaders: { city: async () => [] } },
      /option "loaders.city".*one of the two/,
    ],
    ['a Knex that is none', { entities, knex: {} }, /option "knex"/],
    ['a tx that is none', { entities, tx: {} }, /option "tx"/],
    ['a Redis that is no boolean', { entities, redis: 'redis://x' }, /option "redis"/],
    ['a timing that won’t do', { entities, timing: { pollInterval: 0 } }, /timing.pollInterval/],
  ]
  test.each(wrong)('%s', async (_name, options, message) => {
    const error = await testCache(options as never).catch((caught: unknown) => caught)
    expect(error).toEqual(optionInvalid)
    expect(error).toMatchObject({ message: expect.stringMatching(message) })
  })

  test('a tx that makes nothing', async () => {
    const { cache, close } = await testCache({ entities, rows: { city: [] }, tx: () => 7 })
    onTestFinished(close)
    await expect(cache.city.write(1, () => {})).rejects.toEqual(optionInvalid)
  })
})
