import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeEach, expect, test, vi } from 'vitest'
import { Entries } from '../../../src/memory/entries.ts'
import type { Candidate, Slot } from '../../../src/model/l1-port.ts'
import { snapshot } from '../../support/arbitrary.ts'

const at = snapshot('10:10:')
const candidate = (value: unknown, over: Partial<Candidate> = {}): Candidate => ({
  value,
  isShared: true,
  snapshot: at,
  loadedAtMs: 1_000,
  freshUntilMs: 61_000,
  weightBytes: 0,
  ...over,
})

let entries: Entries
beforeEach(() => {
  entries = new Entries(1_000)
})

test('an entry has all of its candidate, whatever came before and after it', () => {
  const other = snapshot('20:20:')
  entries.add('a', candidate('A'), 300)
  const slot = entries.add('b', candidate('B', { isShared: false, snapshot: other }), 500)
  entries.add('c', candidate(undefined), 700)
  expect(entries.find('b')).toBe(slot)
  expect([entries.keyAt(slot), entries.valueAt(slot), entries.isShared(slot)]).toEqual([
    'b',
    'B',
    false,
  ])
  expect(entries.snapshotAt(slot)).toBe(other)
  expect([entries.loadedAtMs(slot), entries.freshUntilMs(slot)]).toEqual([1_000, 61_000])
  expect(entries.weightBytesAt(slot)).toBe(500)
  expect([entries.find('d'), entries.count]).toEqual([undefined, 3])
})

test('its promise is made once, and resolves to its value', async () => {
  const slot = entries.add(1, candidate('Ulm'), 1)
  const promise = entries.promiseAt(slot)
  expect(entries.promiseAt(slot)).toBe(promise)
  expect(await promise).toBe('Ulm')
})

test('a slot that was released is given out again, and nothing of its last entry is left', async () => {
  const slot = entries.add(1, candidate('old', { isShared: false, snapshot: snapshot('5:5:') }), 9)
  const promise = entries.promiseAt(slot)
  entries.release(slot)
  expect([entries.find(1), entries.count]).toEqual([undefined, 0])
  const next = entries.add(2, candidate('new', { loadedAtMs: 7, freshUntilMs: 8 }), 1)
  expect(next).toBe(slot)
  expect([entries.find(1), entries.find(2), entries.keyAt(next)]).toEqual([undefined, next, 2])
  expect([entries.valueAt(next), entries.isShared(next)]).toEqual(['new', true])
  expect(entries.snapshotAt(next)).toBe(at)
  expect([entries.loadedAtMs(next), entries.freshUntilMs(next)]).toEqual([7, 8])
  expect(entries.weightBytesAt(next)).toBe(1)
  // Who was given the old one keeps it.
  expect(await Promise.all([promise, entries.promiseAt(next)])).toEqual(['old', 'new'])
})

test('no slot is given out twice', () => {
  const add = (key: number): Slot => entries.add(key, candidate(key), 1)
  const slots = Array.from({ length: 200 }, (_, key) => add(key))
  for (const slot of slots.filter((_, key) => key % 3 === 0)) entries.release(slot)
  for (let key = 200; key < 400; key++) add(key)
  expect(new Set(entries.slots()).size).toBe(entries.count)
  for (const slot of entries.slots()) {
    expect([entries.find(entries.keyAt(slot)), entries.valueAt(slot)]).toEqual([
      slot,
      entries.keyAt(slot),
    ])
  }
})

test('the columns double, keep what is in them, and end at the most entries', async () => {
  const capacities = new Set([entries.capacity])
  const promises: Promise<unknown>[] = []
  for (let key = 0; key < 1_000; key++) {
    const over = { isShared: key % 2 === 0, loadedAtMs: key, freshUntilMs: 3 * key }
    promises.push(entries.promiseAt(entries.add(key, candidate(-key, over), 2 * key)))
    capacities.add(entries.capacity)
  }
  expect([...capacities]).toEqual([0, 64, 128, 256, 512, 1_000])
  for (let key = 0; key < 1_000; key++) {
    const slot = entries.find(key) as Slot
    expect(slot).toBeLessThan(entries.capacity)
    expect([entries.valueAt(slot), entries.isShared(slot)]).toEqual([-key, key % 2 === 0])
    expect(entries.snapshotAt(slot)).toBe(at)
    expect([entries.loadedAtMs(slot), entries.freshUntilMs(slot)]).toEqual([key, 3 * key])
    expect(entries.weightBytesAt(slot)).toBe(2 * key)
    expect(entries.promiseAt(slot)).toBe(promises[key])
  }
})

test('entries that come and go need no more room than those that are there at once', () => {
  for (let key = 0; key < 10_000; key++) {
    entries.add(key, candidate(key), 1)
    if (key >= 10) entries.release(entries.find(key - 10) as Slot)
  }
  expect([entries.count, entries.capacity]).toEqual([10, 64])
})

test('times are whole milliseconds, long lives and odd ones included', () => {
  const times = (loadedAtMs: number, freshUntilMs: number): number[] => {
    const slot = entries.add(1, candidate('v', { loadedAtMs, freshUntilMs }), 1)
    const found = [entries.loadedAtMs(slot), entries.freshUntilMs(slot)]
    entries.release(slot)
    return found
  }
  const aYear = 365 * 86_400_000
  const longestLife = 1.1 * (2 ** 31 - 1)
  expect(times(0.9, 10.9)).toEqual([0, 10])
  expect(times(aYear, aYear + longestLife)).toEqual([aYear, Math.floor(aYear + longestLife)])
  expect(times(-5_000, -1_000)).toEqual([-5_000, -1_000])
  // Of a clock that was set back: it was loaded when it expired, and never has lived.
  expect(times(2_000, 1_000)).toEqual([1_000, 1_000])
})

test('cleared entries are gone, and the next begin anew', async () => {
  const slot = entries.add(1, candidate('old'), 1)
  await entries.promiseAt(slot)
  entries.add(2, candidate('other'), 1)
  entries.release(slot)
  entries.clear()
  expect([entries.count, entries.find(2)]).toEqual([0, undefined])
  const slots = [3, 4, 5].map((key) => entries.add(key, candidate(key), 1))
  expect(new Set(slots).size).toBe(3)
  expect(await Promise.all(slots.map((one) => entries.promiseAt(one)))).toEqual([3, 4, 5])
})

test.each(['release', 'clear'] as const)('%s lets go of values', async (how) => {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  const left = [1, 2, 3].map((key) => {
    const value = { key }
    const slot = entries.add(key, candidate(value), 1)
    if (key > 1) void entries.promiseAt(slot)
    return new WeakRef(value)
  })
  if (how === 'clear') entries.clear()
  else for (const slot of [...entries.slots()]) entries.release(slot)
  // In turns of their own: a value that was looked at is kept until the end of the turn.
  await vi.waitUntil(() => {
    collectGarbage()
    return left.every((one) => one.deref() === undefined)
  })
  expect(entries.count).toBe(0)
})
