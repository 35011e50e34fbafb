/** Short forms for tests of filters: one that answers, and what is read of it. */
import { expect } from 'vitest'
import {
  decodeHeader,
  encodeHeader,
  everyPlace,
  type FilterHeader,
  hashId,
  headerBytes,
  shapeFor,
} from '../../src/model/bloom.ts'
import type { Build, FilterStatus, L2Filters } from '../../src/model/filter-ports.ts'
import type { L2, Lookup } from '../../src/model/l2-port.ts'
import { parseXid } from '../../src/model/snapshot.ts'
import type { l2Rigs } from './l2-rigs.ts'
import { changes, present, restore, thing, upTo } from './words.ts'

export type Rig = Awaited<ReturnType<(typeof l2Rigs)[number][1]>>

export const shape = shapeFor(200, 0.001)
export const start = { incarnation: present, xid: parseXid('100') }

export async function begun(filters: L2Filters, leaseMs = 9_000, wanted = shape): Promise<Build> {
  const answer = await filters.begin('thing', wanted, 200, leaseMs)
  if (answer.kind !== 'declared') throw new Error(`a new build was expected, not ${answer.kind}`)
  return answer.build
}

export function partOf(filters: L2Filters, build: Build, ids: readonly string[]): Buffer {
  const part = Buffer.alloc(build.bits / 8)
  const seed = filters.seedOf(build.entity)
  for (const id of ids) {
    everyPlace(hashId(seed, id), build, (place) => {
      const at = Math.floor(place / 8)
      part[at] = (part[at] as number) | (1 << (place % 8))
      return true
    })
  }
  return part
}

export const progress = { cursor: 'the last id', scanned: 3, expected: 200 }

/** Builds a filter of these ids; its generation. */
export async function built(filters: L2Filters, ids: readonly string[] = []): Promise<number> {
  const build = await begun(filters)
  expect(await filters.started(build, start)).toEqual({ kind: 'done' })
  const part = partOf(filters, build, ids)
  expect(await filters.merge(build, part, progress)).toEqual({ kind: 'done' })
  expect(await filters.finish(build)).toEqual({ kind: 'done' })
  return build.generation
}

/** So that a "no" counts. */
export async function proven({ one }: Rig, xid = 100): Promise<void> {
  expect(await restore(one, await changes(one, upTo(xid)), upTo(xid))).not.toContain('unavailable')
}

/** What the filters say of the ids that have no value: their kinds. */
export async function says(l2: L2, ids: readonly string[]): Promise<readonly Lookup['kind'][]> {
  const asked = ids.map(() => true)
  return (await l2.lookup(thing(), ids, asked)).map(({ kind }) => kind)
}

export async function statusOf(filters: L2Filters): Promise<FilterStatus> {
  const status = await filters.status('thing')
  if (status.kind === 'unavailable') throw status.cause
  return status
}

export async function headerAt(rig: Rig, slot: 0 | 1): Promise<FilterHeader | undefined> {
  const bytes = await rig.bitmap(slot)
  return bytes && decodeHeader(bytes, bytes.length)
}

/** Puts another header before the bits. */
export async function rewriteHeader(
  rig: Rig,
  slot: 0 | 1,
  change: Partial<FilterHeader>,
): Promise<void> {
  const bytes = (await rig.bitmap(slot)) as Buffer
  const header = decodeHeader(bytes, bytes.length) as FilterHeader
  const head = encodeHeader({ ...header, ...change })
  await rig.putBitmap(slot, Buffer.concat([head, bytes.subarray(headerBytes)]))
}

/** Where the one that answers lies. */
export async function currentSlot(rig: Rig): Promise<0 | 1> {
  return (await headerAt(rig, 0))?.isReady ? 0 : 1
}

export function bitsIn(bytes: Buffer): number {
  let bits = 0
  for (let byte of bytes.subarray(headerBytes)) for (; byte > 0; byte &= byte - 1) bits++
  return bits
}
