import { expect, test } from 'vitest'
import { FilterCopy, mostCopyBytes } from '../../../src/coordinator/filter-copy.ts'
import { BloomFilter } from '../../../src/memory/bloom-filter.ts'
import type { FilterHeader } from '../../../src/model/bloom.ts'
import type { L2Filters } from '../../../src/model/filter-ports.ts'
import { memorySeedOf } from '../../../src/testing/memory-bitmaps.ts'
import { VirtualClock } from '../../support/clock.ts'

const bits = 3 * 512 * 1024 * 8
const header = (generation: number, size = bits): FilterHeader =>
  ({ bits: size, places: 7, generation, isReady: true }) as FilterHeader
const signal = new AbortController().signal

function open(read: L2Filters['read']) {
  const clock = new VirtualClock()
  let outdated = 0
  const copy = new FilterCopy({
    entity: 'city',
    filters: { read, seedOf: memorySeedOf } as Partial<L2Filters> as L2Filters,
    open: (seed, shape, bytes) => new BloomFilter(seed, shape, bytes),
    clock,
    outdated: () => outdated++,
  })
  return { copy, clock, outdated: () => outdated }
}

/** What lies at level 2: a filter with one id. */
function level2(id: string): L2Filters['read'] {
  const filter = new BloomFilter(memorySeedOf('city'), { bits, places: 7 })
  filter.add(id)
  return async (_, __, offset, bytes) => Buffer.from(filter.bytes.slice(offset, offset + bytes))
}

test('it is fetched in pieces with pauses, and has what this process was told of meanwhile', async () => {
  let pieces = 0
  const read = level2('there')
  const { copy, clock } = open((...args) => {
    pieces++
    return read(...args)
  })
  expect([copy.generation, copy.has('there')]).toEqual([undefined, false])
  const followed = copy.follow(header(5), signal)
  await clock.settle()
  expect(pieces).toBe(1)
  copy.add('told meanwhile')
  await clock.advance(1_000)
  await followed
  expect([pieces, copy.generation]).toEqual([3, 5])
  copy.add('told since')
  for (const id of ['there', 'told meanwhile', 'told since']) expect(copy.has(id)).toBe(true)
  expect(copy.has('another')).toBe(false)
})

test('a bitmap that is another one by now leaves the copy as it was', async () => {
  let left = 4
  const read = level2('there')
  const { copy, clock } = open(async (...args) => (left-- > 0 ? read(...args) : undefined))
  const first = copy.follow(header(5), signal)
  await clock.advance(1_000)
  await first
  const second = copy.follow(header(6), signal)
  await clock.advance(1_000)
  await second
  expect([copy.generation, copy.has('there')]).toEqual([5, true])
})

test('an answer by another generation says so; one that is too large is not copied', async () => {
  const { copy, clock, outdated } = open(level2('there'))
  const followed = copy.follow(header(5), signal)
  await clock.advance(1_000)
  await followed
  copy.noticed(5)
  expect(outdated()).toBe(0)
  copy.noticed(6)
  expect(outdated()).toBe(1)
  await copy.follow(header(7, (mostCopyBytes + 8) * 8), signal)
  expect(copy.generation).toBeUndefined()
})

test('one that cannot be copied is told of once, however many are refused by it', async () => {
  const { copy, outdated } = open(async () => undefined)
  const large = header(7, (mostCopyBytes + 8) * 8)
  for (let times = 0; times < 100; times++) {
    copy.noticed(7)
    await copy.follow(large, signal)
  }
  expect(outdated()).toBe(1)
  copy.noticed(8)
  await copy.follow(header(8), signal)
  copy.noticed(8)
  expect([copy.generation, outdated()]).toEqual([undefined, 2])
})
