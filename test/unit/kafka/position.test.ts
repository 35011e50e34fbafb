import { expect, test } from 'vitest'
import { Positions, type ReadBatch } from '../../../src/kafka/position.ts'

const batch = (
  offsets: readonly (number | string)[],
  more: Partial<ReadBatch> & { epoch?: number } = {},
): ReadBatch => ({
  partition: 0,
  fetchedOffset: String(offsets[0]),
  messages: offsets.map((offset) => ({
    offset: String(offset),
    value: Buffer.from(String(offset)),
    ...(more.epoch === undefined ? {} : { batchContext: { partitionLeaderEpoch: more.epoch } }),
  })),
  ...more,
})

function reader(high: string) {
  const positions = new Positions([{ partition: 0, high }])
  const heard: string[] = []
  return {
    heard,
    read: (one: ReadBatch) => positions.advance(one, (value) => heard.push(String(value))),
  }
}

test('records that follow one another are heard, batch after batch', () => {
  const { heard, read } = reader('5')
  expect([read(batch([5, 6])), read(batch([7])), read(batch([8, 9]))]).toEqual([true, true, true])
  expect(heard).toEqual(['5', '6', '7', '8', '9'])
})

test('offsets beyond what a double holds are exact', () => {
  const { heard, read } = reader('9007199254740993')
  expect(read(batch(['9007199254740993', '9007199254740994']))).toBe(true)
  expect(read(batch(['9007199254740994']))).toBe(false)
  expect(heard).toHaveLength(2)
})

test('a hole, a step back, another start or an unknown partition is a gap, and nothing after it is heard', () => {
  for (const wrong of [
    batch([6]),
    batch([4]),
    batch([5, 7]),
    batch([5, 5]),
    batch([5], { fetchedOffset: '4' }),
    batch([5], { partition: 1 }),
  ]) {
    const { heard, read } = reader('5')
    expect(read(wrong)).toBe(false)
    expect(heard.filter((offset) => offset !== '5')).toEqual([])
  }
})

test('another leader is a gap, though the offsets go on', () => {
  const { heard, read } = reader('0')
  expect(read(batch([0, 1], { epoch: 3 }))).toBe(true)
  expect(read(batch([2], { epoch: 3 }))).toBe(true)
  expect(read(batch([3], { epoch: 4 }))).toBe(false)
  expect(heard).toEqual(['0', '1', '2'])
})
