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
  readonly kafkaBrokers: string | undefined
  readonly namespace: string
  /** Those of rows that need another plane, no Redis, or an L2 that nobody else fills. */
  readonly others: Readonly<Record<OtherNamespace, string>>
}

type OtherNamespace = 'alone' | 'kafka' | 'once' | 'repeated' | 'plain'

export function namespacesOf(base: string): Pick<Place, 'namespace' | 'others'> {
  const namespace = `${base}:bench`
  return {
    namespace,
    others: {
      alone: `${namespace}:alone`,
      // Kafka takes no colon in the name of a topic.
      kafka: `${base}-bench-kafka`,
      once: `${namespace}:once`,
      repeated: `${namespace}:repeated`,
      plain: `${namespace}:plain`,
    },
  }
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
export function* keysOf({ namespace, others }: Place): Generator<string> {
  for (const one of [namespace, ...Object.values(others)]) yield keySpace(one).barrier('')
  for (let id = 1; id <= cityCount; id++) {
    yield bareKey(namespace, 200, id)
    yield bareKey(namespace, 2_048, id)
    for (const name of names) yield* pairOf(namespace, name, id)
    for (const other of Object.values(others)) yield* pairOf(other, 'city-200', id)
  }
}

function pairOf(namespace: string, name: EntityName, id: number): readonly string[] {
  return [valueKey(namespace, name, id), keySpace(namespace).fence(name, String(id))]
}
