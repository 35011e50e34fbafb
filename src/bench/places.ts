/** Where the bench keeps its things, the same in all of its processes. */
import type { EntityOptions } from '../model/entity.ts'
import type { Db } from '../postgres/pool.ts'
import { keySpace } from '../redis/keys.ts'
import { type Cache, entity } from '../types.ts'
import { type City, cityCount, type Size } from './data.ts'

export const schema = 'lockstep_bench'

/** What a process of the bench needs to open a cache. */
export interface Place {
  readonly databaseUrl: string
  readonly redisUrl: string | undefined
  readonly namespace: string
}

/** The entities: cities of either size, those that are cold, and those that only the fills are for. */
const names = ['city-200', 'city-2048', 'cold', 'filled-200', 'filled-2048'] as const
export type EntityName = (typeof names)[number]

export const tableOf = (size: Size): string => `${schema}.cities_${size}`

export function cityEntity(
  name: EntityName,
  size: Size,
  options: Partial<EntityOptions<number, City, Db>> = {},
) {
  return entity<EntityName, number, City>(name, {
    load: (ids, { db }) => db<City>(tableOf(size)).select('*').whereRaw('id = any(?)', [ids]),
    id: (city) => city.id,
    ttl: '1h',
    ...options,
  })
}

export type CityCache = Cache<{ city: ReturnType<typeof cityEntity> }>

export function bareKey(namespace: string, size: Size, id: number): string {
  return `${namespace}:bare:${size}:${id}`
}

export function valueKey(namespace: string, name: EntityName, id: number): string {
  return keySpace(namespace).value(name, 1, String(id))
}

/** Every key that the bench may leave in Redis. */
export function* keysOf(namespace: string): Generator<string> {
  const { fence } = keySpace(namespace)
  for (let id = 1; id <= cityCount; id++) {
    yield bareKey(namespace, 200, id)
    yield bareKey(namespace, 2_048, id)
    for (const name of names) {
      yield valueKey(namespace, name, id)
      yield fence(name, String(id))
    }
  }
}
