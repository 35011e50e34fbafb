import { expect, test } from 'vitest'
import type { Evictable } from '../../../../src/memory/policies/policy.ts'
import { S3Fifo } from '../../../../src/memory/policies/s3fifo.ts'

const entry = (hash: number): Evictable => ({
  hash,
  frequency: 0,
  queue: 0,
  previous: undefined,
  next: undefined,
})

const evictAll = (policy: S3Fifo): number[] => {
  const hashes: number[] = []
  for (let victim = policy.evict(); victim; victim = policy.evict()) hashes.push(victim.hash)
  return hashes
}

test('newcomers that nobody asked for again go in the order in which they came', () => {
  const policy = new S3Fifo(10)
  for (const hash of [1, 2, 3]) policy.admit(entry(hash))
  expect(evictAll(policy)).toEqual([1, 2, 3])
})

test('one hit does not save a newcomer, two do', () => {
  const policy = new S3Fifo(10)
  const [once, twice, never] = [entry(1), entry(2), entry(3)]
  for (const one of [once, twice, never]) policy.admit(one)
  policy.hit(once)
  policy.hit(twice)
  policy.hit(twice)
  expect(evictAll(policy)).toEqual([1, 3, 2])
})

test('a scan of newcomers does not push out what is asked for', () => {
  const policy = new S3Fifo(10)
  const hot = [1, 2, 3].map(entry)
  for (const one of hot) {
    policy.admit(one)
    policy.hit(one)
    policy.hit(one)
  }
  const gone: number[] = []
  for (let hash = 100; hash < 200; hash++) {
    policy.admit(entry(hash))
    for (const one of hot) policy.hit(one)
    if (hash >= 107) gone.push(policy.evict()?.hash as number)
  }
  expect(gone.filter((hash) => hash <= 3)).toEqual([])
})

test('who comes back soon after it left goes straight to the main queue', () => {
  const policy = new S3Fifo(10)
  policy.admit(entry(7))
  policy.evict()
  policy.admit(entry(7))
  for (const hash of [20, 21]) policy.admit(entry(hash))
  expect(evictAll(policy)).toEqual([20, 21, 7])
})

test('who comes back after as many others as the cache holds is a newcomer again', () => {
  const policy = new S3Fifo(4)
  policy.admit(entry(7))
  policy.evict()
  for (const hash of [40, 41, 42, 43]) {
    policy.admit(entry(hash))
    policy.evict()
  }
  policy.admit(entry(7))
  for (const hash of [60, 61]) policy.admit(entry(hash))
  expect(evictAll(policy)[0]).toBe(7)
})

test('a cleared policy has forgotten the ghosts too', () => {
  const policy = new S3Fifo(10)
  policy.admit(entry(7))
  policy.evict()
  policy.clear()
  expect(policy.evict()).toBeUndefined()
  policy.admit(entry(7))
  policy.admit(entry(8))
  expect(evictAll(policy)).toEqual([7, 8])
})

test('a region that is bound by bytes alone may be given any count: the ghost has a bound of its own', () => {
  expect(() => new S3Fifo(Number.MAX_SAFE_INTEGER)).not.toThrow()
})
