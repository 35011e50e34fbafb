/**
 * Big payloads on their way to L2 and back: four bytes with the length, then raw DEFLATE. At level 1,
 * because the next ones save little more and take up to four times as long (docs/decisions/0018).
 *
 * What comes back is checked before memory is given to it: bytes that claim to be longer than a value
 * may be, or turn out to be of another length than they claim, are an error.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib'

const lengthBytes = 4
const level = 1
/** Of its bytes a payload has to lose this share, or it stays as it is. */
const leastSaved = 0.1
/**
 * Of larger payloads a piece out of the middle is tried first: what is compressed or encrypted already
 * would cost tens of ms a megabyte, for nothing.
 */
const triedAboveBytes = 64 * 1024
const pieceBytes = 4 * 1024

/** `undefined`: it would not get smaller by a tenth. */
export function compress(payload: Buffer): Buffer | undefined {
  if (payload.length <= triedAboveBytes) return deflated(payload)
  const middle = payload.length >> 1
  return deflated(payload.subarray(middle, middle + pieceBytes)) && deflated(payload)
}

function deflated(payload: Buffer): Buffer | undefined {
  const most = Math.floor(payload.length * (1 - leastSaved)) - lengthBytes
  if (most <= 0 || payload.length > 0xffff_ffff) return undefined
  const small = deflateRawSync(payload, { level, chunkSize: chunkBytes(most) })
  if (small.length > most) return undefined
  const bytes = Buffer.allocUnsafe(lengthBytes + small.length)
  bytes.writeUInt32BE(payload.length, 0)
  small.copy(bytes, lengthBytes)
  return bytes
}

/** Throws for bytes that `compress` didn't write, or that hold more than `mostBytes`. */
export function decompress(bytes: Buffer, mostBytes: number): Buffer {
  const length = bytes.readUInt32BE(0)
  if (length > mostBytes) throw new Error(`${length} bytes are more than ${mostBytes}`)
  const payload = inflateRawSync(bytes.subarray(lengthBytes), {
    maxOutputLength: Math.max(1, length),
    chunkSize: chunkBytes(length),
  })
  if (payload.length !== length) throw new Error(`${payload.length} bytes instead of ${length}`)
  return payload
}

/** All in one piece, with one byte to spare: a piece that is full is followed by another, empty one. */
function chunkBytes(length: number): number {
  return Math.max(64, length + 1)
}
