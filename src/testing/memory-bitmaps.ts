/** The bitmaps of Bloom filters in a Redis in memory: the rules of bloom.lua. */
import {
  decodeHeader,
  encodeHeader,
  everyPlace,
  type FilterHeader,
  hashId,
  headerBytes,
  type IdHash,
  type Seed,
  seedMark,
  seedOf,
} from '../model/bloom.ts'
import type { Refusal } from '../model/filter-ports.ts'
import { type Beside, isFilterOutlived } from '../redis/beside.ts'
import { filterKey } from './memory-keys.ts'
import type { MemoryRedis } from './memory-redis.ts'

/** What lies at one of an entity's two keys. */
export interface Bitmap {
  readonly key: string
  readonly slot: 0 | 1
  readonly bytes: Buffer
  readonly header: FilterHeader
}

export const memorySeedOf = (entity: string): Seed => seedOf('memory', 'memory', entity)

export function bitmapAt(redis: MemoryRedis, entity: string, slot: 0 | 1): Bitmap | undefined {
  const key = filterKey(entity, slot)
  const bytes = redis.get(key)
  const header = bytes && decodeHeader(bytes, bytes.length)
  if (!bytes || header?.seed !== seedMark(memorySeedOf(entity))) return undefined
  return { key, slot, bytes, header }
}

export function bitmapsOf(redis: MemoryRedis, entity: string): readonly Bitmap[] {
  return ([0, 1] as const).flatMap((slot) => bitmapAt(redis, entity, slot) ?? [])
}

/** The one that answers. */
export function newestReady(redis: MemoryRedis, entity: string): Bitmap | undefined {
  const [one, other] = bitmapsOf(redis, entity).filter(({ header }) => header.isReady)
  if (!one || !other) return one
  return other.header.generation > one.header.generation ? other : one
}

/** Adds the ids to every bitmap of the entity. */
export function remember(redis: MemoryRedis, entity: string, ids: readonly string[]): void {
  rememberIn(redis, entity, bitmapsOf(redis, entity), ids)
}

/** Adds the ids to these. */
export function rememberIn(
  redis: MemoryRedis,
  entity: string,
  bitmaps: readonly Bitmap[],
  ids: readonly string[],
): void {
  const seed = memorySeedOf(entity)
  for (const { key, bytes, header } of bitmaps) {
    const bits = Buffer.from(bytes)
    let flipped = 0
    for (const id of ids) {
      everyPlace(hashId(seed, id), header, (place) => {
        const at = headerBytes + Math.floor(place / 8)
        const before = bits[at] as number
        bits[at] = before | (1 << (place % 8))
        if (bits[at] !== before) flipped++
        return true
      })
    }
    if (flipped === 0) continue
    if (header.isReady) encodeHeader({ ...header, setBits: header.setBits + flipped }).copy(bits)
    redis.replace(key, bits)
  }
}

/** Whether the bitmap doesn't have the id. */
export function saysNo({ bytes, header }: Bitmap, hash: IdHash): boolean {
  return !everyPlace(hash, header, (place) => {
    const byte = bytes[headerBytes + Math.floor(place / 8)] as number
    return (byte & (1 << (place % 8))) !== 0
  })
}

/** What the newest filter says beside this barrier, of ids that have no value. */
export function refuser(
  redis: MemoryRedis,
  entity: string,
  beside: Beside,
): (id: string) => Refusal | undefined {
  const filter = newestReady(redis, entity)
  const { barrier } = beside
  if (!filter || !barrier || isFilterOutlived(filter.header, beside)) return () => undefined
  const seed = memorySeedOf(entity)
  const refusal = { barrier, generation: filter.header.generation }
  return (id) => (saysNo(filter, hashId(seed, id)) ? refusal : undefined)
}
