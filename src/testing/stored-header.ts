/** The head of an envelope, as the scripts read it (`src/redis/scripts/snapshot.lua`). */
import type { Incarnation, Snapshot, Xid } from '../model/snapshot.ts'

const headerBytes = 42
const checkOffset = 36
const mostXidsOfAHeader = 1_000

/** What the scripts read of a value: its header, without a look at the checksum or the payload. */
export interface Header {
  readonly snapshot: Snapshot
  readonly softExpiryMs: number
}

/** snapshotOf of snapshot.lua; the layout is that of `src/model/envelope.ts`. */
export function headerOf(bytes: Buffer): Header | undefined {
  if (bytes.length < headerBytes || bytes[0] !== 0x4c) return undefined
  const count = bytes.readUInt16BE(22)
  const hasOwn = (bytes[1] as number) % 4 >= 2
  const xids = count + (hasOwn ? 1 : 0)
  const length = headerBytes + 4 * xids
  if (xids > mostXidsOfAHeader + 1 || bytes.length < length) return undefined
  if (headerCheckOf(bytes, length) !== bytes.readUInt16BE(checkOffset)) return undefined
  const xmin = bytes.readUInt32BE(10) * 2 ** 32 + bytes.readUInt32BE(14)
  const xidAt = (index: number): Xid => (xmin + bytes.readUInt32BE(headerBytes + 4 * index)) as Xid
  return {
    snapshot: {
      incarnation: bytes.toString('hex', 2, 10) as Incarnation,
      xmin: xmin as Xid,
      xmax: (xmin + bytes.readUInt32BE(18)) as Xid,
      xip: Array.from({ length: count }, (_, index) => xidAt(index)),
      own: hasOwn ? xidAt(count) : undefined,
    },
    softExpiryMs: bytes.readUIntBE(30, 6),
  }
}

/** isIntact of snapshot.lua. */
function headerCheckOf(bytes: Buffer, length: number): number {
  let sum = 0
  for (let index = 0; index < length; index++) {
    if (index < checkOffset || index >= headerBytes) sum += (index + 1) * (bytes[index] as number)
  }
  return sum % 65_521
}
