/** What lies in the record of a filter's build (`scripts/filter-build.lua`). */
import type { BuildProgress, ScanStart } from '../model/filter-ports.ts'
import type { Incarnation, Xid } from '../model/snapshot.ts'

/** As a header has it. */
export function encodeStart({ incarnation, xid }: ScanStart): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.write(incarnation, 0, 'hex')
  bytes.writeBigUInt64BE(BigInt(xid), 8)
  return bytes
}

export function decodeStart(bytes: Buffer): ScanStart {
  return {
    incarnation: bytes.toString('hex', 0, 8) as Incarnation,
    xid: Number(bytes.readBigUInt64BE(8)) as Xid,
  }
}

export function encodeProgress(progress: BuildProgress): string {
  return JSON.stringify(progress)
}

export function decodeProgress(text: Buffer): BuildProgress {
  const { cursor, scanned, expected } = JSON.parse(String(text)) as BuildProgress
  return { cursor, scanned, expected }
}
