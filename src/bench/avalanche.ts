/**
 * All values go at once, under far more reads than the source can load: what it is asked at once, what
 * it gets done meanwhile, and whether hits come back by themselves. One process, whose L1 has a tenth
 * of the ids; the source is a timer, so that its capacity is known.
 */
import { setTimeout } from 'node:timers/promises'
import { lockstep } from '../lockstep.ts'
import { type Effort, NotMeasured } from './contest.ts'
import { cityOf } from './data.ts'
import { metricOf } from './metric.ts'
import { openLoop } from './open-loop.ts'
import { type CityCache, cityEntity } from './places.ts'
import { type Row, valueRow } from './row.ts'
import { type Stage, timing } from './stage.ts'
import { dropKeys } from './sweep.ts'

const loadsAtOnce = 8
const loadMs = 20
const capacityPerSecond = (loadsAtOnce / loadMs) * 1_000
/** Times its capacity. */
const pressure = 20
const ids = 4_000
const leastIds = 400
const windowMs = 500
const lookEveryMs = 25
const windowsBefore = 4
/** Of the hit ratio that it had. */
const recoveredShare = 0.95
const longestMs = 60_000

interface Source {
  delayMs: number
  running: number
  mostRunning: number
  loaded: number
}

interface Traffic {
  /** Reads that have an answer, or none for good. */
  ended: number
}

interface Window {
  readonly hitRatio: number
  readonly loaded: number
  readonly tookMs: number
  /** Loads waited for their turn all the time. */
  readonly hasBacklog: boolean
}

export async function measureAvalanche(
  { place, pool, redis, log }: Stage,
  { signal, scale }: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  if (!redis) throw new NotMeasured('there is no Redis')
  const count = Math.max(leastIds, Math.round(ids * Math.min(1, scale)))
  const namespace = place.others.avalanche
  const source: Source = { delayMs: 0, running: 0, mostRunning: 0, loaded: 0 }
  const entities = { city: scarceEntity(source, count / 10) }
  const options = { namespace, postgres: pool.knex, redis, entities, timing, logger: log }
  const cache = await lockstep({ ...options, maxConcurrentLoads: loadsAtOnce })
  try {
    await cache.city.warm(Array.from({ length: count }, (_, index) => index + 1))
    source.delayMs = loadMs
    const stop = new AbortController()
    const both = AbortSignal.any([signal, stop.signal])
    const traffic: Traffic = { ended: 0 }
    const reading = readAtRandom(cache, traffic, count, both)
    const windows = (isOver: (seen: readonly Window[]) => boolean) =>
      windowsOf(isOver, () => windowOf(cache, source, traffic, both))
    try {
      const before = await windows((seen) => seen.length === windowsBefore)
      const usual = mean(before.map(({ hitRatio }) => hitRatio))
      await dropKeys(redis, namespace)
      const isBack = (last: Window | undefined) => (last?.hitRatio ?? 0) >= recoveredShare * usual
      const mostWindows = longestMs / windowMs
      const after = await windows((seen) => isBack(seen.at(-1)) || seen.length === mostWindows)
      return rowsOf(source, usual, after)
    } finally {
      stop.abort()
      await reading
    }
  } finally {
    await cache.close()
  }
}

function rowsOf(source: Source, usual: number, after: readonly Window[]): readonly Row[] {
  const busy = after.filter(({ hasBacklog }) => hasBacklog)
  if (busy.length === 0) throw new NotMeasured('no load had to wait for its turn')
  const goodput = busy.map((one) => (one.loaded / (capacityPerSecond * one.tookMs)) * 100_000)
  const hits = after.map(({ hitRatio }) => (hitRatio / usual) * 100)
  const tookMs = after.reduce((sum, one) => sum + one.tookMs, 0)
  return [
    valueRow('avalanche.concurrent', [source.mostRunning], 'largest'),
    valueRow('avalanche.goodput', goodput, 'smallest'),
    valueRow('avalanche.hits', [hits.at(-1) as number], 'smallest'),
    valueRow('avalanche.recovery', [tookMs / 1_000], 'largest'),
  ]
}

/** One call loads one id, and takes its time. */
function scarceEntity(source: Source, maxEntries: number) {
  return cityEntity('scarce', 200, {
    load: async ([id]: number[]) => {
      source.mostRunning = Math.max(source.mostRunning, ++source.running)
      try {
        if (source.delayMs > 0) await setTimeout(source.delayMs)
        source.loaded++
        return [cityOf(id as number, 200)]
      } finally {
        source.running--
      }
    },
    maxBatch: 1,
    l1: { maxEntries },
  })
}

/** Until the signal aborts. Who is shed or waits in vain is as a user is: gone. */
async function readAtRandom(
  cache: CityCache,
  traffic: Traffic,
  count: number,
  signal: AbortSignal,
): Promise<void> {
  const perSecond = pressure * capacityPerSecond
  const forMs = 2 * longestMs
  const end = (): void => void traffic.ended++
  const read = () => cache.city.get(1 + Math.floor(Math.random() * count)).then(end, end)
  await openLoop({ perSecond, forMs, signal }, read).catch(() => {})
}

async function windowsOf(
  isOver: (seen: readonly Window[]) => boolean,
  windowOf: () => Promise<Window>,
): Promise<readonly Window[]> {
  const seen: Window[] = []
  while (!isOver(seen)) seen.push(await windowOf())
  return seen
}

async function windowOf(
  cache: CityCache,
  source: Source,
  traffic: Traffic,
  signal: AbortSignal,
): Promise<Window> {
  const beganAtMs = performance.now()
  const before = { loaded: source.loaded, hits: hitsOf(cache), ended: traffic.ended }
  let hasBacklog = true
  while (performance.now() - beganAtMs < windowMs) {
    await setTimeout(lookEveryMs, undefined, { signal })
    if ((await metricOf(cache, 'lockstep_loads_waiting')) === 0) hasBacklog = false
  }
  return {
    hitRatio: (hitsOf(cache) - before.hits) / Math.max(1, traffic.ended - before.ended),
    loaded: source.loaded - before.loaded,
    tookMs: performance.now() - beganAtMs,
    hasBacklog,
  }
}

function hitsOf(cache: CityCache): number {
  const { hits } = cache.stats().city
  return hits.l1 + hits.l2
}

function mean(all: readonly number[]): number {
  return all.reduce((sum, one) => sum + one, 0) / all.length
}
