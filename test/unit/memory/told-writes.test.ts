import { expect, test } from 'vitest'
import { ToldWrites } from '../../../src/memory/told-writes.ts'
import type { Incarnation, Snapshot, WriteId, Xid } from '../../../src/model/snapshot.ts'

const incarnation = '0000000000000001' as Incarnation
const write = (xid: number, of = incarnation): WriteId => ({ incarnation: of, xid: xid as Xid })
const upTo = (xid: number): Snapshot => {
  const xmax = (xid + 1) as Xid
  return { incarnation, xmin: xmax, xmax, xip: [] }
}

test('what doesn’t see the last write that was told of is outdated, of that id alone', () => {
  const told = new ToldWrites()
  expect(told.isMissedBy(1, upTo(10))).toBe(false)
  told.add(1, write(11))
  expect([told.isMissedBy(1, upTo(10)), told.isMissedBy(1, upTo(11))]).toEqual([true, false])
  expect(told.isMissedBy('1', upTo(10))).toBe(false)
  told.add(1, write(9))
  expect(told.isMissedBy(1, upTo(10))).toBe(true)
})

test('what a later snapshot doesn’t see either has not committed, and outdates nothing until it is told of again', () => {
  const told = new ToldWrites()
  expect(told.doubt(1, upTo(10))).toBeUndefined()
  told.add(1, write(11))
  expect(told.doubt(1, upTo(11))).toBeUndefined()
  told.doubt(1, upTo(10))?.(upTo(11))
  expect(told.isMissedBy(1, upTo(10))).toBe(true)
  told.doubt(1, upTo(10))?.(upTo(10))
  expect([told.isMissedBy(1, upTo(10)), told.doubt(1, upTo(10))]).toEqual([false, undefined])
  told.add(1, write(9))
  expect(told.isMissedBy(1, upTo(10))).toBe(false)
  told.add(1, write(11))
  expect(told.isMissedBy(1, upTo(10))).toBe(true)
})

test('told of again while that snapshot was taken it may have committed', () => {
  const told = new ToldWrites()
  told.add(1, write(11))
  const settle = told.doubt(1, upTo(10))
  told.add(1, write(11))
  settle?.(upTo(10))
  expect(told.isMissedBy(1, upTo(10))).toBe(true)
})

test('a write of another life of the database says nothing, and the next one is told of anew', () => {
  const told = new ToldWrites()
  told.add(1, write(50, '0000000000000002' as Incarnation))
  expect(told.isMissedBy(1, upTo(10))).toBe(false)
  told.add(1, write(11))
  expect(told.isMissedBy(1, upTo(10))).toBe(true)
})

test('it is bounded, and the oldest go first', () => {
  const told = new ToldWrites()
  for (let id = 0; id < 100_000; id++) told.add(id, write(11))
  expect(told.count).toBeLessThanOrEqual(32_768)
  expect([told.isMissedBy(0, upTo(10)), told.isMissedBy(99_999, upTo(10))]).toEqual([false, true])
  // What was told of again is young again.
  const again = new ToldWrites()
  for (let id = 0; id < 100_000; id++) {
    again.add(id, write(11))
    again.add(-1, write(100 + id))
  }
  expect(again.isMissedBy(-1, upTo(10))).toBe(true)
})
