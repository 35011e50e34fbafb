import { beforeEach, expect, test } from 'vitest'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { entryOverheadBytes, L1Region } from '../../../src/memory/region.ts'
import type { L1Key } from '../../../src/model/id.ts'
import type { Candidate, Slot } from '../../../src/model/l1-port.ts'
import type { Snapshot, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'

const write = (xid: number, incarnation = incarnationA) => ({ incarnation, xid: xid as Xid })
const candidate = (at: Snapshot, value: unknown = 'v', weightBytes = 10): Candidate => ({
  value,
  isShared: true,
  snapshot: at,
  loadedAtMs: 0,
  freshUntilMs: 1,
  weightBytes,
})
const valueUnder = (key: L1Key): unknown => region.valueAt(region.find(key) as Slot)
const nothing = undefined

let region: L1Region
beforeEach(() => {
  region = new L1Region({ maxEntries: 3, maxBytes: 10_000 }, new S3Fifo(3))
})

test('without trust nothing enters', () => {
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(false)
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), snapshot('10:10:'))).toBe(false)
})

test('an entry keeps its value already resolved', async () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, candidate(snapshot('10:10:'), 'Ulm'))
  const slot = region.find(1) as Slot
  expect(region.valueAt(slot)).toBe('Ulm')
  expect(await region.promiseAt(slot)).toBe('Ulm')
  expect(region.promiseAt(slot)).toBe(region.promiseAt(slot))
})

test('a loaded value that misses what the floor sees does not enter', () => {
  region.settle(snapshot('10:10:'))
  expect(region.fillFromSource(1, candidate(snapshot('9:9:')))).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('9:12:9')))).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('10:10:', incarnationB)))).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(true)
})

test('a value out of L2 may be older than the floor, and right, beside a barrier that covers it', () => {
  region.settle(snapshot('10:12:11'))
  const old = candidate(snapshot('3:3:'))
  expect(region.fillFromL2(1, old, undefined)).toBe(false)
  expect(region.fillFromL2(1, old, snapshot('11:11:'))).toBe(true)
  // None of these sees all that the floor sees.
  expect(region.fillFromL2(2, old, snapshot('10:10:'))).toBe(false)
  expect(region.fillFromL2(2, old, snapshot('10:12:10'))).toBe(false)
  expect(region.fillFromL2(2, old, snapshot('10:12:10,11'))).toBe(false)
  expect(region.fillFromL2(2, old, snapshot('20:20:', incarnationB))).toBe(false)
  expect(region.fillFromL2(2, old, snapshot('10:12:11'))).toBe(true)
})

test('a value of another life of the database does not enter, whatever lies beside it', () => {
  region.settle(snapshot('10:10:'))
  const other = candidate(snapshot('10:10:', incarnationB))
  expect(region.fillFromL2(1, other, snapshot('10:10:'))).toBe(false)
  expect(region.fillFromL2(1, other, snapshot('10:10:', incarnationB))).toBe(false)
})

test('a barrier says nothing of a write that its own snapshot does not see', () => {
  region.settle(snapshot('10:10:'))
  region.told(1, write(12))
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), snapshot('11:11:'))).toBe(false)
})

test('a value that misses a told write never enters, wherever it comes from', () => {
  region.settle(snapshot('10:10:'))
  region.told(1, write(12))
  expect(region.fillFromSource(1, candidate(snapshot('11:11:')))).toBe(false)
  expect(region.fillFromL2(1, candidate(snapshot('12:14:12')), snapshot('11:11:'))).toBe(false)
  expect(region.fillFromSource(1, candidate(snapshot('11:14:11')))).toBe(true)
})

test('a told write drops what does not see it, and nothing else', () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, candidate(snapshot('10:10:')))
  region.fillFromSource(2, candidate(snapshot('15:15:')))
  region.told(1, write(12))
  region.told(2, write(12))
  expect(region.find(1)).toBeUndefined()
  expect(region.find(2)).toBeDefined()
})

test('what is older than a snapshot is dropped, and nothing else', () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, candidate(snapshot('12:12:')))
  region.fillFromSource(2, candidate(snapshot('12:12:')))
  region.dropOlder(1, snapshot('11:11:'))
  region.dropOlder(3, snapshot('13:13:'))
  expect([region.count, region.drops]).toEqual([2, 0])
  region.dropOlder(1, snapshot('12:12:'))
  expect([region.find(1), region.count]).toEqual([nothing, 1])
})

test('when the floor moves while L2 is asked, what lay there before no longer enters', () => {
  region.settle(snapshot('10:10:'))
  const read = { value: candidate(snapshot('10:10:')), barrier: snapshot('10:10:') }
  region.told(1, write(12))
  // The xid is forgotten with this: the barrier alone keeps the value out.
  region.settle(snapshot('13:13:'))
  expect(region.fillFromL2(1, read.value, read.barrier)).toBe(false)
  expect(region.fillFromL2(1, candidate(snapshot('13:13:')), snapshot('13:13:'))).toBe(true)
})

test('a write that the floor sees is forgotten, and one that it does not see is kept', () => {
  region.settle(snapshot('10:10:'))
  region.told(1, write(8))
  region.told(2, write(12))
  const seeing = { old: candidate(snapshot('3:3:')), barrier: snapshot('14:14:') }
  expect(region.fillFromL2(1, seeing.old, seeing.barrier), 'never kept').toBe(true)
  expect(region.fillFromL2(2, seeing.old, seeing.barrier)).toBe(false)
  region.settle(snapshot('12:14:12'))
  expect(region.fillFromL2(2, seeing.old, seeing.barrier), 'still in progress').toBe(false)
  region.settle(snapshot('14:14:'))
  expect(region.fillFromL2(2, seeing.old, seeing.barrier)).toBe(true)
})

test('a value read from L2 while there was no trust does not enter when there is some again', () => {
  region.settle(snapshot('10:10:'))
  region.reset()
  const barrier = snapshot('10:10:')
  // What was written and applied in between is seen by the new floor, and nobody was told of it.
  region.settle(snapshot('13:13:'))
  expect(region.fillFromL2(1, candidate(snapshot('10:10:')), barrier)).toBe(false)
})

test('of two loads the one that sees less does not replace the other, in whatever order they end', () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, candidate(snapshot('12:12:'), 'new'))
  expect(region.fillFromSource(1, candidate(snapshot('11:11:'), 'old'))).toBe(false)
  expect(valueUnder(1)).toBe('new')
  expect(region.fillFromSource(1, candidate(snapshot('13:13:'), 'newer'))).toBe(true)
  expect([valueUnder(1), region.count]).toEqual(['newer', 1])
})

test('the writes of another life of the database say nothing about this one', () => {
  region.settle(snapshot('10:10:'))
  region.told(1, write(500))
  region.reset()
  region.settle(snapshot('5:5:', incarnationB))
  expect(region.fillFromSource(1, candidate(snapshot('5:5:', incarnationB)))).toBe(true)
})

test('a write of a life that is over keeps nothing out, however late it is told', () => {
  region.settle(snapshot('10:10:'))
  region.reset()
  region.settle(snapshot('5:5:', incarnationB))
  region.told(1, write(12))
  expect(region.fillFromSource(1, candidate(snapshot('5:5:', incarnationB)))).toBe(true)
  // Should it begin again after all, its writes count.
  region.settle(snapshot('10:10:'))
  region.told(1, write(12))
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(false)
})

test('a write of the life to come keeps values of this one out', () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, candidate(snapshot('10:10:')))
  region.told(1, write(3, incarnationB))
  expect(region.find(1)).toBeUndefined()
  expect(region.fillFromSource(1, candidate(snapshot('10:10:')))).toBe(false)
})

test('a reset forgets every value, and no write', () => {
  region.settle(snapshot('10:10:'))
  region.told(1, write(12))
  region.fillFromSource(2, candidate(snapshot('10:10:')))
  region.reset()
  expect([region.find(2), region.count, region.weightBytes]).toEqual([nothing, 0, 0])
  region.settle(snapshot('10:10:'))
  expect(region.fillFromSource(1, candidate(snapshot('11:11:')))).toBe(false)
  expect(region.fillFromL2(1, candidate(snapshot('11:11:')), snapshot('11:11:'))).toBe(false)
})

test('the count and the weight are bounded, and who leaves is counted', () => {
  region.settle(snapshot('10:10:'))
  for (const key of [1, 2, 3, 4]) region.fillFromSource(key, candidate(snapshot('10:10:')))
  expect([region.count, region.evictions, region.find(1)]).toEqual([3, 1, nothing])
  const heavy = 10_000 - 2 * (entryOverheadBytes + 10)
  region.fillFromSource(5, candidate(snapshot('10:10:'), 'v', heavy))
  expect(region.weightBytes).toBeLessThanOrEqual(10_000)
  expect(region.find(5)).toBeDefined()
})

test('a value that is heavier than the region is refused, and nobody is evicted for it', () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, candidate(snapshot('10:10:')))
  expect(region.fillFromSource(2, candidate(snapshot('10:10:'), 'v', 10_000))).toBe(false)
  expect([region.count, region.evictions]).toEqual([1, 0])
})

test('an absent id is an entry like any other, and has a weight', () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, { ...candidate(snapshot('10:10:')), value: undefined, weightBytes: 0 })
  expect(region.candidateAt(region.find(1) as Slot)).toMatchObject({ value: undefined })
  expect(region.weightBytes).toBe(entryOverheadBytes)
})

test('what happens to values is counted', () => {
  const at = snapshot('10:10:')
  expect(region.fillFromSource(1, candidate(at))).toBe(false)
  region.settle(at)
  for (const id of [1, 2, 3, 4]) region.fillFromSource(id, candidate(at))
  region.fillFromL2(5, candidate(at), undefined)
  region.fillFromL2(5, candidate(at), at)
  const [held] = [1, 2, 3, 4, 5].filter((id) => region.find(id))
  region.told(held as number, write(10))
  region.told(held as number, write(10))
  const { fills, refusedFills, drops, evictions, count } = region
  expect([fills, refusedFills, drops, evictions, count]).toEqual([5, 2, 1, 2, 2])
})

test('what comes to the place of an evicted value has nothing of it', async () => {
  const at = snapshot('10:10:')
  region = new L1Region({ maxEntries: 1, maxBytes: 10_000 }, new S3Fifo(1))
  region.settle(at)
  const old = { ...candidate(at, 'old', 40), isShared: false, loadedAtMs: 5, freshUntilMs: 6 }
  region.fillFromSource(1, old)
  const before = region.find(1) as Slot
  const promise = region.promiseAt(before)
  region.hit(before)
  region.fillFromSource(2, candidate(at, 'new'))
  const after = region.find(2) as Slot
  expect([after, region.find(1), region.evictions]).toEqual([before, nothing, 1])
  const weightBytes = entryOverheadBytes + 10
  expect(region.candidateAt(after)).toEqual({ ...candidate(at, 'new'), weightBytes })
  expect(region.weightBytes).toBe(weightBytes)
  expect(await Promise.all([promise, region.promiseAt(after)])).toEqual(['old', 'new'])
})

test('a value that replaces another is answered at once, and by a promise of its own', async () => {
  region.settle(snapshot('10:10:'))
  region.fillFromSource(1, candidate(snapshot('10:10:'), 'old'))
  await region.promiseAt(region.find(1) as Slot)
  region.fillFromSource(1, candidate(snapshot('11:11:'), 'new'))
  expect(await region.promiseAt(region.find(1) as Slot)).toBe('new')
})

test('a region grows to its bound and no further, and lets the first newcomers go', () => {
  const at = snapshot('10:10:')
  region = new L1Region({ maxEntries: 1_000, maxBytes: 1e9 }, new S3Fifo(1_000))
  for (let life = 0; life < 2; life++) {
    region.settle(at)
    for (let key = 0; key < 1_500; key++) {
      region.fillFromSource(key, candidate(at, key))
      expect(region.count).toBe(Math.min(key + 1, 1_000))
    }
    for (let key = 0; key < 500; key++) expect(region.find(key)).toBeUndefined()
    for (let key = 500; key < 1_500; key++) expect(valueUnder(key)).toBe(key)
    // With its columns as long as they were.
    region.reset()
  }
})

test('a dropped value leaves the order, and who comes to its place is the newest', () => {
  const at = snapshot('10:10:')
  region.settle(at)
  for (const key of [1, 2, 3]) region.fillFromSource(key, candidate(at))
  region.told(2, write(12))
  const lying = [4, 5, 6, 7].map((key) => {
    region.fillFromSource(key, candidate(at))
    return [1, 2, 3, 4, 5, 6, 7].filter((one) => region.find(one) !== nothing)
  })
  expect(lying).toEqual([
    [1, 3, 4],
    [3, 4, 5],
    [4, 5, 6],
    [5, 6, 7],
  ])
})

test('a value that comes back soon after it was evicted outlives the newcomers', () => {
  const at = snapshot('10:10:')
  region = new L1Region({ maxEntries: 100, maxBytes: 1e6 }, new S3Fifo(100))
  region.settle(at)
  const fill = (key: L1Key): boolean => region.fillFromSource(key, candidate(at))
  for (const key of ['a', ...Array(100).keys(), 'a']) fill(key)
  for (let key = 1_000; key < 1_500; key++) fill(key)
  expect(region.find('a')).toBeDefined()
})
