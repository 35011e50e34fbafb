/**
 * Bloom filters (B. H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", CACM
 * 1970): what is common to level 1, in process, and level 2, a bitmap in Redis. An id is hashed once,
 * to two words of 32 bits; its places follow from them for any size, by enhanced double hashing
 * (P. Dillinger, P. Manolios, "Bloom Filters in Probabilistic Verification", FMCAD 2004).
 * `redis/scripts/bloom.lua` has the same rules.
 *
 * A bitmap in Redis begins with a header; big-endian:
 *
 *   0   1  format, 0x46
 *   1   1  version, 1
 *   2   1  b: being built, or r: ready
 *   3   1  places of an id, k
 *   4   6  bits, m: a multiple of 8
 *  10   4  generation: the larger of two is the newer
 *  14   4  seed: what its ids were hashed with, as `seedMark` has it
 *  18   8  incarnation
 *  26   8  xid: every write below it that committed is in the filter
 *  34  20  identity of the server that it was declared on, hexadecimal digits
 *  54   6  declared at, Redis' clock in ms
 *  60   6  bits that are set, as of `ready`, with those that were added since
 *  66   2  check: the sum of each of bytes 0 to 59 times its place (from 1), modulo 65521
 *  68   4  zeros
 *  72      the bits, the lowest of each byte first
 *
 * Unknown, damaged or shortened bytes are no filter, and what is no filter says "maybe".
 */
import type { Incarnation, Xid } from './snapshot.ts'

/** 64 bits of an id's text, as two whole numbers below 2^32. */
export interface IdHash {
  readonly first: number
  readonly second: number
}

/** How an entity's ids are hashed: nobody outside can make ids that all look the same. */
export type Seed = IdHash

/** How large a filter is, and how many places an id has in it. */
export interface FilterShape {
  readonly bits: number
  readonly places: number
}

export interface FilterHeader extends FilterShape {
  readonly isReady: boolean
  readonly generation: number
  /** As `seedMark` has it. */
  readonly seed: number
  readonly incarnation: Incarnation
  readonly xid: Xid
  readonly identity: string
  readonly declaredAtMs: number
  readonly setBits: number
}

export const headerBytes = 72
/** A string in Redis has at most 512 MiB. */
export const mostBits = (2 ** 29 - headerBytes) * 8
const format = 0x46
const version = 1
const ready = 'r'.charCodeAt(0)
const building = 'b'.charCodeAt(0)
const checkedBytes = 60
const uint32 = 2 ** 32

/** `database`: as it is registered, so that a filter of another database is none. */
export function seedOf(database: string, namespace: string, entity: string): Seed {
  return hashId(unseeded, `${database}\n${namespace}\n${entity}`)
}

const unseeded: Seed = { first: 0xdeadbeef, second: 0x41c6ce57 }

/** What of a seed is written into a header. */
export function seedMark(seed: Seed): number {
  return (seed.first ^ Math.imul(seed.second, 0x9e3779b1)) >>> 0
}

/** Two lanes of multiplicative mixing over the UTF-16 units, crossed at the end. */
export function hashId(seed: Seed, text: string): IdHash {
  let first = seed.first ^ text.length
  let second = seed.second
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    first = Math.imul(first ^ unit, 0x9e3779b1)
    first ^= first >>> 15
    second = Math.imul(second ^ unit, 0x5f356495)
    second ^= second >>> 13
  }
  const crossed = mixed(first ^ (second >>> 16))
  return { first: crossed, second: mixed(second ^ crossed) }
}

/** MurmurHash3's finalizer. */
function mixed(word: number): number {
  let bits = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

/** Calls `each` with every place of the id, until it says `false`; whether it never did. */
export function everyPlace(
  { first, second }: IdHash,
  { bits, places }: FilterShape,
  each: (place: number) => boolean,
): boolean {
  let place = first % bits
  let step = second % bits
  for (let nth = 1; ; nth++) {
    if (!each(place)) return false
    if (nth === places) return true
    // The remainder of both, without a division of doubles.
    place += step
    if (place >= bits) place -= bits
    step += nth
    while (step >= bits) step -= bits
  }
}

/** The least bits for `ids` at the rate of false positives, and the places that go with them. */
export function shapeFor(ids: number, falsePositiveRate: number): FilterShape {
  const wanted = Math.ceil((-Math.max(1, ids) * Math.log(falsePositiveRate)) / Math.LN2 ** 2)
  const bits = Math.min(mostBits, Math.max(1_024, Math.ceil(wanted / 8) * 8))
  const places = Math.round((bits / Math.max(1, ids)) * Math.LN2)
  return { bits, places: Math.min(30, Math.max(1, places)) }
}

/** The rate of false positives with so many bits set. */
export function rateAt({ bits, places }: FilterShape, setBits: number): number {
  return (setBits / bits) ** places
}

/** How many ids set so many bits, as a rule. */
export function idsAt({ bits, places }: FilterShape, setBits: number): number {
  if (setBits >= bits) return Number.POSITIVE_INFINITY
  return (-bits / places) * Math.log(1 - setBits / bits)
}

export function bytesOf({ bits }: FilterShape): number {
  return headerBytes + bits / 8
}

export function encodeHeader(header: FilterHeader): Buffer {
  const bytes = Buffer.alloc(headerBytes)
  bytes[0] = format
  bytes[1] = version
  bytes[2] = header.isReady ? ready : building
  bytes[3] = header.places
  bytes.writeUIntBE(header.bits, 4, 6)
  bytes.writeUInt32BE(header.generation, 10)
  bytes.writeUInt32BE(header.seed, 14)
  bytes.write(header.incarnation, 18, 'hex')
  bytes.writeUInt32BE(Math.floor(header.xid / uint32), 26)
  bytes.writeUInt32BE(header.xid % uint32, 30)
  bytes.write(header.identity, 34, 20, 'latin1')
  bytes.writeUIntBE(Math.floor(header.declaredAtMs), 54, 6)
  bytes.writeUIntBE(header.setBits, 60, 6)
  bytes.writeUInt16BE(checkOf(bytes), 66)
  return bytes
}

/** `length`: of all that lies at the key. */
export function decodeHeader(bytes: Buffer, length: number): FilterHeader | undefined {
  if (bytes.length < headerBytes || bytes[0] !== format || bytes[1] !== version) return undefined
  if (bytes[2] !== ready && bytes[2] !== building) return undefined
  if (bytes.readUInt16BE(66) !== checkOf(bytes)) return undefined
  const bits = bytes.readUIntBE(4, 6)
  const places = bytes[3] as number
  if (places === 0 || bits === 0 || bits % 8 !== 0 || length !== bytesOf({ bits, places })) {
    return undefined
  }
  return {
    bits,
    places,
    isReady: bytes[2] === ready,
    generation: bytes.readUInt32BE(10),
    seed: bytes.readUInt32BE(14),
    incarnation: bytes.toString('hex', 18, 26) as Incarnation,
    xid: (bytes.readUInt32BE(26) * uint32 + bytes.readUInt32BE(30)) as Xid,
    identity: bytes.toString('latin1', 34, 54),
    declaredAtMs: bytes.readUIntBE(54, 6),
    setBits: bytes.readUIntBE(60, 6),
  }
}

function checkOf(bytes: Buffer): number {
  let sum = 0
  for (let index = 0; index < checkedBytes; index++) {
    sum = (sum + (index + 1) * (bytes[index] as number)) % 65_521
  }
  return sum
}
