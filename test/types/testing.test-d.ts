/** What compiles with `lockstep/testing`: all of it is typed from the entities. */
import type { Knex } from 'knex'
import { expectTypeOf, test } from 'vitest'
import { type Cache, entity } from '../../src/index.ts'
import { type Tables, type TestCache, testCache } from '../../src/testing.ts'

interface City {
  readonly id: number
  readonly name: string
}
interface Seat {
  readonly row: number
  readonly place: string
}

const city = entity('city', {
  load: async (ids: number[], { db }) => db<City>('cities').whereIn('id', ids),
  id: (row) => row.id,
})
const seat = entity('seat', {
  load: async (_ids: { row: number; place: string }[]): Promise<(Seat | null)[]> => [],
  id: ({ row, place }) => ({ row, place }),
  idToString: ({ row, place }) => `${row}/${place}`,
})
const entities = { city, seat }
declare const opened: TestCache<typeof entities>
declare const knex: Knex

test('the cache is what lockstep() returns', () => {
  expectTypeOf(testCache({ entities })).resolves.toEqualTypeOf<TestCache<typeof entities>>()
  expectTypeOf(opened.cache).toEqualTypeOf<Cache<typeof entities>>()
})

test('rows and loaders are those of the entities', () => {
  void testCache({ entities, rows: { city: [{ id: 1, name: 'Paris' }], seat: [] }, redis: false })
  void testCache({
    entities,
    loaders: { city: async (ids) => ids.map((id) => ({ id: id satisfies number, name: '' })) },
    knex,
  })
  // @ts-expect-error: no such entity
  void testCache({ entities, rows: { town: [] } })
  // @ts-expect-error: a row without a name
  void testCache({ entities, rows: { city: [{ id: 1 }] } })
  // @ts-expect-error: an id that is a text
  void testCache({ entities, rows: { city: [{ id: '1', name: 'Paris' }] } })
  // @ts-expect-error: rows of another kind
  void testCache({ entities, loaders: { city: async () => [{ row: 1, place: 'A' }] } })
  // @ts-expect-error: lockstep's, and not needed here
  void testCache({ entities, postgres: 'postgres://x' })
  // @ts-expect-error: no Knex
  void testCache({ entities, knex: {} })
})

test('tables take and give rows of their entity', () => {
  expectTypeOf(opened.rows.city.get).parameters.toEqualTypeOf<[id: number]>()
  expectTypeOf(opened.rows.city.get(1)).toEqualTypeOf<City | undefined>()
  expectTypeOf(opened.rows.seat.get).parameter(0).toEqualTypeOf<{ row: number; place: string }>()
  expectTypeOf(opened.rows.city.all()).toEqualTypeOf<City[]>()
  expectTypeOf(opened.rowsIn).returns.toEqualTypeOf<Tables<typeof entities>>()
  // @ts-expect-error: a row without a name
  opened.rows.city.put({ id: 1 })
  void testCache({
    entities,
    rows: { city: [] },
    tx: (rows) => {
      expectTypeOf(rows).toEqualTypeOf<Tables<typeof entities>>()
      return {}
    },
  })
})

test('a transaction in memory goes where a callback has one, and its value comes back', () => {
  const written = opened.cache.city.write(1, (tx) => {
    expectTypeOf(tx).toEqualTypeOf<Knex.Transaction>()
    return opened.rowsIn(tx).city.put({ id: 1, name: 'Paris' })
  })
  expectTypeOf(written).resolves.toHaveProperty('value').toEqualTypeOf<City>()
})

test('the clock takes durations, trouble what there is of it', () => {
  expectTypeOf(opened.clock.advance).parameter(0).toEqualTypeOf<number | string>()
  expectTypeOf(opened.clock.now()).toEqualTypeOf<number>()
  opened.trouble.nextCommit('unknown')
  // @ts-expect-error: nothing that a COMMIT comes to
  opened.trouble.nextCommit('lost')
})
