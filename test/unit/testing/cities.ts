/** The entities that the tests of `src/testing` open their caches with. */
import { onTestFinished } from 'vitest'
import { type TestCacheOptions, testCache } from '../../../src/testing/test-cache.ts'
import { entity } from '../../../src/types.ts'

export interface City {
  readonly id: number
  readonly name: string
}

export const city = entity('city', {
  load: async (ids: number[], { db }) => db<City>('cities').whereIn('id', ids),
  id: (row) => row.id,
  ttl: '10m',
  grace: '1h',
  negativeTtl: '30s',
})

export const country = entity('country', {
  load: async (codes: string[], { db }) => db<{ code: string }>('countries').whereIn('code', codes),
  id: (row) => row.code,
})

const entities = { city, country }
type Options = Omit<TestCacheOptions<typeof entities>, 'entities'>

/** Two cities and a country in memory; closed when the test has ended. */
export async function openCities(options: Options = {}) {
  const rows = {
    ...(options.loaders?.city ? {} : { city: [lutetia, londinium] }),
    ...(options.loaders?.country ? {} : { country: [{ code: 'FR' }] }),
  }
  const opened = await testCache({ entities, rows, ...options })
  onTestFinished(() => opened.close())
  return opened
}

export const lutetia: City = { id: 1, name: 'Lutetia' }
export const londinium: City = { id: 2, name: 'Londinium' }
