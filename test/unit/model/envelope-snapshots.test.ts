import { expect, test } from 'vitest'
import { decodeEnvelope, encodeEnvelope } from '../../../src/model/envelope.ts'
import {
  type Incarnation,
  parseSnapshot,
  type Snapshot,
  type Xid,
} from '../../../src/model/snapshot.ts'

const incarnation = '0123456789abcdef' as Incarnation
const other = 'fedcba9876543210' as Incarnation

function decoded(snapshot: Snapshot): Snapshot | undefined {
  const payload = Buffer.from('{}')
  const bytes = encodeEnvelope({ snapshot, createdAtMs: 1, softExpiryMs: 2, payload })
  return decodeEnvelope(bytes)?.snapshot
}

test('values that were loaded together share one snapshot', () => {
  const snapshot = parseSnapshot('100:110:103,105', incarnation)
  expect(decoded(snapshot)).toBe(decoded({ ...snapshot }))
})

test('snapshots that differ anywhere are never taken for each other', () => {
  const one = parseSnapshot('100:110:103,105', incarnation)
  const others: readonly Snapshot[] = [
    { ...one, incarnation: other },
    { ...one, own: 104 as Xid },
    { ...one, own: 106 as Xid },
    { ...one, xip: [103 as Xid] },
    { ...one, xip: [103 as Xid, 106 as Xid] },
    { ...one, xmin: 99 as Xid },
    { ...one, xmax: (one.xmax + 64) as Xid },
  ]
  for (const snapshot of [...others, one, ...others.toReversed()]) {
    expect(decoded(one)).toEqual({ own: undefined, ...one })
    expect(decoded(snapshot)).toEqual({ own: undefined, ...snapshot })
  }
})
