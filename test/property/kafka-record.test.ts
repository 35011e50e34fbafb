/** Records of the log: what was written is read, and nothing else ever is. */
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeRecord, encodeBarrier, encodeWrite, partitionOf } from '../../src/kafka/record.ts'
import {
  type Incarnation,
  parseSnapshot,
  type Snapshot,
  type Xid,
} from '../../src/model/snapshot.ts'

const incarnations = fc.stringMatching(/^[0-9a-f]{16}$/) as fc.Arbitrary<Incarnation>
const xids = fc.nat({ max: Number.MAX_SAFE_INTEGER }) as fc.Arbitrary<Xid>
const ids = fc.array(fc.string({ unit: 'grapheme', maxLength: 40 }), { maxLength: 20 })
const writes = fc.record({
  write: fc.record({ incarnation: incarnations, xid: xids }),
  entity: fc.string({ maxLength: 64 }),
  ids,
})
const snapshots: fc.Arbitrary<Snapshot> = fc
  .tuple(
    incarnations,
    fc.nat({ max: 2 ** 50 }),
    fc.uniqueArray(fc.nat({ max: 500 })),
    fc.nat(1_000),
  )
  .map(([incarnation, xmin, steps, rest]) => {
    const xip = steps.sort((a, b) => a - b).map((step) => xmin + step)
    return parseSnapshot(`${xmin}:${xmin + 501 + rest}:${xip.join(',')}`, incarnation)
  })
const written = fc.oneof(
  writes.map((write) => encodeWrite('shop', write)[0]?.bytes as Buffer),
  snapshots.map((snapshot) => encodeBarrier('shop', snapshot, 3)),
)

test('a write is read as it was written', () => {
  fc.assert(
    fc.property(writes, (write) => {
      const records = encodeWrite('shop', write)
      expect(records).toHaveLength(1)
      expect(records[0]?.firstId).toBe(write.ids[0] ?? '')
      expect(decodeRecord(records[0]?.bytes, 'shop')).toEqual({ kind: 'write', ...write })
    }),
  )
})

test('a barrier is read as it was written', () => {
  fc.assert(
    fc.property(snapshots, fc.integer({ min: 1, max: 100 }), (snapshot, partitions) => {
      const bytes = encodeBarrier('shop', snapshot, partitions)
      expect(decodeRecord(bytes, 'shop')).toEqual({ kind: 'barrier', snapshot, partitions })
    }),
  )
})

test('with any bit flipped, cut short or made longer it is unreadable', () => {
  fc.assert(
    fc.property(written, fc.nat(), fc.nat(7), fc.nat(), (bytes, at, bit, length) => {
      const flipped = Buffer.from(bytes)
      flipped[at % bytes.length] = (flipped[at % bytes.length] as number) ^ (1 << bit)
      const cut = bytes.subarray(0, length % bytes.length)
      for (const wrong of [flipped, cut, Buffer.concat([bytes, Buffer.from([length % 256])])]) {
        expect(decodeRecord(wrong, 'shop')).toEqual({ kind: 'unreadable' })
      }
    }),
    { numRuns: 500 },
  )
})

test('any bytes at all are unreadable, and nothing throws', () => {
  fc.assert(
    fc.property(fc.option(fc.uint8Array({ maxLength: 300 }), { nil: null }), (bytes) => {
      expect(decodeRecord(bytes && Buffer.from(bytes), 'shop')).toEqual({ kind: 'unreadable' })
    }),
  )
})

const inFrame = (fields: unknown): Buffer => {
  // A frame as ours is, with anything in it: a barrier whose fields are replaced, checksum and all.
  const [record] = encodeWrite('shop', {
    write: { incarnation: '0'.repeat(16) as Incarnation, xid: 1 as Xid },
    entity: 'x',
    ids: [],
  })
  const head = Buffer.from(record?.bytes.subarray(0, 6) ?? [])
  const json = Buffer.from(JSON.stringify(fields))
  head.writeUInt32BE(crc32(json, crc32(head.subarray(0, 2))), 2)
  return Buffer.concat([head, json])
}

const barrier = {
  kind: 'barrier',
  namespace: 'shop',
  incarnation: '00112233445566ff',
  snapshot: '5:9:5,7',
  partitions: 3,
}
const write = {
  kind: 'write',
  namespace: 'shop',
  incarnation: '00112233445566ff',
  xid: 7,
  entity: 'city',
  ids: ['1'],
}

test('the frame of this test is ours', () => {
  expect(decodeRecord(inFrame(barrier), 'shop')?.kind).toBe('barrier')
  expect(decodeRecord(inFrame(write), 'shop')?.kind).toBe('write')
})

test.each([
  null,
  7,
  [],
  {},
  { ...barrier, kind: 'truth' },
  { ...barrier, namespace: undefined },
  { ...barrier, incarnation: 'x' },
  { ...barrier, incarnation: undefined },
  { ...barrier, snapshot: '9:5:' },
  { ...barrier, snapshot: '5:9:4' },
  { ...barrier, snapshot: '5:9:9' },
  { ...barrier, snapshot: '5:9:7,5' },
  { ...barrier, snapshot: '5:99999999999999999999:' },
  { ...barrier, snapshot: undefined },
  { ...barrier, partitions: 0 },
  { ...barrier, partitions: '3' },
  { ...write, xid: -1 },
  { ...write, xid: 1.5 },
  { ...write, xid: 2 ** 53 },
  { ...write, xid: '7' },
  { ...write, entity: 7 },
  { ...write, entity: 'x'.repeat(600) },
  { ...write, ids: '1' },
  { ...write, ids: [1] },
  { ...write, ids: ['x'.repeat(600)] },
])('hostile fields in a sound frame are unreadable: %j', (fields) => {
  expect(decodeRecord(inFrame(fields), 'shop')).toEqual({ kind: 'unreadable' })
})

test('what is bigger than any record of ours is not even parsed', () => {
  const big = inFrame({ ...write, more: 'x'.repeat(1024 * 1024) })
  expect(decodeRecord(big, 'shop')).toEqual({ kind: 'unreadable' })
})

test('a write of many ids becomes records that a broker takes, in order, none twice', () => {
  const many = Array.from({ length: 100_000 }, (_, index) => `é"${index}`)
  const records = encodeWrite('shop', {
    write: { incarnation: '00112233445566ff' as Incarnation, xid: 1 as Xid },
    entity: 'city',
    ids: many,
  })
  expect(records.length).toBeGreaterThan(3)
  for (const { bytes } of records) expect(bytes.length).toBeLessThan(258 * 1024)
  const read = records.map(({ bytes }) => decodeRecord(bytes, 'shop'))
  expect(read.flatMap((record) => (record?.kind === 'write' ? record.ids : []))).toEqual(many)
})

test('a record of another namespace is none of ours', () => {
  fc.assert(
    fc.property(written, (bytes) => {
      expect(decodeRecord(bytes, 'shop2')).toBe(undefined)
    }),
  )
})

test('the partition depends on entity and id alone, and all of them get their share', () => {
  const counts = [0, 0, 0, 0, 0]
  for (let id = 0; id < 5_000; id++) {
    const partition = partitionOf('city', String(id), 5)
    counts[partition] = (counts[partition] ?? 0) + 1
  }
  expect(counts).toHaveLength(5)
  for (const count of counts) expect(count).toBeGreaterThan(800)
  // As brokers have it already: it may not change with a version.
  expect(partitionOf('city', '42', 1_000_000)).toBe(crc32('city\u000042') % 1_000_000)
})
