/**
 * L2 hits with all that a lookup does, against the same cache whose lookups leave one thing out: the
 * barrier that is read beside each value, or the breaker around each call.
 */
import { assemble } from '../lockstep.ts'
import { systemClock } from '../model/clock.ts'
import type { L2, Lookup } from '../model/l2-port.ts'
import { takeSnapshot } from '../postgres/snapshot.ts'
import { lookupOf } from '../redis/answers.ts'
import { type Beside, nothingBeside } from '../redis/beside.ts'
import { keySpace } from '../redis/keys.ts'
import { RedisLookups } from '../redis/lookups.ts'
import { openNodes, type RedisNodes } from '../redis/nodes.ts'
import { onEach } from '../redis/on-each.ts'
import { Hop } from '../resilience/hop.ts'
import { type Contest, decide, type Effort, inLanes, NotMeasured } from './contest.ts'
import { type City, cityCount } from './data.ts'
import { type CityCache, cityEntity } from './places.ts'
import type { Row } from './row.ts'
import type { RowName } from './row-plans.ts'
import { type Redis, type Stage, timing } from './stage.ts'

export const leftOutRows = {
  'l2.hit.barrier.c1': { leftOut: 'barrier', concurrency: 1, perBlock: 200 },
  'l2.hit.barrier.c32': { leftOut: 'barrier', concurrency: 32, perBlock: 960 },
  'l2.hit.breaker.c1': { leftOut: 'breaker', concurrency: 1, perBlock: 200 },
  'l2.hit.breaker.c32': { leftOut: 'breaker', concurrency: 32, perBlock: 960 },
} as const satisfies Partial<Record<RowName, object>>

/** What is asked, of whom: `cache` is filled, and `next` gives each id in turn. */
export interface LeftOutSides {
  readonly cache: CityCache
  readonly redis: Redis
  readonly namespace: string
  readonly next: () => number
}

export async function measureLeftOut(
  name: keyof typeof leftOutRows,
  stage: Stage,
  effort: Effort & { readonly scale: number },
  sides: LeftOutSides,
): Promise<Row> {
  const { leftOut, concurrency, perBlock } = leftOutRows[name]
  const operations = Math.max(concurrency, Math.round(perBlock * effort.scale))
  const place = leftOut === 'barrier' ? withoutBarrier(sides) : withoutBreaker(sides)
  const without = await openWithout(stage, sides, place)
  try {
    return await decide(name, hits(sides, without, concurrency, operations), effort)
  } finally {
    await without.close()
  }
}

interface Place {
  readonly lookup: L2['lookup']
  /** What lies in Redis beside a value, for who doesn't read it. */
  readonly remember?: (beside: Beside) => void
  readonly nodes: RedisNodes
}

/** It takes for the barrier what lay there before. */
function withoutBarrier({ redis, namespace }: LeftOutSides): Place {
  const hop = new Hop({ name: 'l2', deadlineMs: 2_000, isAnswer: () => true })
  const nodes = openNodes(redis, { clock: systemClock, openHop: () => hop })
  const keys = keySpace(namespace)
  let beside: Beside = nothingBeside
  return {
    nodes,
    remember: (found) => {
      beside = found
    },
    lookup: ({ name, version, graceMs }, ids) =>
      onEach<string, Lookup>(redis, nodes, systemClock, ids, {
        keyOf: (id) => id,
        call: (some) => ({ keys: some.map((id) => keys.value(name, version, id)) }),
        read: (answer, _some, { clock }) => {
          const nowMs = clock.nowMs()
          return (answer as (Buffer | null)[]).map((bytes) =>
            lookupOf(bytes, beside, nowMs, graceMs),
          )
        },
        unavailable: (cause) => ({ kind: 'unavailable', cause }),
      }),
  }
}

/** Its calls have neither a deadline nor a breaker. */
function withoutBreaker({ redis, namespace }: LeftOutSides): Place {
  const hop = { run: <T>(call: () => Promise<T>): Promise<T> => call(), close: () => {} }
  const nodes = openNodes(redis, { clock: systemClock, openHop: () => hop })
  const keys = keySpace(namespace)
  const seedOf = (): never => {
    throw new Error('no filter is asked here')
  }
  const lookups = new RedisLookups({ redis, nodes, keys, clock: systemClock, seedOf })
  return {
    nodes,
    lookup: ({ name, version, graceMs }, ids) =>
      lookups.lookup(
        ids.map((id) => keys.value(name, version, id)),
        graceMs,
      ),
  }
}

interface Without {
  readonly cache: CityCache
  /** From here on it takes for the barrier what lies in Redis now. */
  remember(): Promise<void>
  close(): Promise<void>
}

async function openWithout(
  { place, pool }: Stage,
  { redis }: LeftOutSides,
  { lookup, nodes, remember }: Place,
): Promise<Without> {
  const entity = cityEntity('city-200', 200, { l1: { maxEntries: cityCount / 10 } })
  let real: L2 | undefined
  const options = { namespace: place.namespace, postgres: pool.knex, redis, timing }
  const cache = await assemble({ ...options, entities: { city: entity } }, (parts) => {
    real = parts.l2
    return { ...parts, l2: real && { ...allOf(real), lookup } }
  })
  const l2 = real as unknown as L2
  await prove(pool, l2)
  return {
    cache,
    remember: async () => {
      const [found] = await l2.lookup(entity, ['1'])
      if (found?.kind !== 'fresh') throw new NotMeasured('a value has left Redis')
      if (!found.stored.barrier) throw new NotMeasured('no barrier lies in Redis')
      remember?.({ barrier: found.stored.barrier, generation: undefined })
    },
    close: async () => {
      await cache.close()
      nodes.close()
    },
  }
}

function allOf(l2: L2): L2 {
  return {
    lookup: (...args) => l2.lookup(...args),
    acquire: (...args) => l2.acquire(...args),
    fill: (...args) => l2.fill(...args),
    renew: (...args) => l2.renew(...args),
    release: (...args) => l2.release(...args),
    filled: (...args) => l2.filled(...args),
    invalidate: (...args) => l2.invalidate(...args),
    barrier: (...args) => l2.barrier(...args),
    restore: (...args) => l2.restore(...args),
  }
}

/** Nothing writes in the namespace of the bench, so any snapshot is a barrier of it. */
async function prove(pool: Stage['pool'], l2: L2): Promise<void> {
  const connection = await pool.connect()
  const snapshot = await takeSnapshot(connection).finally(() => connection.end())
  if (!snapshot) throw new NotMeasured('the database has begun a new incarnation')
  for (const answer of await l2.barrier(snapshot)) {
    if (answer.kind === 'changed') await l2.restore(answer.change, snapshot, undefined)
  }
}

function hits(
  { cache, next }: LeftOutSides,
  without: Without,
  concurrency: number,
  operations: number,
): Contest {
  let ids: readonly number[] = []
  let before = { ours: 0, bare: 0 }
  const answered = () => ({
    ours: cache.stats().city.hits.l2,
    bare: without.cache.stats().city.hits.l2,
  })
  const ask = async (asked: CityCache): Promise<void> => {
    await inLanes(concurrency, operations, async (index) => {
      const id = ids[index] as number
      const city = await asked.city.get(id)
      if ((city as City).id !== id) throw new Error(`city ${id} was asked for`)
    })
  }
  return {
    operations,
    prepare: async () => {
      ids = Array.from({ length: operations }, next)
      await without.remember()
      before = answered()
    },
    ours: () => ask(cache),
    bare: () => ask(without.cache),
    spoiled: () => {
      const now = answered()
      if (now.ours - before.ours === operations && now.bare - before.bare === operations) {
        return undefined
      }
      return 'not all reads were answered by L2'
    },
  }
}
