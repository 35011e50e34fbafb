import { expect, test } from 'vitest'
import {
  decodeBarrierRecord,
  encodeBarrierRecord,
  ownerOf,
} from '../../../src/model/barrier-record.ts'
import { incarnationA, snapshot } from '../../support/arbitrary.ts'

const record = {
  isValid: true,
  identity: '0123456789abcdef0123',
  owner: ownerOf('10.0.0.1:6379'),
  barrier: snapshot('100:110:100,104'),
  generation: snapshot('90:90:'),
}

test('the layout is what the scripts read', () => {
  const bytes = encodeBarrierRecord(record)
  const { xmin, xmax } = record.barrier
  expect(bytes.subarray(0, 3).toString('latin1')).toBe('B\u0001v')
  expect(bytes.subarray(3, 23).toString('latin1')).toBe(record.identity)
  expect(bytes.subarray(23, 31)).toEqual(record.owner)
  expect(bytes.readUInt16BE(31)).toBe(30)
  expect(bytes.subarray(33, 41).toString('hex')).toBe(incarnationA)
  expect([bytes.readUInt32BE(45), bytes.readUInt32BE(49)]).toEqual([xmin, xmax - xmin])
  expect(bytes.readUInt16BE(53)).toBe(2)
  expect([bytes.readUInt32BE(55), bytes.readUInt32BE(59)]).toEqual([0, 4])
  expect(bytes.subarray(63, 71).toString('hex')).toBe(incarnationA)
  expect(bytes).toHaveLength(63 + 22 + 4)
})

test('a record with neither barrier nor generation says so', () => {
  const empty = { ...record, isValid: false, barrier: undefined, generation: undefined }
  const bytes = encodeBarrierRecord(empty)
  expect(bytes).toHaveLength(37)
  expect(decodeBarrierRecord(bytes)).toEqual(empty)
})

test('a record of a version to come is none', () => {
  const bytes = encodeBarrierRecord(record)
  bytes[1] = 2
  expect(decodeBarrierRecord(bytes)).toBeUndefined()
})

test('nodes of other names have other owners', () => {
  expect(ownerOf('10.0.0.1:6379')).not.toEqual(ownerOf('10.0.0.1:6380'))
  expect(ownerOf('10.0.0.1:6379')).toEqual(ownerOf('10.0.0.1:6379'))
})
