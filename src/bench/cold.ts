/** The id that nobody has yet: its slow loader, and what the processes that ask for it tell each other. */
import type { Db } from '../postgres/pool.ts'
import type { City } from './data.ts'
import { cityEntity, type Place, tableOf } from './places.ts'

export type Question =
  /** `patient`: with the bench's long deadlines. */
  | { readonly kind: 'open'; readonly place: Place; readonly patient: boolean }
  /** All of them begin at `atMs`. */
  | { readonly kind: 'get'; readonly id: number; readonly gets: number; readonly atMs: number }

export interface Answer extends Counts {
  /** When each get was answered. */
  readonly answeredAtMs: readonly number[]
}

/** A monotonic clock that the machine's processes have in common. */
export function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

export interface Counts {
  /** Calls of the loader. */
  loads: number
  /** Ids that it was asked for. */
  ids: number
  /** How long its last call took. */
  loadMs: number
}

export const newCounts = (): Counts => ({ loads: 0, ids: 0, loadMs: 0 })

/** Long enough that all of them are there before it ends. */
const loadSeconds = 0.1

/** A slow loader that counts. */
export function coldEntity(counts: Counts, loading: () => void = () => {}) {
  return cityEntity('cold', 200, {
    load: async (ids: number[], { db }: { readonly db: Db }) => {
      const beganAtMs = performance.now()
      counts.loads++
      counts.ids += ids.length
      loading()
      await db.raw('select pg_sleep(?)', [loadSeconds])
      const cities = await db<City>(tableOf(200)).select('*').whereRaw('id = any(?)', [ids])
      counts.loadMs = performance.now() - beganAtMs
      return cities
    },
  })
}
