/** What builds of a filter are measured on: the filters as the cache has them, a storm of writes, processes. */
import { setTimeout } from 'node:timers/promises'
import { assemble } from '../lockstep.ts'
import type { FilterStatus, L2Filters } from '../model/filter-ports.ts'
import { bloomIds, leastBloomIds } from './bloom.ts'
import type { Answer, Question, Word } from './bloom-worker.ts'
import { Child } from './children.ts'
import { type Effort, NotMeasured } from './contest.ts'
import { absentId, type IdCache, idEntity, idTable } from './ids.ts'
import { type Stage, timing } from './stage.ts'
import { dropKeys } from './sweep.ts'

export type ScaledEffort = Effort & { readonly scale: number }

export interface Builder {
  readonly child: Child<Question, Answer, Word>
  readonly words: Word[]
}

export interface Site {
  readonly count: number
  readonly filters: L2Filters
  status(): Promise<FilterStatus | undefined>
  open(): Promise<Builder>
  /** As Redis without any key of the namespace. */
  flush(): Promise<void>
  /** Inserts and deletes as long as that takes, over a process that has no filter of its own. */
  storm<T>(run: () => Promise<T>): Promise<T>
  /** Of all ids in the table those that the filter says "no" to, and those that a read doesn't find. */
  falseNegatives(reader: Builder): Promise<number>
  /** Share of so many absent ids that it has. */
  rateOf(asked: number): Promise<number>
}

export const entityName = 'id'
const longestBuildMs = 300_000
const lookEveryMs = 10
const stormLanes = 2
const idsAPage = 20_000
/** Asked for with each page: that none of them is missing would mean that nothing was answered. */
const absentAPage = 100
const idsRead = 2_000

export async function onSite<T>(
  stage: Stage,
  { signal, scale }: ScaledEffort,
  times: number,
  run: (site: Site) => Promise<T>,
): Promise<T> {
  const { redis, place, pool, log } = stage
  if (!redis) throw new NotMeasured('there is no Redis')
  const count = Math.max(leastBloomIds, Math.round(times * bloomIds * scale))
  await stage.withIds(count)
  const namespace = place.others.bloom
  await dropKeys(redis, namespace)
  const crew: Builder[] = []
  let lastId = count
  let found: L2Filters | undefined
  const entities = { id: idEntity() }
  const cache = await assemble(
    { namespace, postgres: pool.knex, redis, entities, timing, logger: log },
    (parts) => {
      found = parts.filters?.l2
      return parts
    },
  )
  const filters = found as L2Filters
  const file = new URL('./bloom-worker.js', import.meta.url)
  try {
    return await run({
      count,
      filters,
      status: async () => {
        const status = await filters.status(entityName)
        return status.kind === 'status' ? status : undefined
      },
      open: async () => {
        const words: Word[] = []
        const child = new Child<Question, Answer, Word>(file, signal, {
          hear: (word) => words.push(word),
        })
        const builder = { child, words }
        crew.push(builder)
        await child.ask({ kind: 'open', place, capacity: count })
        return builder
      },
      flush: () => dropKeys(redis, namespace),
      storm: (during) => stormed(cache, () => ++lastId, during),
      falseNegatives: (reader) => falseNegatives(stage, filters, reader, signal),
      rateOf: (asked) => rateOf(filters, asked, signal),
    })
  } finally {
    await Promise.all(crew.map(({ child }) => child.kill()))
    await cache.close()
  }
}

/** Looks until something is there. */
export async function until<T>(
  what: string,
  signal: AbortSignal,
  find: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const untilMs = performance.now() + longestBuildMs
  for (;;) {
    const found = await find()
    if (found !== undefined) return found
    if (performance.now() > untilMs) throw new NotMeasured(`${what} took too long`)
    await setTimeout(lookEveryMs, undefined, { signal })
  }
}

/** Inserts new ids, and deletes every second of them again. */
async function stormed<T>(cache: IdCache, nextId: () => number, run: () => Promise<T>): Promise<T> {
  let isOver = false
  const lane = async (): Promise<void> => {
    while (!isOver) {
      const id = nextId()
      await cache.id.write(id, (tx) => tx(idTable).insert({ id }))
      if (id % 2 === 0) await cache.id.write(id, (tx) => tx(idTable).where({ id }).delete())
    }
  }
  const storm = Promise.all(Array.from({ length: stormLanes }, lane))
  // Heard of below, whatever comes first.
  storm.catch(() => {})
  try {
    return await run()
  } finally {
    isOver = true
    await storm
  }
}

async function falseNegatives(
  { pool }: Stage,
  filters: L2Filters,
  reader: Builder,
  signal: AbortSignal,
): Promise<number> {
  const generation = await until('an answer of Redis', signal, () => generationOf(filters))
  let missing = 0
  let last: readonly number[] = []
  for (let from = 0; ; from = last.at(-1) as number) {
    signal.throwIfAborted()
    const rows: { id: number }[] = await pool
      .knex(idTable)
      .select('id')
      .where('id', '>', from)
      .orderBy('id')
      .limit(idsAPage)
    if (rows.length === 0) break
    last = rows.map(({ id }) => id)
    missing += await missingOf(filters, generation, last)
  }
  // The newest are those of the storm.
  const ids = last.slice(-idsRead)
  const { found } = await reader.child.ask({ kind: 'get', ids })
  return missing + ids.length - found
}

async function missingOf(
  filters: L2Filters,
  generation: number,
  ids: readonly number[],
): Promise<number> {
  const absent = Array.from({ length: absentAPage }, absentId)
  const answers = await filters.missing(entityName, generation, [...absent, ...ids].map(String))
  if (!answers.slice(0, absentAPage).includes(true)) {
    throw new NotMeasured('Redis had no answer, or another filter meanwhile')
  }
  return answers.slice(absentAPage).filter((isMissing) => isMissing).length
}

async function generationOf(filters: L2Filters): Promise<number | undefined> {
  const status = await filters.status(entityName)
  return status.kind === 'status' ? status.current?.generation : undefined
}

async function rateOf(filters: L2Filters, asked: number, signal: AbortSignal): Promise<number> {
  const generation = await until('an answer of Redis', signal, () => generationOf(filters))
  let there = 0
  for (let done = 0; done < asked; done += idsAPage) {
    signal.throwIfAborted()
    const ids = Array.from({ length: idsAPage }, absentId)
    there += idsAPage - (await missingOf(filters, generation, ids))
  }
  return there / (Math.ceil(asked / idsAPage) * idsAPage)
}
