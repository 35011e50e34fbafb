/** Which methods `wrapRepository` takes, and what they are given. */
import type { Knex } from 'knex'
import { expectTypeOf, test } from 'vitest'
import {
  type EntityCache,
  type ReadOptions,
  type Ticket,
  type Written,
  wrapRepository,
} from '../../src/index.ts'

interface City {
  readonly id: number
  readonly name: string
}
interface Seat {
  readonly row: number
  readonly place: string
}

declare class Cities {
  readonly name: string
  findById(id: number): Promise<City | undefined>
  findOrNull(id: number): Promise<City | null>
  findMaybe(id?: number): Promise<City | undefined>
  getById(id: number): Promise<City>
  findWith(id: number, options: { signal: AbortSignal }): Promise<City | undefined>
  findByName(name: string): Promise<City | undefined>
  findByIds(ids: readonly number[]): Promise<City[]>
  mapByIds(ids: readonly number[]): Promise<Map<number, City>>
  findSync(id: number): City | undefined
  query(id: number): Knex.QueryBuilder<City, City | undefined>
  count(): Promise<number>
  rename(id: number, name: string): Promise<City>
  move(name: string, id: number): Promise<boolean>
  touch(id: number): Promise<void>
  touchSync(id: number): void
  create(name: string): Promise<City>
  createMany(names: string[]): Promise<City[]>
  private secret(id: number): Promise<City | undefined>
}

declare const cities: Cities
declare const city: EntityCache<'city', number, City>
declare const seat: EntityCache<'seat', Seat, Seat>
const first = (id: number): number => id

test('what comes back is a repository of the same type', () => {
  expectTypeOf(wrapRepository(cities, city, {})).toEqualTypeOf<Cities>()
})

test('the short form takes reads whose one argument is the id, with the cache’s result', () => {
  wrapRepository(cities, city, { read: ['findById'] })
  // @ts-expect-error: no such method
  wrapRepository(cities, city, { read: ['findByID'] })
  // @ts-expect-error: no method
  wrapRepository(cities, city, { read: ['name'] })
  // @ts-expect-error: a name is no id
  wrapRepository(cities, city, { read: ['findByName'] })
  // @ts-expect-error: the cache says undefined, not null
  wrapRepository(cities, city, { read: ['findOrNull'] })
  // @ts-expect-error: the cache may have no value
  wrapRepository(cities, city, { read: ['getById'] })
  // @ts-expect-error: maybe no id
  wrapRepository(cities, city, { read: ['findMaybe'] })
  // @ts-expect-error: the second argument would be ignored
  wrapRepository(cities, city, { read: ['findWith'] })
  // @ts-expect-error: not a promise
  wrapRepository(cities, city, { read: ['findSync'] })
  // @ts-expect-error: a query builder is more than a promise
  wrapRepository(cities, city, { read: ['query'] })
  // @ts-expect-error: not of this repository's users
  wrapRepository(cities, city, { read: ['secret'] })
  // @ts-expect-error: the id of a seat is no number
  wrapRepository(cities, seat, { read: ['findById'] })
})

test('the short form takes writes whose first argument is the id', () => {
  wrapRepository(cities, city, { write: ['rename', 'touch'] })
  // @ts-expect-error: a name is no id
  wrapRepository(cities, city, { write: ['move'] })
  // @ts-expect-error: no argument
  wrapRepository(cities, city, { write: ['count'] })
  // @ts-expect-error: not a promise
  wrapRepository(cities, city, { write: ['touchSync'] })
})

test('the functions of a read are given the method’s arguments', () => {
  wrapRepository(cities, city, {
    read: {
      findById: { id: (id) => id },
      findWith: {
        id: (id, options) => {
          expectTypeOf(id).toEqualTypeOf<number>()
          expectTypeOf(options).toEqualTypeOf<{ signal: AbortSignal }>()
          return id
        },
        options: (_id, { signal }): ReadOptions => ({ signal, consistency: 'strong' }),
      },
      findByName: { id: (name) => name.length },
    },
  })
  // @ts-expect-error: the id of a city is a number
  wrapRepository(cities, city, { read: { findById: { id: (id) => String(id) } } })
  // @ts-expect-error: the method is given a text
  wrapRepository(cities, city, { read: { findByName: { id: (id: number) => id } } })
  // @ts-expect-error: no id
  wrapRepository(cities, city, { read: { findById: {} } })
  // @ts-expect-error: no such option
  wrapRepository(cities, city, { read: { findById: { id: first, ttl: '1m' } } })
  wrapRepository(cities, city, {
    // @ts-expect-error: no such consistency
    read: { findById: { id: first, options: () => ({ consistency: 'eventual' }) } },
  })
  // @ts-expect-error: not a promise
  wrapRepository(cities, city, { read: { findSync: { id: first } } })
  // @ts-expect-error: a query builder is more than a promise
  wrapRepository(cities, city, { read: { query: { id: first } } })
})

test('a result is wanted where the method’s is not the cache’s', () => {
  wrapRepository(cities, city, {
    read: {
      findOrNull: { id: first, result: (found) => found ?? null },
      getById: {
        id: (id) => id,
        result: (found, id) => {
          expectTypeOf(found).toEqualTypeOf<City | undefined>()
          expectTypeOf(id).toEqualTypeOf<number>()
          if (!found) throw new RangeError(`no city ${id}`)
          return found
        },
      },
    },
  })
  // @ts-expect-error: null is not undefined
  wrapRepository(cities, city, { read: { findOrNull: { id: first } } })
  // @ts-expect-error: there may be no city
  wrapRepository(cities, city, { read: { getById: { id: first } } })
  wrapRepository(cities, city, {
    // @ts-expect-error: the method never returns undefined
    read: { getById: { id: first, result: (found) => found } },
  })
})

test('many ids come as a Map, and leave as what the method returned', () => {
  wrapRepository(cities, city, {
    read: {
      mapByIds: { ids: (ids) => ids },
      findByIds: {
        ids: (ids) => ids,
        result: (found, ids) => {
          expectTypeOf(found).toEqualTypeOf<Map<number, City>>()
          expectTypeOf(ids).toEqualTypeOf<readonly number[]>()
          return [...found.values()]
        },
      },
    },
  })
  // @ts-expect-error: a Map is no array
  wrapRepository(cities, city, { read: { findByIds: { ids: (ids) => ids } } })
  // @ts-expect-error: these are names
  wrapRepository(cities, city, { read: { mapByIds: { ids: (ids) => ids.map(String) } } })
  wrapRepository(cities, city, {
    // @ts-expect-error: one or many
    read: { mapByIds: { id: () => 1, ids: (ids: readonly number[]) => ids } },
  })
})

test('the run of a write returns what the method returned', () => {
  wrapRepository(cities, city, {
    write: {
      rename: {
        id: (id) => id,
        run: async (tx, id, name) => {
          expectTypeOf(tx).toExtend<Knex.Transaction>()
          expectTypeOf(id).toEqualTypeOf<number>()
          expectTypeOf(name).toEqualTypeOf<string>()
          const [row] = await tx<City>('cities').where({ id }).update({ name }).returning('*')
          if (!row) throw new RangeError(`no city ${id}`)
          return row
        },
        options: (_id, name) => ({ retries: name.length }),
      },
      move: { id: (_name, id) => id, run: () => true },
      touch: { id: first, run: (tx, id) => tx('cities').where({ id }).update({ touched: 1 }) },
    },
  })
  wrapRepository(cities, city, {
    // @ts-expect-error: the method returns the city
    write: { rename: { id: first, run: async (_tx, id) => id } },
  })
  wrapRepository(cities, city, {
    // @ts-expect-error: the id of a city is a number
    write: { rename: { id: (_id, name) => name, run: async () => ({ id: 1, name: 'Ulm' }) } },
  })
  // @ts-expect-error: the id of a city is a number
  wrapRepository(cities, city, { write: { rename: { id: (_id, name) => name } } })
  // @ts-expect-error: an invalidation has no such options
  wrapRepository(cities, city, { write: { touch: { id: first, options: () => ({ retries: 1 }) } } })
  // @ts-expect-error: not a promise
  wrapRepository(cities, city, { write: { touchSync: { id: first } } })
})

test('without an id the result has the rows that have the ids', () => {
  wrapRepository(cities, city, {
    write: {
      create: { run: async (_tx, name) => ({ id: 1, name }) },
      createMany: { run: (tx) => tx<City>('cities').insert({ name: '' }).returning('*') },
    },
  })
  // @ts-expect-error: a boolean has no id
  wrapRepository(cities, city, { write: { move: { run: () => true } } })
  // @ts-expect-error: nor has nothing
  wrapRepository(cities, city, { write: { touch: { run: () => {} } } })
  // @ts-expect-error: without a run nobody knows what it made
  wrapRepository(cities, city, { write: { create: {} } })
})

test('an id may be an object', () => {
  const seats = {
    find: async (id: Seat): Promise<Seat | undefined> => id,
    findAt: async (row: number, place: string): Promise<Seat | undefined> => ({ row, place }),
  }
  wrapRepository(seats, seat, { read: ['find'] })
  // A method that arrays have, too.
  wrapRepository(seats, seat, { read: { find: { id: (id) => id, result: (found) => found } } })
  wrapRepository(seats, seat, { read: { findAt: { id: (row, place) => ({ row, place }) } } })
  // @ts-expect-error: a part of the id is missing
  wrapRepository(seats, seat, { read: { findAt: { id: (row) => ({ row }) } } })
  // @ts-expect-error: a row is no id
  wrapRepository(seats, seat, { read: ['findAt'] })
})

test('a method may be a property, of an interface, or a symbol', () => {
  const find = Symbol('find')
  interface Ports {
    byId: (id: number) => Promise<City | undefined>
    readonly [find]: (id: number) => Promise<City | undefined>
  }
  const wrapped = wrapRepository({} as Ports, city, { read: ['byId', find] })
  expectTypeOf(wrapped).toEqualTypeOf<Ports>()
})

test('the hook is told of each write', () => {
  wrapRepository(cities, city, {
    onWrite: (written) => {
      expectTypeOf(written).toEqualTypeOf<Written>()
      expectTypeOf<Ticket>().toExtend<Written['ticket']>()
    },
  })
  // @ts-expect-error: a slip of the pen
  wrapRepository(cities, city, { onwrite: () => {} })
})

test('neither a repository nor a handle can be something else', () => {
  // @ts-expect-error: not an object
  wrapRepository(null, city, {})
  // @ts-expect-error: not an entity of a cache
  wrapRepository(cities, {}, {})
})
