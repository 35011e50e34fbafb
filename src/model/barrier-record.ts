/**
 * The barrier as it lies in a node of Redis (docs/decisions/0010). `redis/scripts/barrier-record.lua`
 * reads and writes the same; big-endian:
 *
 *   0   1  format, 0x42
 *   1   1  version, 1
 *   2   1  v: valid, or r: being restored
 *   3  20  identity of the server that it was written to, hexadecimal digits
 *  23   8  owner: digest of the node's name
 *  31   2  length of the barrier
 *  33      the barrier, a snapshot; nothing where none is known
 *          the generation, a snapshot; nothing where there is none
 *       4  check: the first bytes of the SHA-1 of all that comes before
 *
 * A snapshot: 8 bytes incarnation, 8 xmin, 4 xmax - xmin, 2 number of xids in progress, then 4 for
 * each of them, minus xmin. Unknown or damaged bytes are no record (`undefined`), never an exception.
 */
import { createHash } from 'node:crypto'
import { mostXids } from './envelope.ts'
import type { Incarnation, Snapshot, Xid } from './snapshot.ts'

export interface BarrierRecord {
  /** `false`: the node may have forgotten what it was told since `barrier`. */
  readonly isValid: boolean
  /** 20 hexadecimal digits. */
  readonly identity: string
  readonly owner: Buffer
  readonly barrier: Snapshot | undefined
  /** What values have to cover. */
  readonly generation: Snapshot | undefined
}

const format = 0x42
const version = 1
const valid = 'v'.charCodeAt(0)
const beingRestored = 'r'.charCodeAt(0)
const identityStart = 3
const ownerStart = 23
const lengthStart = 31
const partsStart = 33
const checkBytes = 4
const snapshotBytes = 22

/** The owner of records of the node with that name. */
export function ownerOf(node: string): Buffer {
  return createHash('sha1')
    .update(node)
    .digest()
    .subarray(0, lengthStart - ownerStart)
}

export function encodeBarrierRecord(record: BarrierRecord): Buffer {
  const barrier = encodeBarrier(record.barrier)
  const head = Buffer.alloc(partsStart)
  head[0] = format
  head[1] = version
  head[2] = record.isValid ? valid : beingRestored
  head.write(record.identity, identityStart, 'latin1')
  record.owner.copy(head, ownerStart)
  head.writeUInt16BE(barrier.length, lengthStart)
  const content = Buffer.concat([head, barrier, encodeGeneration(record.generation)])
  return Buffer.concat([content, checkOf(content)])
}

export function decodeBarrierRecord(bytes: Buffer): BarrierRecord | undefined {
  if (bytes.length < partsStart + checkBytes) return undefined
  if (bytes[0] !== format || bytes[1] !== version) return undefined
  const content = bytes.subarray(0, -checkBytes)
  if (!checkOf(content).equals(bytes.subarray(-checkBytes))) return undefined
  const generationStart = partsStart + bytes.readUInt16BE(lengthStart)
  if (generationStart > content.length) return undefined
  return {
    isValid: bytes[2] === valid,
    identity: bytes.toString('latin1', identityStart, ownerStart),
    owner: Buffer.from(bytes.subarray(ownerStart, lengthStart)),
    barrier: decodeSnapshot(bytes.subarray(partsStart, generationStart)),
    generation: decodeSnapshot(content.subarray(generationStart)),
  }
}

/** One that lists too many open transactions is told as `xmin:xmin:`, which sees less: it proves less. */
export function encodeBarrier(snapshot: Snapshot | undefined): Buffer {
  if (!snapshot || fits(snapshot)) return encodeSnapshot(snapshot)
  return encodeSnapshot({ ...snapshot, xmax: snapshot.xmin, xip: [] })
}

/** One that lists too many open transactions is told as `xmax:xmax:`, which sees more: fewer values cover it. */
export function encodeGeneration(snapshot: Snapshot | undefined): Buffer {
  if (!snapshot || fits(snapshot)) return encodeSnapshot(snapshot)
  return encodeSnapshot({ ...snapshot, xmin: snapshot.xmax, xip: [] })
}

function fits({ xmin, xmax, xip }: Snapshot): boolean {
  return xip.length <= mostXids && xmax - xmin < 2 ** 32
}

function encodeSnapshot(snapshot: Snapshot | undefined): Buffer {
  if (!snapshot) return Buffer.alloc(0)
  const { incarnation, xmin, xmax, xip } = snapshot
  const bytes = Buffer.alloc(snapshotBytes + 4 * xip.length)
  bytes.write(incarnation, 0, 'hex')
  bytes.writeBigUInt64BE(BigInt(xmin), 8)
  bytes.writeUInt32BE(xmax - xmin, 16)
  bytes.writeUInt16BE(xip.length, 20)
  for (const [index, xid] of xip.entries()) {
    bytes.writeUInt32BE(xid - xmin, snapshotBytes + 4 * index)
  }
  return bytes
}

/** Of bytes whose check has fitted, or that a script has answered. */
export function decodeSnapshot(bytes: Buffer): Snapshot | undefined {
  if (bytes.length < snapshotBytes) return undefined
  const xmin = Number(bytes.readBigUInt64BE(8))
  const xip = Array.from(
    { length: Math.floor((bytes.length - snapshotBytes) / 4) },
    (_, index) => (xmin + bytes.readUInt32BE(snapshotBytes + 4 * index)) as Xid,
  )
  return {
    incarnation: bytes.toString('hex', 0, 8) as Incarnation,
    xmin: xmin as Xid,
    xmax: (xmin + bytes.readUInt32BE(16)) as Xid,
    xip,
  }
}

function checkOf(content: Buffer): Buffer {
  return createHash('sha1').update(content).digest().subarray(0, checkBytes)
}
