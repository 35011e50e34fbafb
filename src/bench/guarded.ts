/** Cities whose ids have a Bloom filter, and the attack on them: ids that nobody has, as fast as they come. */
import { setTimeout } from 'node:timers/promises'
import type { Db } from '../postgres/pool.ts'
import type { CacheMethods } from '../types.ts'
import { NotMeasured } from './contest.ts'
import type { City } from './data.ts'
import { absentId, firstAbsentId } from './ids.ts'
import { metricOf } from './metric.ts'
import { openLoop } from './open-loop.ts'
import { type CityCache, cityEntity, tableOf } from './places.ts'

const attackPerSecond = 10_000
const longestBuildMs = 60_000
const lookEveryMs = 20

export interface Counts {
  /** Ids that the loader was asked for and that no row has. */
  absent: number
}

export function guardedEntity(maxEntries: number, counts: Counts) {
  const table = tableOf(200)
  return cityEntity('guarded', 200, {
    load: (ids: number[], { db }: { readonly db: Db }) => {
      counts.absent += ids.filter((id) => id >= firstAbsentId).length
      return db<City>(table).select('*').whereRaw('id = any(?)', [ids])
    },
    bloom: { table, column: 'id' },
    l1: { maxEntries },
  })
}

/**
 * The filter is asked and answers, and this process has a copy of it. One that was declared before the
 * first barrier lay in Redis does not count, and is built anew some seconds later.
 */
export async function filtered(
  cache: Pick<CacheMethods, 'metrics'>,
  get: (id: number) => Promise<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const untilMs = performance.now() + longestBuildMs
  for (;;) {
    await get(absentId())
    const refused = await metricOf(cache, 'lockstep_bloom_refused_total')
    if (refused > 0 && (await metricOf(cache, 'lockstep_bloom_copied')) > 0) return
    if (performance.now() > untilMs) throw new NotMeasured('there was no Bloom filter in time')
    await setTimeout(lookEveryMs, undefined, { signal })
  }
}

export interface Attack {
  readonly asked: number
  /** Of those the source was asked for. */
  readonly loaded: number
}

/** Gets of ids that don't exist. */
export async function attack(
  cache: CityCache,
  forMs: number,
  signal: AbortSignal,
  counts: Counts,
): Promise<Attack> {
  const before = counts.absent
  let asked = 0
  let found = 0
  await openLoop({ perSecond: attackPerSecond, forMs, signal }, async () => {
    asked++
    const city = await cache.city.get(absentId()).catch(() => undefined)
    if (city !== undefined) found++
  })
  if (found > 0) throw new Error(`${found} ids were found that no row has`)
  return { asked, loaded: counts.absent - before }
}
