import { expect, test } from 'vitest'
import { S3Fifo } from '../../../../src/memory/policies/s3fifo.ts'
import type { Slot } from '../../../../src/model/l1-port.ts'

/** A policy whose slots are the hashes of what lies in them. */
function newPolicy(capacity: number) {
  const policy = new S3Fifo(capacity)
  policy.grow(256)
  const evict = (): number | undefined => policy.evict((slot) => slot)
  return {
    policy,
    admit: (hash: number) => policy.admit(hash as Slot, hash),
    hit: (hash: number) => policy.hit(hash as Slot),
    evict,
    evictAll: () => {
      const hashes: number[] = []
      for (let victim = evict(); victim !== undefined; victim = evict()) hashes.push(victim)
      return hashes
    },
  }
}

test('newcomers that nobody asked for again go in the order in which they came', () => {
  const { admit, evictAll } = newPolicy(10)
  for (const hash of [1, 2, 3]) admit(hash)
  expect(evictAll()).toEqual([1, 2, 3])
})

test('one hit does not save a newcomer, two do', () => {
  const { admit, hit, evictAll } = newPolicy(10)
  for (const hash of [1, 2, 3]) admit(hash)
  for (const hash of [1, 2, 2]) hit(hash)
  expect(evictAll()).toEqual([1, 3, 2])
})

test('a scan of newcomers does not push out what is asked for', () => {
  const { admit, hit, evict } = newPolicy(10)
  const hot = [1, 2, 3]
  for (const hash of hot) {
    admit(hash)
    hit(hash)
    hit(hash)
  }
  const gone: (number | undefined)[] = []
  for (let hash = 100; hash < 200; hash++) {
    admit(hash)
    for (const one of hot) hit(one)
    if (hash >= 107) gone.push(evict())
  }
  expect(gone.filter((hash) => hash === undefined || hash <= 3)).toEqual([])
})

test('who comes back soon after it left goes straight to the main queue', () => {
  const { admit, evict, evictAll } = newPolicy(10)
  admit(7)
  evict()
  admit(7)
  for (const hash of [20, 21]) admit(hash)
  expect(evictAll()).toEqual([20, 21, 7])
})

test('who comes back after as many others as the cache holds is a newcomer again', () => {
  const { admit, evict, evictAll } = newPolicy(4)
  admit(7)
  evict()
  for (const hash of [40, 41, 42, 43]) {
    admit(hash)
    evict()
  }
  admit(7)
  for (const hash of [60, 61]) admit(hash)
  expect(evictAll()[0]).toBe(7)
})

test('a cleared policy has forgotten the ghosts too', () => {
  const { policy, admit, evict, evictAll } = newPolicy(10)
  admit(7)
  evict()
  policy.clear()
  expect(evict()).toBeUndefined()
  admit(7)
  admit(8)
  expect(evictAll()).toEqual([7, 8])
})

test('the hits of the entry that had the slot before count for nothing', () => {
  const { policy, admit, hit, evictAll } = newPolicy(10)
  admit(1)
  for (let times = 0; times < 3; times++) hit(1)
  policy.remove(1 as Slot)
  admit(1)
  admit(2)
  expect(evictAll()).toEqual([1, 2])
})

test('an order goes on when slots are added', () => {
  const policy = new S3Fifo(1_000)
  policy.grow(2)
  for (const slot of [0, 1]) policy.admit(slot as Slot, 100 + slot)
  for (let times = 0; times < 2; times++) policy.hit(1 as Slot)
  policy.grow(4)
  for (const slot of [2, 3]) policy.admit(slot as Slot, 100 + slot)
  const gone = [1, 2, 3, 4].map(() => policy.evict((slot) => 100 + slot))
  expect(gone).toEqual([0, 2, 3, 1])
})

test('a region that is bound by bytes alone may be given any count: the ghost has a bound of its own', () => {
  const policy = new S3Fifo(Number.MAX_SAFE_INTEGER)
  policy.grow(1)
  policy.admit(0 as Slot, 7)
  expect(policy.evict(() => 7)).toBe(0)
  policy.admit(0 as Slot, 7)
})
