/** As a user would write it: a small service over a cache, and its tests. */
import type { Knex } from 'knex'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Cache, entity, LockstepError, PartialReadError } from '../../../src/index.ts'
import { type TestCache, testCache } from '../../../src/testing.ts'

// ---------------------------------------------------------------- the service

interface City {
  readonly id: number
  readonly name: string
  readonly visitors: number
}

const entities = {
  city: entity('city', {
    load: async (ids: number[], { db }) => db<City>('cities').whereIn('id', ids),
    id: (row) => row.id,
    ttl: '10m',
    grace: '1h',
  }),
}
type Entities = typeof entities

/** The statements of the service, so that a test can bring others. */
interface Statements {
  rename(tx: Knex.Transaction, id: number, name: string): PromiseLike<readonly City[]>
}

class CityService {
  readonly #cache: Cache<Entities>
  readonly #statements: Statements

  constructor(cache: Cache<Entities>, statements: Statements) {
    this.#cache = cache
    this.#statements = statements
  }

  async title(id: number): Promise<string> {
    try {
      const entry = await this.#cache.city.getEntry(id)
      if (!entry.value) return 'nowhere'
      return entry.proven ? entry.value.name : `${entry.value.name} (perhaps)`
    } catch (error) {
      if (error instanceof LockstepError && error.retryable) return 'try again later'
      throw error
    }
  }

  async titles(ids: readonly number[]): Promise<string[]> {
    const cities = await this.#cache.city.getMany(ids).catch((error: unknown) => {
      if (error instanceof PartialReadError) return error.values as ReadonlyMap<number, City>
      throw error
    })
    return ids.map((id) => cities.get(id)?.name ?? '?')
  }

  async rename(id: number, name: string): Promise<string> {
    const { ticket } = await this.#cache.city.write(id, (tx) =>
      this.#statements.rename(tx, id, name),
    )
    return ticket
  }
}

// ---------------------------------------------------------------- its tests

let opened: TestCache<Entities>
let service: CityService

beforeEach(async () => {
  opened = await testCache({
    entities,
    rows: {
      city: [
        { id: 1, name: 'Lutetia', visitors: 7 },
        { id: 2, name: 'Londinium', visitors: 3 },
      ],
    },
  })
  service = new CityService(opened.cache, {
    rename: async (tx, id, name) => {
      const { city } = opened.rowsIn(tx)
      const row = city.get(id)
      if (!row) throw new Error(`no city ${id}`)
      return [city.put({ ...row, name })]
    },
  })
})
afterEach(() => opened.close())

test('a title is loaded once', async () => {
  expect(await service.title(1)).toBe('Lutetia')
  expect(await service.title(1)).toBe('Lutetia')
  expect(opened.recorder.loads).toEqual([{ entity: 'city', ids: [1] }])
})

test('titles are one call of the loader', async () => {
  expect(await service.titles([1, 9, 2])).toEqual(['Lutetia', '?', 'Londinium'])
  expect(opened.recorder.loads).toEqual([{ entity: 'city', ids: [1, 9, 2] }])
})

test('a city that was renamed has its new name', async () => {
  await service.title(1)
  await service.rename(1, 'Paris')
  expect(await service.title(1)).toBe('Paris')
  expect(opened.rows.city.get(1)).toEqual({ id: 1, name: 'Paris', visitors: 7 })
  expect(opened.recorder.writes).toEqual([{ keys: [opened.cache.city.key(1)] }])
})

test('a city that isn’t there can’t be renamed', async () => {
  await expect(service.rename(9, 'Atlantis')).rejects.toThrow('no city 9')
  expect(opened.rows.city.all().length).toBe(2)
  expect(opened.recorder.writes).toEqual([])
})

test('a title lives for ten minutes, and an hour more while it is loaded anew', async () => {
  await service.title(1)
  opened.rows.city.put({ id: 1, name: 'Paris', visitors: 8 })
  await opened.clock.advance('10m')
  expect(await service.title(1)).toBe('Lutetia')
  await opened.clock.advance(0)
  expect(await service.title(1)).toBe('Paris')
})

test('with the database down there are old titles, then none', async () => {
  await service.title(1)
  opened.trouble.sourceDown()
  expect(await service.titles([1, 2])).toEqual(['Lutetia', '?'])
  await opened.clock.advance('5s')
  expect(await service.title(1)).toBe('Lutetia (perhaps)')
  await opened.clock.advance('2h')
  expect(await service.title(1)).toBe('try again later')
})

test('a slow database is not waited for', async () => {
  opened.trouble.slowLoads('1m')
  expect(await service.title(1)).toBe('try again later')
})
