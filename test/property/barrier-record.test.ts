import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type BarrierRecord,
  decodeBarrierRecord,
  decodeSnapshot,
  encodeBarrier,
  encodeBarrierRecord,
  encodeGeneration,
  ownerOf,
} from '../../src/model/barrier-record.ts'
import { mostXids } from '../../src/model/envelope.ts'
import { covers, type Snapshot, visible, type Xid } from '../../src/model/snapshot.ts'
import { anySnapshot, incarnations } from '../support/arbitrary.ts'

/** A snapshot of the primary: it has no own xid. */
const ofPrimary = anySnapshot.map(({ own: _, ...snapshot }): Snapshot => snapshot)

const records: fc.Arbitrary<BarrierRecord> = fc.record({
  isValid: fc.boolean(),
  identity: fc
    .uint8Array({ minLength: 10, maxLength: 10 })
    .map((bytes) => Buffer.from(bytes).toString('hex')),
  owner: fc.string().map(ownerOf),
  barrier: fc.option(ofPrimary, { nil: undefined }),
  generation: fc.option(ofPrimary, { nil: undefined }),
})

/** More open transactions than are listed. */
const crowded = fc
  .record({
    incarnation: incarnations,
    xmin: fc.oneof(fc.nat(1_000), fc.integer({ min: 2 ** 50, max: 2 ** 51 })),
    count: fc.integer({ min: mostXids + 1, max: mostXids * 2 }),
    step: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ incarnation, xmin, count, step }): Snapshot => {
    const xip = Array.from({ length: count }, (_, index) => (xmin + index * step) as Xid)
    const xmax = (xmin + count * step) as Xid
    return { incarnation, xmin: xmin as Xid, xmax, xip }
  })

test('a record comes back as it was', () => {
  fc.assert(
    fc.property(records, (record) => {
      expect(decodeBarrierRecord(encodeBarrierRecord(record))).toEqual(record)
    }),
  )
})

test('a record in which any bit is wrong, or that is cut off or longer, is none', () => {
  fc.assert(
    fc.property(records, fc.nat(), fc.nat(7), fc.nat(), (record, at, bit, length) => {
      const bytes = encodeBarrierRecord(record)
      const flipped = Buffer.from(bytes)
      const place = at % bytes.length
      flipped[place] = (flipped[place] as number) ^ (1 << bit)
      expect(decodeBarrierRecord(flipped)).toBeUndefined()
      expect(decodeBarrierRecord(bytes.subarray(0, length % bytes.length))).toBeUndefined()
      expect(decodeBarrierRecord(Buffer.concat([bytes, Buffer.from([at % 256])]))).toBeUndefined()
    }),
  )
})

test('other bytes are no record, and throw nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(decodeBarrierRecord(Buffer.from(bytes))).toBeUndefined()
      expect(decodeBarrierRecord(Buffer.from([0x42, 1, ...bytes]))).toBeUndefined()
    }),
  )
})

test('with too many open transactions a barrier sees less, and a generation more', () => {
  fc.assert(
    fc.property(crowded, fc.nat(8_000), (snapshot, ahead) => {
      const [barrier, generation] = [encodeBarrier, encodeGeneration].map(
        (encode) => decodeSnapshot(encode(snapshot)) as Snapshot,
      ) as [Snapshot, Snapshot]
      expect([barrier.xip, generation.xip]).toEqual([[], []])
      expect(covers(snapshot, barrier)).toBe(true)
      const write = {
        incarnation: snapshot.incarnation,
        xid: Math.max(3, snapshot.xmin - 4_000 + ahead) as Xid,
      }
      if (visible(write, barrier)) expect(visible(write, snapshot)).toBe(true)
      if (visible(write, snapshot)) expect(visible(write, generation)).toBe(true)
    }),
    { numRuns: 50 },
  )
})
