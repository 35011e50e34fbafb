/** A Bloom filter with just the ids that it was made for: how often it is wrong, what it takes, what it costs. */
import { assemble } from '../lockstep.ts'
import { bytesOf } from '../model/bloom.ts'
import type { LocalFilter } from '../model/filter-ports.ts'
import { type Effort, inLanes, NotMeasured } from './contest.ts'
import { filtered } from './guarded.ts'
import { absentId, firstAbsentId, type IdCache, idEntity, idTable } from './ids.ts'
import { commandsOf } from './l2.ts'
import { metricOf } from './metric.ts'
import { measuredRow, type Row, unmeasuredRow, valueRow } from './row.ts'
import { type Redis, type Stage, timing } from './stage.ts'
import { dropKeys } from './sweep.ts'

export const wantedRate = 0.001
export const bloomIds = 1_000_000
export const leastBloomIds = 10_000
/** Of each of so many parts the rate is taken by itself, for the spread. */
const parts = 10
const leastAsked = 20_000
const idsACall = 1_000
const lanes = 4
const checksPerRound = 20_000
/** What isn't proven at that moment is loaded instead of refused. */
const mostTries = 5

interface Opened {
  readonly cache: IdCache
  /** Level 1. */
  readonly has: LocalFilter['has']
  readonly bits: number
  readonly bytes: number
}

export async function measureBloom(
  stage: Stage,
  { rounds, signal, scale }: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  const { redis } = stage
  if (!redis) throw new NotMeasured('there is no Redis')
  const count = Math.max(leastBloomIds, Math.round(bloomIds * scale))
  await stage.withIds(count)
  await dropKeys(redis, stage.place.others.bloom)
  const opened = await open(stage, redis, count, signal)
  const { cache, has, bytes } = opened
  try {
    const asked = Math.max(leastAsked, Math.round(bloomIds * scale))
    const rates = await ratesOf(cache, asked / parts, signal)
    const rate = rates.reduce((sum, one) => sum + one, 0) / rates.length / wantedRate
    return [
      measuredRow(
        'bloom.rate',
        rate,
        rates.map((one) => one / wantedRate),
      ),
      measuredRow('bloom.rate-off', Math.abs(rate - 1) * 100, [Math.abs(rate - 1) * 100]),
      valueRow('bloom.bits', [(bytes * 8) / count], 'median'),
      valueRow('bloom.check', checksOf(has, count, rounds), 'median'),
      await commandsRow(redis, cache, rounds),
    ]
  } finally {
    await cache.close()
  }
}

/** With a filter that has been built and copied. */
async function open(
  { place, pool, log }: Stage,
  redis: Redis,
  capacity: number,
  signal: AbortSignal,
): Promise<Opened> {
  let has: LocalFilter['has'] = () => true
  let shape = { bits: 0, places: 0 }
  const entities = { id: idEntity({ bloom: { table: idTable, column: 'id', capacity } }) }
  const cache = await assemble(
    { namespace: place.others.bloom, postgres: pool.knex, redis, entities, timing, logger: log },
    (parts) => {
      const { filters } = parts
      if (!filters) return parts
      const openBits: typeof filters.open = (seed, header, bits) => {
        const local = filters.open(seed, header, bits)
        has = (text) => local.has(text)
        shape = header
        return local
      }
      return { ...parts, filters: { ...filters, open: openBits } }
    },
  )
  try {
    await filtered(cache, (id) => cache.id.get(id), signal)
    return { cache, has, bits: shape.bits, bytes: bytesOf(shape) }
  } catch (error) {
    await cache.close()
    throw error
  }
}

/** The shares of absent ids that are in the filter, by the reads that the cache took for false positives. */
async function ratesOf(
  cache: IdCache,
  asked: number,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const rates: number[] = []
  const wrong = () => metricOf(cache, 'lockstep_bloom_false_positives_total')
  const calls = Math.ceil(asked / idsACall)
  for (let part = 0; part < parts; part++) {
    const before = await wrong()
    await inLanes(lanes, calls, async () => {
      signal.throwIfAborted()
      const ids = new Set<number>()
      while (ids.size < idsACall) ids.add(absentId())
      const { size } = await cache.id.getMany(ids)
      if (size > 0) throw new Error(`${size} ids were found that no row has`)
    })
    rates.push(((await wrong()) - before) / (calls * idsACall))
  }
  return rates
}

/** In µs each, of ids that are there and ids that are not. */
function checksOf(has: LocalFilter['has'], count: number, rounds: number): readonly number[] {
  const texts = Array.from({ length: checksPerRound }, (_, index) =>
    String(index % 2 === 0 ? 1 + (index % count) : absentId()),
  )
  return Array.from({ length: rounds }, () => {
    const beganAtMs = performance.now()
    let there = 0
    for (const text of texts) if (has(text)) there++
    if (there < checksPerRound / 2) throw new Error('the filter lacks ids that it was built with')
    return ((performance.now() - beganAtMs) / checksPerRound) * 1_000
  })
}

/** What gets of absent ids send that the filter refuses. */
async function commandsRow(redis: Redis, cache: IdCache, rounds: number): Promise<Row> {
  const refused = () => metricOf(cache, 'lockstep_bloom_refused_total')
  const counts: number[] = []
  let id = firstAbsentId
  for (let tries = 0; tries < mostTries * rounds && counts.length < rounds; tries++) {
    const before = await refused()
    const commands = await commandsOf(redis, async () => void (await cache.id.get(id++)))
    if ((await refused()) > before) counts.push(commands)
  }
  return counts.length < rounds
    ? unmeasuredRow('bloom.commands', `the filter refused ${counts.length} of ${rounds} ids`)
    : // What the process sends by itself comes in between now and then.
      valueRow('bloom.commands', counts, 'median')
}
