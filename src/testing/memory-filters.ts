/** The Bloom filters of one process over a Redis in memory: the rules of the scripts `filter-*.lua`. */
import {
  bytesOf,
  encodeHeader,
  type FilterHeader,
  type FilterShape,
  hashId,
  headerBytes,
  seedMark,
} from '../model/bloom.ts'
import type {
  Begun,
  Build,
  BuildAnswer,
  BuildProgress,
  FilterStatus,
  L2Filters,
  ScanStart,
  Unavailable,
} from '../model/filter-ports.ts'
import type { Incarnation, Xid } from '../model/snapshot.ts'
import { isFilterOutlived } from '../redis/beside.ts'
import { checkPart, fittingBits } from '../redis/filter-answers.ts'
import { MemoryBarriers } from './memory-barriers.ts'
import {
  type Bitmap,
  bitmapAt,
  bitmapsOf,
  memorySeedOf,
  newestReady,
  saysNo,
} from './memory-bitmaps.ts'
import { buildKey, filterKey, requestKey } from './memory-keys.ts'
import type { MemoryRedis } from './memory-redis.ts'

const lifeMs = 86_400_000

/** What lies at the key of a build. */
interface BuildRecord {
  readonly owner: string
  readonly untilMs: number
  readonly generation: number
  readonly slot: 0 | 1
  /** `undefined`: the scan hasn't begun. */
  readonly start?: ScanStart
  readonly progress: BuildProgress
}

let owners = 0

export function memoryFilters(redis: MemoryRedis): L2Filters {
  const barriers = new MemoryBarriers(redis)

  /** One call: it travels, is done at once, and its answer travels back. */
  const call = async <T, F>(run: () => T, failed: (cause: unknown) => F): Promise<T | F> => {
    await Promise.resolve()
    if (redis.down) return failed(redis.down)
    const answer = run()
    await Promise.resolve()
    return answer
  }
  const act = (run: () => BuildAnswer): Promise<BuildAnswer> => call(run, unavailable)
  /** Does it to what this builder builds. */
  const on = (build: Build, run: (bitmap: Bitmap, record: BuildRecord) => void) =>
    act(() => {
      const found = ownOf(redis, build)
      if (found) run(found.bitmap, found.record)
      return { kind: found ? 'done' : 'lost' }
    })

  return {
    seedOf: memorySeedOf,

    status: (entity) => call(() => statusOf(redis, entity, barriers), unavailable),

    request: (entity) =>
      act(() => {
        redis.set(requestKey(entity), Buffer.from('1'), lifeMs)
        return { kind: 'done' }
      }),

    begin: (entity, shape, expected, leaseMs) => {
      const owner = `builder-${++owners}`
      return call(() => begin(redis, entity, shape, expected, { owner, leaseMs }), unavailable)
    },

    renew: (build, leaseMs) =>
      on(build, (_, record) =>
        keep(redis, build.entity, { ...record, untilMs: redis.nowMs() + leaseMs }),
      ),

    started: (build, start) =>
      on(build, ({ key, bytes, header }, record) => {
        redis.replace(key, withHeader(bytes, { ...header, ...start }))
        keep(redis, build.entity, { ...record, start })
      }),

    merge: async (build, part, progress) => {
      checkPart(build, part)
      return on(build, ({ key, bytes }, record) => {
        const bits = Buffer.from(bytes)
        for (const [at, byte] of part.entries()) {
          bits[headerBytes + at] = (bits[headerBytes + at] as number) | byte
        }
        redis.replace(key, bits)
        keep(redis, build.entity, { ...record, progress })
      })
    },

    finish: (build) =>
      on(build, ({ key, slot, bytes, header }) => {
        const setBits = bitsIn(bytes.subarray(headerBytes))
        redis.set(key, withHeader(bytes, { ...header, isReady: true, setBits }), lifeMs)
        redis.unlink(filterKey(build.entity, slot === 0 ? 1 : 0))
        redis.unlink(buildKey(build.entity))
      }),

    abandon: (build) =>
      call(
        () => {
          if (recordOf(redis, build.entity)?.owner !== build.owner) return
          redis.unlink(buildKey(build.entity))
          for (const { key, header } of bitmapsOf(redis, build.entity)) {
            if (!header.isReady && header.generation === build.generation) redis.unlink(key)
          }
        },
        () => undefined,
      ),

    missing: (entity, generation, ids) => {
      const none = (): readonly boolean[] => ids.map(() => false)
      return call(() => {
        const filter = bitmapsOf(redis, entity).find((one) => one.header.generation === generation)
        if (!filter) return none()
        const seed = memorySeedOf(entity)
        return ids.map((id) => saysNo(filter, hashId(seed, id)))
      }, none)
    },

    read: (entity, generation, offset, bytes) =>
      call(
        () => {
          const filter = newestReady(redis, entity)
          if (filter?.header.generation !== generation) return undefined
          const start = headerBytes + offset
          return Buffer.from(filter.bytes.subarray(start, start + bytes))
        },
        () => undefined,
      ),
  }
}

const unavailable = (cause: unknown): Unavailable => ({ kind: 'unavailable', cause })

function recordOf(redis: MemoryRedis, entity: string): BuildRecord | undefined {
  const bytes = redis.get(buildKey(entity))
  if (!bytes) return undefined
  const record = JSON.parse(String(bytes)) as BuildRecord
  const { cursor, scanned, expected } = record.progress
  return { ...record, progress: { cursor, scanned, expected } }
}

function keep(redis: MemoryRedis, entity: string, record: BuildRecord): void {
  redis.set(buildKey(entity), Buffer.from(JSON.stringify(record)), lifeMs)
}

/** What is being built under the record, if nothing of it can have been forgotten. */
function beingBuilt(redis: MemoryRedis, entity: string, record: BuildRecord): Bitmap | undefined {
  const bitmap = bitmapAt(redis, entity, record.slot)
  if (!bitmap || bitmap.header.isReady) return undefined
  const { generation, identity } = bitmap.header
  return generation === record.generation && identity === redis.identity ? bitmap : undefined
}

function ownOf(
  redis: MemoryRedis,
  { entity, owner, generation }: Build,
): { readonly bitmap: Bitmap; readonly record: BuildRecord } | undefined {
  const record = recordOf(redis, entity)
  if (record?.owner !== owner || record.generation !== generation) return undefined
  const bitmap = beingBuilt(redis, entity, record)
  return bitmap && { bitmap, record }
}

/** filter-begin.lua */
function begin(
  redis: MemoryRedis,
  entity: string,
  shape: FilterShape,
  expected: number,
  { owner, leaseMs }: { readonly owner: string; readonly leaseMs: number },
): Begun {
  const record = recordOf(redis, entity)
  const nowMs = redis.nowMs()
  if (record && isHeld(record, nowMs)) return { kind: 'held' }
  redis.unlink(requestKey(entity))
  const untilMs = nowMs + leaseMs
  const left = record?.start && beingBuilt(redis, entity, record)
  if (record?.start && left && fits(left.header, shape)) {
    keep(redis, entity, { ...record, owner, untilMs })
    const { bits, places, generation } = left.header
    const build = { entity, owner, generation, bits, places }
    return { kind: 'resumed', build, start: record.start, progress: record.progress }
  }
  const { slot, generation } = declare(redis, entity, shape)
  const progress = { cursor: undefined, scanned: 0, expected }
  keep(redis, entity, { owner, untilMs, generation, slot, progress })
  const { bits, places } = shape
  return { kind: 'declared', build: { entity, owner, generation, bits, places } }
}

function fits({ bits, places }: FilterShape, wanted: FilterShape): boolean {
  const { least, most } = fittingBits(wanted)
  return places === wanted.places && bits >= least && bits <= most
}

/** No lease is that long: Redis' clock was set back since, and who had it may be gone. */
const longestLeaseMs = 3_600_000

function isHeld({ untilMs }: BuildRecord, nowMs: number): boolean {
  return untilMs > nowMs && untilMs - nowMs <= longestLeaseMs
}

function declare(redis: MemoryRedis, entity: string, { bits, places }: FilterShape) {
  const nowMs = redis.nowMs()
  const slot = newestReady(redis, entity)?.slot === 0 ? 1 : 0
  const newest = Math.max(0, ...bitmapsOf(redis, entity).map(({ header }) => header.generation))
  const generation = Math.max(newest + 1, Math.floor(nowMs / 1_000))
  const header: FilterHeader = {
    bits,
    places,
    isReady: false,
    generation,
    seed: seedMark(memorySeedOf(entity)),
    incarnation: '0'.repeat(16) as Incarnation,
    xid: 0 as Xid,
    identity: redis.identity,
    declaredAtMs: nowMs,
    setBits: 0,
  }
  const bytes = withHeader(Buffer.alloc(bytesOf({ bits, places })), header)
  redis.set(filterKey(entity, slot), bytes, lifeMs)
  return { slot, generation } as const
}

/** filter-status.lua */
function statusOf(redis: MemoryRedis, entity: string, barriers: MemoryBarriers): FilterStatus {
  for (const slot of [0, 1] as const) redis.pexpire(filterKey(entity, slot), lifeMs)
  const current = newestReady(redis, entity)?.header
  const record = recordOf(redis, entity)
  const building = record && bitmapAt(redis, entity, record.slot)?.header
  const isBuilding =
    building && !building.isReady && building.generation === record.generation && record
  return {
    kind: 'status',
    current,
    isOutlived: current !== undefined && isFilterOutlived(current, barriers.beside()),
    hasBarrier: barriers.beside().barrier !== undefined,
    building: isBuilding
      ? { ...building, ...record.progress, isHeld: isHeld(record, redis.nowMs()) }
      : undefined,
    isRequested: redis.get(requestKey(entity)) !== undefined,
  }
}

function withHeader(bytes: Buffer, header: FilterHeader): Buffer {
  return Buffer.concat([encodeHeader(header), bytes.subarray(headerBytes)])
}

function bitsIn(bytes: Buffer): number {
  let bits = 0
  for (let byte of bytes) for (; byte > 0; byte &= byte - 1) bits++
  return bits
}
