/**
 * What lies in a Redis, as a test reads it past the library, and as it would be if it had been lying
 * there for longer: nobody sets Redis' clock, so its times are moved back instead.
 */
import { decodeEnvelope, encodeEnvelope } from '../../src/model/envelope.ts'
import type { Incarnation, Xid } from '../../src/model/snapshot.ts'
import { barrierKey } from '../../src/testing/memory-keys.ts'
import { headerOf } from '../../src/testing/stored-header.ts'
import type { SeenBytes, SeenFence } from './l2-places.ts'

/** What lies at a key, which is named as the twin names it. */
export interface Lying extends SeenBytes {
  readonly key: string
}

export const isFence = (key: string): boolean => key.endsWith(':f')

// As fence.lua lays it out.
const ownerStart = 21
const untilStart = 33
const fenceBytes = 39
const tombstoneBytes = 23
const toldAtStart = 17

/** `nowMs`: Redis' clock. */
export function fenceIn({ bytes, expiresInMs }: Lying, nowMs: number): SeenFence {
  const owner = bytes.toString('latin1', ownerStart, untilStart)
  const isHeld = owner !== '\0'.repeat(untilStart - ownerStart)
  return {
    nonce: bytes.toString('latin1', 0, 20),
    owner: isHeld ? owner : undefined,
    leaseLeftMs: isHeld ? bytes.readUIntBE(untilStart, 6) - nowMs : undefined,
    isAwaited: bytes.toString('latin1', 20, ownerStart) === 'W',
    tombstones: tombstoneStarts(bytes).map((start) => ({
      incarnation: bytes.toString('hex', start + 1, start + 9) as Incarnation,
      xid: Number(bytes.readBigUInt64BE(start + 9)) as Xid,
      merged: bytes.toString('latin1', start, start + 1) === 'm',
      ageMs: nowMs - bytes.readUIntBE(start + toldAtStart, 6),
    })),
    expiresInMs,
  }
}

function tombstoneStarts(bytes: Buffer): readonly number[] {
  const count = (bytes.length - fenceBytes) / tombstoneBytes
  return Array.from({ length: count }, (_, index) => fenceBytes + index * tombstoneBytes)
}

/** As it were if it had been lying there for `ms` more. */
export function aged({ key, bytes, expiresInMs }: Lying, ms: number): Lying {
  const as = isFence(key) ? agedFence : key === barrierKey ? unchanged : agedValue
  return { key, bytes: as(bytes, ms), expiresInMs: expiresInMs - ms }
}

const unchanged = (bytes: Buffer): Buffer => bytes

function agedFence(young: Buffer, ms: number): Buffer {
  const bytes = Buffer.from(young)
  if (bytes.readUIntBE(untilStart, 6) > 0) moveBack(bytes, untilStart, ms)
  for (const start of tombstoneStarts(bytes)) moveBack(bytes, start + toldAtStart, ms)
  return bytes
}

function agedValue(young: Buffer, ms: number): Buffer {
  const envelope = decodeEnvelope(young)
  if (envelope) {
    const { createdAtMs, softExpiryMs } = envelope
    return encodeEnvelope({
      ...envelope,
      createdAtMs: createdAtMs - ms,
      softExpiryMs: softExpiryMs - ms,
    })
  }
  const bytes = Buffer.from(young)
  // Damaged below its head, which the scripts still go by; laid out as in src/model/envelope.ts.
  const header = headerOf(bytes)
  if (!header) return bytes
  const { xip, own } = header.snapshot
  moveBack(bytes, 24, ms)
  moveBack(bytes, 30, ms)
  let sum = 0
  for (let place = 0; place < 42 + 4 * (xip.length + (own === undefined ? 0 : 1)); place++) {
    if (place < 36 || place >= 42) sum += (place + 1) * (bytes[place] as number)
  }
  bytes.writeUInt16BE(sum % 65_521, 36)
  return bytes
}

function moveBack(bytes: Buffer, offset: number, ms: number): void {
  bytes.writeUIntBE(bytes.readUIntBE(offset, 6) - ms, offset, 6)
}
