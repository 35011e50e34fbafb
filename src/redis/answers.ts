/** Redis' answers, in the words of the port. */
import { decodeEnvelope, type Envelope } from '../model/envelope.ts'
import type { Grant, Lookup, Nonce, Stored, Tombstone } from '../model/l2-port.ts'
import type { Incarnation, Xid } from '../model/snapshot.ts'
import { type Beside, type BesideReader, isOutlived } from './beside.ts'

/** Not a byte lies there. */
export const nothingThere: Lookup = { kind: 'miss', why: 'absent' }

export function lookupOf(
  bytes: Buffer | null | undefined,
  beside: Beside,
  nowMs: number,
  graceMs: number,
): Lookup {
  if (!bytes) return nothingThere
  const envelope = decodeEnvelope(bytes)
  if (!envelope) return { kind: 'miss', why: 'corrupt' }
  if (isOutlived(envelope.snapshot, beside)) return { kind: 'miss', why: 'outlived' }
  const stored = storedOf(envelope, beside, nowMs)
  if (stored.freshForMs > 0) return { kind: 'fresh', stored }
  return stored.freshForMs + graceMs > 0
    ? { kind: 'stale', stored }
    : { kind: 'miss', why: 'absent' }
}

export function storedOf(envelope: Envelope, { barrier }: Beside, nowMs: number): Stored {
  return {
    snapshot: envelope.snapshot,
    payload: envelope.payload,
    form: envelope.form,
    freshForMs: envelope.softExpiryMs - nowMs,
    ageMs: Math.max(0, nowMs - envelope.createdAtMs),
    barrier,
  }
}

export function grantOf(
  id: string,
  answer: readonly Buffer[],
  besides: BesideReader,
  nowMs: number,
): Grant {
  const [kind, second, tombstones] = answer
  switch (String(kind)) {
    case 'value': {
      const envelope = decodeEnvelope(second as Buffer)
      // Corrupt below its header: as good as nothing, and too rare to be worth a second call.
      if (!envelope) return { kind: 'unavailable', cause: new Error('corrupt envelope') }
      return { kind: 'value', stored: storedOf(envelope, besides.read(answer[2]), nowMs) }
    }
    case 'lease':
      return {
        kind: 'lease',
        id,
        nonce: String(second) as Nonce,
        tombstones: tombstonesIn(tombstones as Buffer),
      }
    case 'wait':
      return {
        kind: 'wait',
        pollAfterMs: Number(String(second)),
        tombstones: tombstonesIn(tombstones as Buffer),
      }
    default:
      throw new Error(`acquire.lua answered ${String(kind)}`)
  }
}

const tombstoneBytes = 23
const merged = 'm'.charCodeAt(0)

/** As `scripts/fence.lua` lays them out. */
function tombstonesIn(bytes: Buffer): readonly Tombstone[] {
  return Array.from({ length: bytes.length / tombstoneBytes }, (_, index) => {
    const start = index * tombstoneBytes
    const incarnation = bytes.toString('hex', start + 1, start + 9) as Incarnation
    const xid = bytes.readUInt32BE(start + 9) * 2 ** 32 + bytes.readUInt32BE(start + 13)
    return { incarnation, xid: xid as Xid, merged: bytes[start] === merged }
  })
}
