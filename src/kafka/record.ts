/**
 * What lies in the log: writes and barriers (DESIGN §6). A record's bytes, big-endian:
 *
 *   0  1  format, 0x4C
 *   1  1  version, 1
 *   2  4  CRC-32 of all other bytes (Kafka's own is checked by brokers, not by KafkaJS)
 *   6     JSON in UTF-8, so that Kafka's own tools show what a topic holds
 *
 * A record names its namespace: two that share a topic by mistake must not believe each other's
 * barriers. Whatever isn't one of ours, damaged, too big or of a version to come, is `unreadable`,
 * never an exception.
 */
import { crc32 } from 'node:zlib'
import type { LoggedWrite, LogRecord } from '../model/bus-ports.ts'
import { longestIdText } from '../model/id.ts'
import {
  formatSnapshot,
  type Incarnation,
  parseIncarnation,
  parseSnapshot,
  type Snapshot,
  type Xid,
} from '../model/snapshot.ts'

const format = 0x4c
const version = 1
const headBytes = 6
/** A write with more becomes several records: a broker takes 1 MB at a time, unless told otherwise. */
const mostIdBytes = 256 * 1024
/** What nobody here writes isn't parsed. */
const mostRecordBytes = 1024 * 1024

const unreadable: LogRecord = { kind: 'unreadable' }

/** One record of a write: as many of its ids as one may have. */
export interface WriteRecord {
  readonly entity: string
  readonly firstId: string
  readonly bytes: Buffer
}

export function encodeWrite(namespace: string, { write, entity, ids }: LoggedWrite): WriteRecord[] {
  return split(ids).map((part) => ({
    entity,
    firstId: part[0] ?? '',
    bytes: encode({
      kind: 'write',
      namespace,
      incarnation: write.incarnation,
      xid: write.xid,
      entity,
      ids: part,
    }),
  }))
}

export function encodeBarrier(namespace: string, snapshot: Snapshot, partitions: number): Buffer {
  return encode({
    kind: 'barrier',
    namespace,
    incarnation: snapshot.incarnation,
    snapshot: formatSnapshot(snapshot),
    partitions,
  })
}

/** Where a record belongs: the same for the same id, whatever the broker says of its partitions. */
export function partitionOf(entity: string, firstId: string, partitions: number): number {
  return crc32(`${entity}\0${firstId}`) % partitions
}

/** `undefined`: it is of another namespace. */
export function decodeRecord(
  bytes: Buffer | null | undefined,
  namespace: string,
): LogRecord | undefined {
  const fields = fieldsOf(bytes)
  if (typeof fields?.namespace !== 'string') return unreadable
  if (fields.namespace !== namespace) return undefined
  try {
    const incarnation = parseIncarnation(String(fields.incarnation))
    if (fields.kind === 'write') return writeOf(fields, incarnation)
    if (fields.kind === 'barrier') return barrierOf(fields, incarnation)
  } catch {
    // No incarnation, or no snapshot.
  }
  return unreadable
}

type Fields = Readonly<Record<string, unknown>>

function writeOf({ xid, entity, ids }: Fields, incarnation: Incarnation): LogRecord {
  const isWrite = isXid(xid) && isName(entity) && Array.isArray(ids) && ids.every(isName)
  return isWrite ? { kind: 'write', write: { incarnation, xid }, entity, ids } : unreadable
}

function barrierOf({ snapshot, partitions }: Fields, incarnation: Incarnation): LogRecord {
  if (!Number.isSafeInteger(partitions) || (partitions as number) < 1) return unreadable
  const parsed = parseSnapshot(String(snapshot), incarnation)
  if (!isOrdered(parsed)) return unreadable
  return { kind: 'barrier', snapshot: parsed, partitions: partitions as number }
}

function encode(fields: Fields): Buffer {
  const json = Buffer.from(JSON.stringify(fields))
  const bytes = Buffer.allocUnsafe(headBytes + json.length)
  bytes[0] = format
  bytes[1] = version
  json.copy(bytes, headBytes)
  bytes.writeUInt32BE(checksum(bytes), 2)
  return bytes
}

function fieldsOf(bytes: Buffer | null | undefined): Fields | undefined {
  if (!bytes || bytes.length < headBytes || bytes.length > mostRecordBytes) return undefined
  if (bytes[0] !== format || bytes[1] !== version) return undefined
  if (bytes.readUInt32BE(2) !== checksum(bytes)) return undefined
  try {
    const fields: unknown = JSON.parse(bytes.toString('utf8', headBytes))
    return fields !== null && typeof fields === 'object' ? (fields as Fields) : undefined
  } catch {
    return undefined
  }
}

function checksum(bytes: Buffer): number {
  return crc32(bytes.subarray(headBytes), crc32(bytes.subarray(0, 2)))
}

function split(ids: readonly string[]): (readonly string[])[] {
  const parts: string[][] = [[]]
  let partBytes = 0
  for (const id of ids) {
    const idBytes = Buffer.byteLength(JSON.stringify(id)) + 1
    if (partBytes > 0 && partBytes + idBytes > mostIdBytes) {
      parts.push([])
      partBytes = 0
    }
    parts.at(-1)?.push(id)
    partBytes += idBytes
  }
  return parts
}

const isXid = (value: unknown): value is Xid =>
  Number.isSafeInteger(value) && (value as number) >= 0

const isName = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= longestIdText

/** As PostgreSQL prints them; anything else may have been made to look fresher than it is. */
function isOrdered({ xmin, xmax, xip }: Snapshot): boolean {
  if (xmin > xmax) return false
  return xip.every((xid, index) => xid >= (xip[index - 1] ?? xmin) && xid < xmax)
}
