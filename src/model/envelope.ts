/**
 * A value's bytes in Redis (DESIGN §2). The header's layout is read here and in
 * `redis/scripts/snapshot.lua`; big-endian:
 *
 *   0  1  format, 0x4C
 *   1  1  flags: 1 negative, 2 the snapshot has an own xid, 4 the payload is compressed, 8 the value is
 *         too big to lie here; of 1, 4 and 8 at most one
 *   2  8  incarnation
 *  10  8  xmin
 *  18  4  xmax - xmin
 *  22  2  number of xids in progress, n
 *  24  6  created at, Redis' clock in ms
 *  30  6  soft expiry, Redis' clock in ms
 *  36  2  check of the header, for Lua, which has no CRC: the sum of each other header byte times its
 *         place (from 1), modulo 65521
 *  38  4  CRC-32 of all other bytes
 *  42  4n xids in progress, minus xmin; then, with flag 2, 4 bytes: the own xid, minus xmin
 *         payload
 *
 * Unknown or corrupt bytes are no envelope (`undefined`), never an exception. So is one with a flag that
 * is set by a newer version: the scripts look at flag 2 alone, and let whoever doesn't know it fill anew.
 */
import { crc32 } from 'node:zlib'
import type { Form } from './l2-port.ts'
import type { Incarnation, Snapshot, Xid } from './snapshot.ts'

export interface Envelope {
  readonly snapshot: Snapshot
  readonly createdAtMs: number
  readonly softExpiryMs: number
  /** `undefined`: the id does not exist (a negative entry), or its value is too big. */
  readonly payload: Buffer | undefined
  readonly form?: Form | undefined
}

const format = 0x4c
const flagNegative = 1
const flagOwn = 2
const flagCompressed = 4
const flagTooBig = 8
const fixedBytes = 42
const checkOffset = 36
const crcOffset = 38

/** Above this many open transactions a snapshot is told as `xmin:xmin:`, which sees less: safe, and rare. */
export const mostXids = 1_000

export function encodeEnvelope(envelope: Envelope): Buffer {
  const { xmin, xmax, xip, own, incarnation } = shorten(envelope.snapshot)
  const { form } = envelope
  const payload = form === 'too-big' ? undefined : envelope.payload
  const xidBytes = (xip.length + (own === undefined ? 0 : 1)) * 4
  const bytes = Buffer.allocUnsafe(fixedBytes + xidBytes + (payload?.length ?? 0))
  bytes[0] = format
  bytes[1] = flagOf(form, payload) | (own === undefined ? 0 : flagOwn)
  bytes.write(incarnation, 2, 'hex')
  writeXid(bytes, xmin, 10)
  bytes.writeUInt32BE(xmax - xmin, 18)
  bytes.writeUInt16BE(xip.length, 22)
  bytes.writeUIntBE(Math.floor(envelope.createdAtMs), 24, 6)
  bytes.writeUIntBE(Math.floor(envelope.softExpiryMs), 30, 6)
  let offset = fixedBytes
  for (const xid of own === undefined ? xip : [...xip, own]) {
    bytes.writeUInt32BE(xid - xmin, offset)
    offset += 4
  }
  bytes.writeUInt16BE(headerCheck(bytes, offset), checkOffset)
  if (payload) payload.copy(bytes, offset)
  bytes.writeUInt32BE(checksum(bytes, bytes.subarray(fixedBytes)), crcOffset)
  return bytes
}

export function decodeEnvelope(bytes: Buffer): Envelope | undefined {
  if (bytes.length < fixedBytes || bytes[0] !== format) return undefined
  const flags = bytes[1] as number
  const hasOwn = (flags & flagOwn) !== 0
  const kind = flags & ~flagOwn
  const xids = bytes.readUInt16BE(22) + (hasOwn ? 1 : 0)
  const rest = bytes.subarray(fixedBytes)
  // At most one flag, and one that is known.
  if ((kind & (kind - 1)) !== 0 || flags > 15 || rest.length < xids * 4) return undefined
  if (bytes.readUInt32BE(crcOffset) !== checksum(bytes, rest)) return undefined
  return {
    snapshot: snapshotIn(bytes, xids, hasOwn),
    createdAtMs: readUint48(bytes, 24),
    softExpiryMs: readUint48(bytes, 30),
    payload: hasPayload(kind) ? (xids === 0 ? rest : rest.subarray(xids * 4)) : undefined,
    form: kind === flagCompressed ? 'compressed' : kind === flagTooBig ? 'too-big' : undefined,
  }
}

function flagOf(form: Form | undefined, payload: Buffer | undefined): number {
  if (form === 'too-big') return flagTooBig
  if (!payload) return flagNegative
  return form === 'compressed' ? flagCompressed : 0
}

const hasPayload = (kind: number): boolean => kind === 0 || kind === flagCompressed

/**
 * Values that were loaded together share their snapshot, and so do their entries in L1: a snapshot
 * of its own for each would double what an entry weighs. One slot for each of the last few; whether
 * it is the same one their bytes say, in a quarter of the time that reading a snapshot takes.
 */
const recent: (Known | undefined)[] = new Array(64)

interface Known {
  readonly snapshot: Snapshot
  readonly hasOwn: boolean
  /** From the incarnation to the number of xids, and the xids. */
  readonly fixed: Uint8Array
  readonly xids: Uint8Array
}

function snapshotIn(bytes: Buffer, xids: number, hasOwn: boolean): Snapshot {
  // The lowest bits of xmax.
  const slot = ((bytes[17] as number) + (bytes[21] as number)) % recent.length
  const known = recent[slot]
  if (
    known?.hasOwn === hasOwn &&
    known.xids.length === xids * 4 &&
    isAt(bytes, 2, known.fixed) &&
    isAt(bytes, fixedBytes, known.xids)
  ) {
    return known.snapshot
  }
  const snapshot = readSnapshot(bytes, xids, hasOwn)
  // Copies, because the bytes are part of all that the socket read at a time.
  const copy = (from: number, to: number): Uint8Array => new Uint8Array(bytes.subarray(from, to))
  recent[slot] = {
    snapshot,
    hasOwn,
    fixed: copy(2, 24),
    xids: copy(fixedBytes, fixedBytes + xids * 4),
  }
  return snapshot
}

function readSnapshot(bytes: Buffer, xids: number, hasOwn: boolean): Snapshot {
  const xmin = bytes.readUInt32BE(10) * 2 ** 32 + bytes.readUInt32BE(14)
  const xidAt = (index: number): Xid => (xmin + bytes.readUInt32BE(fixedBytes + index * 4)) as Xid
  const count = hasOwn ? xids - 1 : xids
  return {
    incarnation: bytes.toString('hex', 2, 10) as Incarnation,
    xmin: xmin as Xid,
    xmax: (xmin + bytes.readUInt32BE(18)) as Xid,
    xip: count === 0 ? none : Array.from({ length: count }, (_, index) => xidAt(index)),
    own: hasOwn ? xidAt(count) : undefined,
  }
}

function isAt(bytes: Buffer, offset: number, part: Uint8Array): boolean {
  for (let index = 0; index < part.length; index++) {
    if (bytes[offset + index] !== part[index]) return false
  }
  return true
}

const none: readonly Xid[] = []

function shorten(snapshot: Snapshot): Snapshot {
  const { xmin, xmax, xip, own } = snapshot
  const fits = xip.length <= mostXids && xmax - xmin < 2 ** 32
  const seen = own !== undefined && (own < xmin || own - xmin >= 2 ** 32) ? undefined : own
  return fits ? { ...snapshot, own: seen } : { ...snapshot, xmax: xmin, xip: none, own: seen }
}

function writeXid(bytes: Buffer, xid: number, offset: number): void {
  bytes.writeUInt32BE(Math.floor(xid / 2 ** 32), offset)
  bytes.writeUInt32BE(xid % 2 ** 32, offset + 4)
}

function headerCheck(bytes: Buffer, headerBytes: number): number {
  let sum = 0
  for (let index = 0; index < checkOffset; index++) sum += (bytes[index] as number) * (index + 1)
  for (let index = fixedBytes; index < headerBytes; index++) {
    sum += (bytes[index] as number) * (index + 1)
  }
  return sum % 65_521
}

/** Of what lies before the checksum and of the `rest`. */
function checksum(bytes: Buffer, rest: Buffer): number {
  // By hand: for so few bytes a call into zlib, and the view that it needs, take three times as long.
  let crc = 0xffff_ffff
  for (let index = 0; index < crcOffset; index++) {
    crc = (crc >>> 8) ^ (crcTable[(crc ^ (bytes[index] as number)) & 0xff] as number)
  }
  return crc32(rest, ~crc >>> 0)
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1
  return crc
})

/** `readUIntBE` looks at its arguments first. */
function readUint48(bytes: Buffer, offset: number): number {
  return bytes.readUInt16BE(offset) * 2 ** 32 + bytes.readUInt32BE(offset + 2)
}
