/**
 * What the delayed delete costs in hits (DESIGN §5.6): the same traffic over three caches at once. One
 * tells Redis of a write no second time, one does as always, and one deletes the value once more a
 * while after each write, as "delayed double delete" is commonly done.
 */
import { setTimeout } from 'node:timers/promises'
import { randomBelow, seededRandom } from '../demo/random.ts'
import { lockstep } from '../lockstep.ts'
import { type Effort, inLanes, NotMeasured } from './contest.ts'
import { type City, cityCount, zipfIds } from './data.ts'
import { fillL2 } from './l2.ts'
import { type CityCache, cityEntity, tableOf, valueKey } from './places.ts'
import { measuredRow, type Row } from './row.ts'
import { type Stage, timing } from './stage.ts'

const sides = ['once', 'repeated', 'plain'] as const
type Side = (typeof sides)[number]

/** A tenth of the ids: what is popular is read from L1, as in use. */
const l1Entries = cityCount / 10
const accesses = 40_000
const leastAccesses = 2_000
const lanes = 16
const writeShare = 0.02
const delayMs = 500
/** Beyond the end of the bench: never. */
const never = { delayedDelete: '1h', outboxRetention: '5h' } as const
const table = tableOf(200)

export async function measureDelayedDelete(
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  const { redis, pool, place, log } = stage
  if (!redis) throw new NotMeasured('there is no Redis')
  await stage.withTable(200)
  const open = (side: Side): Promise<CityCache> =>
    lockstep({
      namespace: place.others[side],
      postgres: pool.knex,
      redis,
      entities: { city: cityEntity('city-200', 200, { l1: { maxEntries: l1Entries } }) },
      timing: { ...timing, ...(side === 'repeated' ? { delayedDelete: delayMs } : never) },
      logger: log,
    })
  const caches = {
    once: await open('once'),
    repeated: await open('repeated'),
    plain: await open('plain'),
  }
  try {
    for (const side of sides) await fillL2(caches[side], l1Entries)
    const total = Math.max(leastAccesses, Math.round(accesses * effort.scale))
    const rounds: Record<Side, number>[] = []
    const del = (id: number) => redis.unlink(valueKey(place.others.plain, 'city-200', id))
    for (let round = 0; round < effort.rounds; round++) {
      effort.signal.throwIfAborted()
      rounds.push(await traffic(caches, Math.ceil(total / effort.rounds), round, del))
    }
    if ((await repeatedOf(caches.repeated)) === 0) {
      throw new NotMeasured('no delete was repeated meanwhile')
    }
    const lost = (side: Side): readonly number[] =>
      rounds.map((hits) => (hits.once - hits[side]) * 100)
    const mean = (all: readonly number[]): number =>
      all.reduce((sum, one) => sum + one, 0) / all.length
    return [
      measuredRow('delayed-delete.cost', mean(lost('repeated')), lost('repeated')),
      measuredRow('delayed-delete.plain', mean(lost('plain')), lost('plain')),
    ]
  } finally {
    for (const side of sides) await caches[side].close()
  }
}

/** The hit ratio of each. */
async function traffic(
  caches: Readonly<Record<Side, CityCache>>,
  total: number,
  seed: number,
  del: (id: number) => Promise<unknown>,
): Promise<Record<Side, number>> {
  const random = seededRandom(seed + 1)
  const popular = zipfIds(cityCount)
  const steps = Array.from({ length: total }, () => ({
    id: popular[randomBelow(popular.length, random)] as number,
    isWrite: random() < writeShare,
  }))
  const before = sides.map((side) => hitsOf(caches[side]))
  const late: Promise<unknown>[] = []
  await inLanes(lanes, total, async (index) => {
    const { id, isWrite } = steps[index] as (typeof steps)[number]
    if (!isWrite) {
      await Promise.all(sides.map((side) => caches[side].city.get(id)))
      return
    }
    // Of one row: one after the other.
    for (const side of sides) {
      await caches[side].city.write(id, (tx) => tx<City>(table).where({ id }).increment('version'))
    }
    late.push(setTimeout(delayMs).then(() => del(id)))
  })
  await Promise.all(late)
  const reads = steps.filter(({ isWrite }) => !isWrite).length
  const ratio = (side: Side, index: number): number =>
    (hitsOf(caches[side]) - (before[index] as number)) / reads
  return Object.fromEntries(sides.map((side, index) => [side, ratio(side, index)])) as Record<
    Side,
    number
  >
}

function hitsOf(cache: CityCache): number {
  const { hits } = cache.stats().city
  return hits.l1 + hits.l2
}

async function repeatedOf(cache: CityCache): Promise<number> {
  const metric = await cache.metrics().getSingleMetric('lockstep_delayed_deletes_total')?.get()
  return metric?.values[0]?.value ?? 0
}
