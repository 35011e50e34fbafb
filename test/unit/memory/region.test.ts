import { beforeEach, expect, test } from 'vitest'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { entryOverheadBytes, L1Region } from '../../../src/memory/region.ts'
import type { Candidate } from '../../../src/model/ports.ts'
import type { Snapshot, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'

const write = (xid: number, incarnation = incarnationA) => ({ incarnation, xid: xid as Xid })
const candidate = (at: Snapshot, value: unknown = 'v', weightBytes = 10): Candidate => ({
  value,
  isShared: true,
  snapshot: at,
  loadedAtMs: 0,
  freshUntilMs: 1,
  staleUntilMs: 2,
  weightBytes,
})
const none: ReadonlySet<Xid> = new Set()
const nothing = undefined

let region: L1Region
beforeEach(() => {
  region = new L1Region({ maxEntries: 3, maxBytes: 10_000 }, new S3Fifo(3))
})

test('without trust nothing enters', () => {
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(false)
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), region.mark)).toBe(false)
})

test('an entry keeps its value already resolved', async () => {
  region.settle(snapshot('10:10:'), none)
  region.fillFromSource(1, candidate(snapshot('10:10:'), 'Ulm'))
  expect(region.find(1)?.value).toBe('Ulm')
  expect(await region.find(1)?.promise).toBe('Ulm')
})

test('a loaded value that misses what the floor sees does not enter', () => {
  region.settle(snapshot('10:10:'), none)
  expect(region.fillFromSource(1, candidate(snapshot('9:9:')))).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('9:12:9')))).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('10:10:', incarnationB)))).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(true)
})

test('a value out of L2 may be older than the floor, and right', () => {
  region.settle(snapshot('10:10:'), none)
  expect(region.fillFromL2(1, candidate(snapshot('3:3:')), region.mark)).toBe(true)
})

test('a value that misses a told write never enters, wherever it comes from', () => {
  region.settle(snapshot('10:10:'), none)
  region.told(1, write(12), false)
  expect(region.fillFromSource(1, candidate(snapshot('11:11:')))).toBe(false)
  expect(region.fillFromL2(1, candidate(snapshot('12:14:12')), region.mark)).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('11:14:11')))).toBe(true)
})

test('a told write drops what does not see it, and nothing else', () => {
  region.settle(snapshot('10:10:'), none)
  region.fillFromSource(1, candidate(snapshot('10:10:')))
  region.fillFromSource(2, candidate(snapshot('15:15:')))
  region.told(1, write(12), false)
  region.told(2, write(12), false)
  expect(region.find(1)).toBeUndefined()
  expect(region.find(2)).toBeDefined()
})

test('when the floor sees a told write, a value of L2 that was read before no longer enters', () => {
  region.settle(snapshot('10:10:'), none)
  const { mark } = region
  region.told(1, write(12), false)
  region.settle(snapshot('13:13:'), none)
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), mark)).toBe(false)
  expect(region.fillFromL2(1, candidate(snapshot('13:13:')), region.mark)).toBe(true)
})

test('a write that L2 was not told of is remembered though the floor sees it', () => {
  region.settle(snapshot('10:10:'), none)
  region.told(1, write(8), true)
  region.settle(snapshot('13:13:'), new Set([8 as Xid]))
  expect(region.fillFromL2(1, candidate(snapshot('8:8:')), region.mark)).toBe(false)
  region.settle(snapshot('14:14:'), none)
  expect(region.fillFromL2(1, candidate(snapshot('14:14:')), region.mark)).toBe(true)
})

test('while nobody knows what L2 was not told of nothing enters from there', () => {
  region.settle(snapshot('10:10:'), undefined)
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), region.mark)).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(true)
})

test('a value read from L2 while that was not known does not enter when it is known again', () => {
  region.settle(snapshot('10:10:'), undefined)
  const { mark } = region
  region.settle(snapshot('10:10:'), none)
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), mark)).toBe(false)
})

test('a value read from L2 while there was no trust does not enter when there is some again', () => {
  region.settle(snapshot('10:10:'), none)
  region.reset()
  const { mark } = region
  // What was written and applied in between is seen by the new floor, and nobody was told of it.
  region.settle(snapshot('13:13:'), none)
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), mark)).toBe(false)
})

test('of two loads the one that sees less does not replace the other, in whatever order they end', () => {
  region.settle(snapshot('10:10:'), none)
  region.fillFromSource(1, candidate(snapshot('12:12:'), 'new'))
  expect(region.fillFromSource(1, candidate(snapshot('11:11:'), 'old'))).toBe(false)
  expect(region.find(1)?.value).toBe('new')
  expect(region.fillFromSource(1, candidate(snapshot('13:13:'), 'newer'))).toBe(true)
  expect([region.find(1)?.value, region.count]).toEqual(['newer', 1])
})

test('the writes of another life of the database say nothing about this one', () => {
  region.settle(snapshot('10:10:'), none)
  region.told(1, write(500), false)
  region.reset()
  region.settle(snapshot('5:5:', incarnationB), none)
  expect(region.fillFromSource(1, candidate(snapshot('5:5:', incarnationB)))).toBe(true)
})

test('a write of the life to come keeps values of this one out', () => {
  region.settle(snapshot('10:10:'), none)
  region.fillFromSource(1, candidate(snapshot('10:10:')))
  region.told(1, write(3, incarnationB), false)
  expect(region.find(1)).toBeUndefined()
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(false)
})

test('a reset forgets every value, and no write', () => {
  region.settle(snapshot('10:10:'), none)
  region.told(1, write(12), false)
  region.fillFromSource(2, candidate(snapshot('10:10:')))
  const { mark } = region
  region.reset()
  expect([region.find(2), region.count, region.weightBytes]).toEqual([nothing, 0, 0])
  region.settle(snapshot('10:10:'), none)
  expect(region.fillFromSource(1, candidate(snapshot('11:11:')))).toBe(false)
  expect(region.fillFromL2(2, candidate(snapshot('10:10:')), mark)).toBe(false)
})

test('the count and the weight are bounded, and who leaves is counted', () => {
  region.settle(snapshot('10:10:'), none)
  for (const key of [1, 2, 3, 4]) region.fillFromSource(key, candidate(snapshot('10:10:')))
  expect([region.count, region.evictions, region.find(1)]).toEqual([3, 1, nothing])
  const heavy = 10_000 - 2 * (entryOverheadBytes + 10)
  region.fillFromSource(5, candidate(snapshot('10:10:'), 'v', heavy))
  expect(region.weightBytes).toBeLessThanOrEqual(10_000)
  expect(region.find(5)).toBeDefined()
})

test('a value that is heavier than the region is refused, and nobody is evicted for it', () => {
  region.settle(snapshot('10:10:'), none)
  region.fillFromSource(1, candidate(snapshot('10:10:')))
  expect(region.fillFromSource(2, candidate(snapshot('10:10:'), 'v', 10_000))).toBe(false)
  expect([region.count, region.evictions]).toEqual([1, 0])
})

test('an absent id is an entry like any other, and has a weight', () => {
  region.settle(snapshot('10:10:'), none)
  region.fillFromSource(1, { ...candidate(snapshot('10:10:')), value: undefined, weightBytes: 0 })
  expect(region.find(1)).toMatchObject({ value: undefined })
  expect(region.weightBytes).toBe(entryOverheadBytes)
})

test('what happens to values is counted', () => {
  const at = snapshot('10:10:')
  expect(region.fillFromSource(1, candidate(at))).toBe(false)
  region.settle(at, none)
  for (const id of [1, 2, 3, 4]) region.fillFromSource(id, candidate(at))
  region.fillFromL2(5, candidate(at), region.mark - 1)
  region.fillFromL2(5, candidate(at), region.mark)
  const [held] = [1, 2, 3, 4, 5].filter((id) => region.find(id))
  region.told(held as number, write(10), false)
  region.told(held as number, write(10), false)
  const { fills, refusedFills, drops, evictions, count } = region
  expect([fills, refusedFills, drops, evictions, count]).toEqual([5, 2, 1, 2, 2])
})
