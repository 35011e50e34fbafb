/** Ids as the scripts ask filters of them, and filters' answers in the words of the port. */
import {
  decodeHeader,
  type FilterHeader,
  type FilterShape,
  hashId,
  type Seed,
  seedMark,
} from '../model/bloom.ts'
import type { Refusal } from '../model/filter-ports.ts'
import { type Beside, isFilterOutlived } from './beside.ts'

const markBytes = 4
const hashBytes = 8
const placeBytes = 4

/** The seed's mark, then 8 bytes for each id. */
export function hashesOf(seed: Seed, ids: readonly string[]): Buffer {
  const bytes = Buffer.allocUnsafe(markBytes + hashBytes * ids.length)
  bytes.writeUInt32BE(seedMark(seed), 0)
  for (const [nth, id] of ids.entries()) putHash(bytes, markBytes + hashBytes * nth, seed, id)
  return bytes
}

/** The seed's mark, then for each of the ids at these places 4 bytes with its place (from 1) and 8. */
export function askedOf(seed: Seed, ids: readonly string[], places: readonly number[]): Buffer {
  const stride = placeBytes + hashBytes
  const bytes = Buffer.allocUnsafe(markBytes + stride * places.length)
  bytes.writeUInt32BE(seedMark(seed), 0)
  for (const [nth, place] of places.entries()) {
    const at = markBytes + stride * nth
    bytes.writeUInt32BE(place + 1, at)
    putHash(bytes, at + placeBytes, seed, ids[place] as string)
  }
  return bytes
}

/** What a script has said of some ids: n or m for each. */
export interface Said {
  readonly head: Buffer
  readonly length: number
  readonly says: Buffer
}

/** What a "no" of this filter is beside that barrier; `undefined`: nothing that it says counts. */
export function refusalOf({ head, length }: Said, seed: Seed, beside: Beside): Refusal | undefined {
  const header = headerIn(head, length, seed)
  const { barrier } = beside
  if (!header?.isReady || !barrier || isFilterOutlived(header, beside)) return undefined
  return { barrier, generation: header.generation }
}

const no = 'n'.charCodeAt(0)

export function isNo({ says }: Said, nth: number): boolean {
  return says[nth] === no
}

/** `undefined`: no header, or one of another seed. */
export function headerIn(head: Buffer, length: number, seed: Seed): FilterHeader | undefined {
  const header = decodeHeader(head, length)
  return header?.seed === seedMark(seed) ? header : undefined
}

const leastShare = 0.9
const mostShare = 2

/** The bits of a build that is gone on with where `wanted` is asked for: there are other ids by now. */
export function fittingBits({ bits }: FilterShape): {
  readonly least: number
  readonly most: number
} {
  return { least: Math.floor(bits * leastShare), most: bits * mostShare }
}

export function checkPart({ bits }: FilterShape, part: Uint8Array): void {
  if (part.length === bits / 8) return
  throw new RangeError(`${part.length} bytes are no part of a filter of ${bits} bits`)
}

function putHash(bytes: Buffer, at: number, seed: Seed, id: string): void {
  const { first, second } = hashId(seed, id)
  bytes.writeUInt32BE(first, at)
  bytes.writeUInt32BE(second, at + 4)
}
