/** The demo's rows, and the one entity that is cached. */
import type { Db } from '../postgres/pool.ts'
import { type Cache, entity } from '../types.ts'

export const schema = 'lockstep_demo'
export const credit = 'Cities, regions and country codes: GeoNames (geonames.org), CC BY 4.0'

export interface City {
  readonly id: number
  readonly name: string
  readonly country: string
  readonly admin1: string
  readonly admin2: string
  readonly lat: number
  readonly lng: number
  /** Counts the writes of this row: what the answers are judged by. */
  readonly version: number
}

/** Share of the rows that one process may hold in L1. */
const l1Share = 0.1

export interface CityOptions {
  readonly rows: number
  /** Others write the rows too, by plain SQL on a table with triggers. */
  readonly foreign: boolean
  /** Told of the ids that are loaded; then a Bloom filter keeps those from it that don't exist. */
  readonly loading: ((ids: readonly number[]) => void) | undefined
}

export function cityEntity({ rows, foreign, loading }: CityOptions) {
  return entity('city', {
    load: (ids: number[], { db }) => {
      loading?.(ids)
      return db<City>(`${schema}.cities`).select('*').whereRaw('id = any(?)', [ids])
    },
    id: (city: City) => city.id,
    // Short, so that what an earlier run left in Redis doesn't answer this one.
    ttl: '30s',
    grace: '10s',
    foreignWrites: foreign,
    l1: { maxEntries: Math.max(1, Math.floor(rows * l1Share)) },
    ...(loading && { bloom: { table: `${schema}.cities`, column: 'id' } }),
  })
}

export type CityCache = Cache<{ city: ReturnType<typeof cityEntity> }>

/** Counts the statements that read cities, where they are sent; the returned function tells the count. */
export function countCityQueries(db: Db): () => number {
  let count = 0
  db.on('query', ({ sql }: { sql: string }) => {
    if (sql.startsWith('select') && sql.includes(`"${schema}"."cities"`)) count++
  })
  return () => count
}
