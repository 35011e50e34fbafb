/** The Bloom filter with one rule broken, each in a port: what a schedule has to show. */
import { encodeHeader, hashId, seedMark, shapeFor } from '../../src/model/bloom.ts'
import type { IdScan, ScanStart } from '../../src/model/filter-ports.ts'
import type { Drop, L2 } from '../../src/model/l2-port.ts'
import type { Outbox } from '../../src/model/outbox-port.ts'
import type { Incarnation, Snapshot, WriteId, Xid } from '../../src/model/snapshot.ts'
import { MemoryBarriers } from '../../src/testing/memory-barriers.ts'
import {
  bitmapAt,
  memorySeedOf,
  newestReady,
  remember,
  rememberIn,
  saysNo,
} from '../../src/testing/memory-bitmaps.ts'
import { filterKey } from '../../src/testing/memory-keys.ts'
import type { MemoryDatabase, MemoryRedis } from '../support/ports.ts'
import type { World } from '../unit/coordinator/process.ts'
import type { BloomWorld } from './bloom-world.ts'
import type { Chance } from './chance.ts'

type Remember = (redis: MemoryRedis, write: WriteId, drops: readonly Drop[]) => void

export interface BloomMutant {
  readonly remember?: () => Remember
  readonly l2?: (l2: L2, world: World) => L2
  readonly scan?: (database: MemoryDatabase) => Partial<IdScan>
  readonly outbox?: (outbox: Outbox) => Outbox
  readonly beforeInsert?: (world: BloomWorld, id: string, chance: Chance) => Promise<void>
}

const idsOf = (drops: readonly Drop[]): readonly string[] => drops.map(({ id }) => id)

/** Adds but for the first time that it hears of a write. */
function butFirst(): Remember {
  const heard = new Set<Xid>()
  return (redis, { xid }, drops) => {
    if (heard.has(xid)) remember(redis, 'city', idsOf(drops))
    heard.add(xid)
  }
}

export const bloomMutants = {
  /** The ids are added before the transaction has its xid. */
  addfirst: {
    remember: butFirst,
    beforeInsert: async (world, id, chance) => {
      const { redis } = world.world
      if (redis.down) return
      remember(redis, 'city', [id])
      world.toldFirst.add(id)
      await world.pause(chance, 200)
    },
  },
  /** The build waits until all have ended that a snapshot knew of, not all with a smaller xid. */
  waitxmax: {
    scan: (database) => {
      let xmax = 0
      return {
        xid: async () => {
          xmax = database.snapshot().xmax
          return { incarnation: database.incarnation, xid: xmax as Xid }
        },
        stateOf: async () => (database.snapshot().xmin >= xmax ? 'ended' : 'open'),
      }
    },
  },
  /** It waits for nobody. */
  nowait: { scan: () => ({ stateOf: async (_: ScanStart) => 'ended' as const }) },
  /** Ids are added to the filter that answers, and not to the one that is being built. */
  oneadd: {
    remember: () => (redis, _, drops) => {
      const current = newestReady(redis, 'city')
      if (current) rememberIn(redis, 'city', [current], idsOf(drops))
    },
  },
  /** A bitmap that isn't there reads as one without a bit. */
  missing: { l2: (l2, { redis }) => refusing(l2, redis, (_, has) => !has) },
  /** Ids that are added to a bitmap that isn't there make a new one. */
  recreate: {
    remember: () => (redis, _, drops) => {
      if (!newestReady(redis, 'city')) {
        const shape = shapeFor(40, 0.001)
        const header = encodeHeader({
          ...shape,
          isReady: true,
          generation: 1,
          seed: seedMark(memorySeedOf('city')),
          incarnation: '0000000000000001' as Incarnation,
          xid: 1_000_000 as Xid,
          identity: redis.identity,
          declaredAtMs: 0,
          setBits: 0,
        })
        const slot = bitmapAt(redis, 'city', 0) ? 1 : 0
        const bytes = Buffer.concat([header, Buffer.alloc(shape.bits / 8)])
        redis.set(filterKey('city', slot), bytes, 60_000)
      }
      remember(redis, 'city', idsOf(drops))
    },
  },
  /** They are added by the first delete alone. */
  addonce: {
    remember: () => {
      const heard = new Set<Xid>()
      return (redis, { xid }, drops) => {
        if (!heard.has(xid)) remember(redis, 'city', idsOf(drops))
        heard.add(xid)
      }
    },
  },
  /** Nobody looks at which server it is that answers. */
  noident: {
    l2: (l2, { redis }) => {
      const { identity } = redis
      Object.defineProperty(redis, 'identity', { get: () => identity, set: () => {} })
      return l2
    },
  },
  /** A "no" needs no barrier. */
  trustless: {
    l2: (l2, { redis, database }) =>
      refusing(
        l2,
        redis,
        (isNo) => isNo,
        () => database.snapshot(),
      ),
  },
  /** A replay leaves out the rows that are not marked yet. */
  tailonly: {
    outbox: (outbox) => {
      const told = new Set<string>()
      return over(outbox, {
        claim: (destination, minAgeMs, tell, signal) =>
          outbox.claim(
            destination,
            minAgeMs,
            async (claim) => {
              const some = await tell(claim)
              for (const rowId of some) told.add(rowId)
              return some
            },
            signal,
          ),
        mark: (rowIds, destinations, signal) => {
          for (const rowId of rowIds) told.add(rowId)
          return outbox.mark(rowIds, destinations, signal)
        },
        page: async (...args) => {
          const page = await outbox.page(...args)
          return { ...page, rows: page.rows.filter(({ rowId }) => told.has(rowId)) }
        },
      })
    },
  },
  /** The barrier is written before the rows of its snapshot are told. */
  early: {
    outbox: (outbox) =>
      over(outbox, {
        progress: async (...args) => {
          const progress = await outbox.progress(...args)
          const { l2, log } = progress.owed
          return { ...progress, owed: { l2: { ...l2, isTold: true }, log } }
        },
      }),
  },
} satisfies Readonly<Record<string, BloomMutant>>

function over<P extends object>(port: P, others: Partial<P>): P {
  return new Proxy(port, {
    get: (target, key) => {
      const value: unknown = Reflect.get(key in others ? others : target, key)
      return typeof value === 'function' ? value.bind(key in others ? others : target) : value
    },
  })
}

/** Refuses misses by a rule of its own. */
function refusing(
  l2: L2,
  redis: MemoryRedis,
  rule: (isNo: boolean, has: boolean) => boolean,
  barrierOf?: () => Snapshot,
): L2 {
  return over(l2, {
    lookup: async (entity, ids, asked) => {
      const lookups = await l2.lookup(entity, ids, asked)
      const filter = newestReady(redis, 'city')
      const barrier = barrierOf?.() ?? besideNow(redis)
      return lookups.map((lookup, place) => {
        const isNo =
          filter !== undefined && saysNo(filter, hashId(memorySeedOf('city'), ids[place] as string))
        if (lookup.kind !== 'miss' || !barrier || !rule(isNo, filter !== undefined)) return lookup
        return { kind: 'refused', refusal: { barrier, generation: 0 } }
      })
    },
  })
}

function besideNow(redis: MemoryRedis) {
  return new MemoryBarriers(redis).beside().barrier
}
