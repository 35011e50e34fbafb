/** The implementations of L2, each opened as two processes over one place. */
import type { Redis } from 'ioredis'
import { afterAll } from 'vitest'
import {
  type BarrierRecord,
  decodeBarrierRecord,
  encodeBarrierRecord,
} from '../../src/model/barrier-record.ts'
import type { FastPlane } from '../../src/model/bus-ports.ts'
import { systemClock } from '../../src/model/clock.ts'
import type { L2Filters } from '../../src/model/filter-ports.ts'
import type { L2 } from '../../src/model/l2-port.ts'
import { keySpace } from '../../src/redis/keys.ts'
import { memoryFilters } from '../../src/testing/memory-filters.ts'
import { barrierKey, buildKey, filterKey, requestKey } from '../../src/testing/memory-keys.ts'
import { ownNamespace } from '../support/namespace.ts'
import { MemoryRedis, memoryL2 } from '../support/ports.ts'
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts'
import { startRedis } from '../support/servers.ts'
import { required } from '../support/world.ts'
import { openRedisProcess, type RedisProcess } from './redis-process.ts'

/** Two processes over one L2, and what may happen to it behind their backs. */
export interface Rig {
  readonly one: L2
  readonly two: L2
  /** What `two` hears. */
  readonly fastPlane: FastPlane
  evict(what: 'value' | 'fence', id: string, version?: number): Promise<unknown>
  flush(): Promise<unknown>
  /** Of each node that has one. */
  records(): Promise<readonly (BarrierRecord | undefined)[]>
  /** Puts others in their places; `undefined` evicts. */
  rewrite(change: (record: BarrierRecord) => BarrierRecord | Buffer | undefined): Promise<unknown>
  /** The filters beside it, as each of the two has them. */
  readonly filters: { readonly one: L2Filters; readonly two: L2Filters }
  /** What lies at a key of the filters of 'thing'. */
  bitmap(slot: 0 | 1): Promise<Buffer | undefined>
  /** `undefined` evicts. */
  putBitmap(slot: 0 | 1, bytes: Buffer | undefined): Promise<unknown>
  /** Evicts the record of a build, and the wish for one. */
  evictBuild(): Promise<unknown>
}

interface RigOptions {
  readonly retentionMs?: number
  /** A server that nobody else uses, so that it can be flushed. */
  readonly isOwn?: boolean
}

export const l2Rigs: readonly [string, (options?: RigOptions) => Promise<Rig>][] = [
  ['Redis', openRedis],
  ['Redis Cluster', openCluster],
  ['memory', openMemory],
]

async function openRedis({ retentionMs, isOwn = false }: RigOptions = {}): Promise<Rig> {
  const url = isOwn ? (await startRedis()).url : required('REDIS_URL')
  const namespace = ownNamespace()
  const options = { url, namespace, ...(retentionMs === undefined ? {} : { retentionMs }) }
  const one = await openRedisProcess(options)
  const two = await openRedisProcess(options)
  const keys = keySpace(namespace)
  return {
    one: one.l2,
    two: two.l2,
    fastPlane: two.fastPlane,
    evict: (what, id, version = 1) =>
      one.redis.del(what === 'fence' ? keys.fence('thing', id) : keys.value('thing', version, id)),
    flush: () => one.redis.flushall(),
    ...recordsIn(namespace, [one.redis]),
    ...filtersOf(namespace, one, two),
  }
}

/** Started when a test asks for it, and there for all of them: each has its own namespace. */
let cluster: Promise<RedisCluster> | undefined
const atEnd: (() => Promise<void> | void)[] = []
afterAll(async () => {
  for (const close of atEnd.splice(0).reverse()) await close()
})

async function openCluster({ retentionMs }: RigOptions = {}): Promise<Rig> {
  cluster ??= startRedisCluster({ atEnd: (close) => atEnd.push(close) })
  const { cluster: nodes, nodes: servers } = await cluster
  const namespace = ownNamespace()
  const options = {
    url: { cluster: nodes },
    namespace,
    ...(retentionMs === undefined ? {} : { retentionMs }),
  }
  const one = await openRedisProcess(options)
  const two = await openRedisProcess(options)
  const keys = keySpace(namespace)
  return {
    one: one.l2,
    two: two.l2,
    fastPlane: two.fastPlane,
    evict: (what, id, version = 1) =>
      one.redis.del(what === 'fence' ? keys.fence('thing', id) : keys.value('thing', version, id)),
    flush: () => Promise.all(servers.map(({ admin }) => admin.flushall())),
    ...recordsIn(
      namespace,
      servers.map(({ admin }) => admin),
    ),
    ...filtersOf(namespace, one, two),
  }
}

async function openMemory({ retentionMs = 60_000 }: RigOptions = {}): Promise<Rig> {
  const redis = new MemoryRedis(systemClock)
  const options = { redis, tombstoneRetentionMs: retentionMs }
  return {
    one: memoryL2(options),
    two: memoryL2(options),
    fastPlane: redis.fastPlane(),
    evict: async (what, id, version = 1) =>
      what === 'fence' ? redis.evictFence('thing', id) : redis.evictValue('thing', version, id),
    flush: async () => redis.flush(),
    records: async () => {
      const bytes = redis.get(barrierKey)
      return bytes ? [decodeBarrierRecord(bytes)] : []
    },
    rewrite: async (change) => {
      const bytes = redis.get(barrierKey)
      if (!bytes) return
      const changed = change(decodeBarrierRecord(bytes) as BarrierRecord)
      if (changed === undefined) return redis.evictBarrier()
      redis.set(barrierKey, bytesOf(changed), lifeMs)
    },
    filters: { one: memoryFilters(redis), two: memoryFilters(redis) },
    bitmap: async (slot) => redis.get(filterKey('thing', slot)),
    putBitmap: async (slot, bytes) =>
      bytes ? redis.set(filterKey('thing', slot), bytes, lifeMs) : redis.evictFilter('thing', slot),
    evictBuild: async () => {
      redis.unlink(buildKey('thing'))
      redis.unlink(requestKey('thing'))
    },
  }
}

const lifeMs = 60_000

const bytesOf = (record: BarrierRecord | Buffer): Buffer =>
  Buffer.isBuffer(record) ? record : encodeBarrierRecord(record)

type FilterRig = Pick<Rig, 'filters' | 'bitmap' | 'putBitmap' | 'evictBuild'>

function filtersOf(namespace: string, one: RedisProcess, two: RedisProcess): FilterRig {
  const { redis } = one
  const keys = keySpace(namespace)
  return {
    filters: { one: one.filters, two: two.filters },
    bitmap: async (slot) => (await redis.getBuffer(keys.filter('thing', slot))) ?? undefined,
    putBitmap: (slot, bytes) => {
      const key = keys.filter('thing', slot)
      return bytes ? redis.set(key, bytes, 'PX', lifeMs) : redis.del(key)
    },
    evictBuild: () => redis.del(keys.filterBuild('thing'), keys.filterRequest('thing')),
  }
}

function recordsIn(namespace: string, nodes: readonly Redis[]): Pick<Rig, 'records' | 'rewrite'> {
  const all = async () => {
    const found: { node: Redis; key: string; bytes: Buffer }[] = []
    for (const node of nodes) {
      for await (const keys of node.scanStream({ match: `${namespace}:barrier*`, count: 1_000 })) {
        for (const key of new Set(keys as string[])) {
          const bytes = await node.getBuffer(key)
          if (bytes) found.push({ node, key, bytes })
        }
      }
    }
    return found
  }
  return {
    records: async () => (await all()).map(({ bytes }) => decodeBarrierRecord(bytes)),
    rewrite: async (change) => {
      for (const { node, key, bytes } of await all()) {
        const changed = change(decodeBarrierRecord(bytes) as BarrierRecord)
        if (changed === undefined) await node.del(key)
        else await node.set(key, bytesOf(changed), 'PX', lifeMs)
      }
    },
  }
}
