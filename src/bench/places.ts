/** Where the bench keeps its things, the same in all of its processes. */
import type { EntityOptions } from '../model/entity.ts'
import type { Db } from '../postgres/pool.ts'
import { keySpace } from '../redis/keys.ts'
import { type Cache, entity } from '../types.ts'
import type { City, Size } from './data.ts'

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

type OtherNamespace =
  | 'alone'
  | 'kafka'
  | 'once'
  | 'repeated'
  | 'plain'
  | 'bloom'
  | 'many'
  | 'avalanche'

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
      bloom: `${namespace}:bloom`,
      many: `${namespace}:many`,
      avalanche: `${namespace}:avalanche`,
    },
  }
}

/**
 * The entities: cities of either size, those that are cold, those that only the fills are for, one with
 * a Bloom filter, one whose loads are slow, and one whose values don't live long.
 */
export type EntityName =
  | 'city-200'
  | 'city-2048'
  | 'cold'
  | 'filled-200'
  | 'filled-2048'
  | 'guarded'
  | 'scarce'
  | 'hot'

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
