import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Evictable } from '../../src/memory/policies/policy.ts'
import { S3Fifo } from '../../src/memory/policies/s3fifo.ts'

const entry = (hash: number): Evictable => ({
  hash,
  frequency: 0,
  queue: 0,
  previous: undefined,
  next: undefined,
})

interface Act {
  readonly act: 'admit' | 'hit' | 'remove' | 'evict' | 'clear'
  readonly hash: number
  /** Which of the entries in it is meant. */
  readonly which: number
}

const acts: fc.Arbitrary<Act[]> = fc.array(
  fc.record({
    act: fc.oneof(
      { weight: 60, arbitrary: fc.constant('admit' as const) },
      { weight: 60, arbitrary: fc.constant('hit' as const) },
      { weight: 20, arbitrary: fc.constant('remove' as const) },
      { weight: 40, arbitrary: fc.constant('evict' as const) },
      { weight: 1, arbitrary: fc.constant('clear' as const) },
    ),
    hash: fc.oneof(fc.nat(20), fc.constantFrom(0, 16, 32, 2 ** 31, 2 ** 32 - 1)),
    which: fc.nat(),
  }),
  { maxLength: 200, size: 'max' },
)
const capacity = fc.constantFrom(1, 2, 3, 10, 1_000)

test('the order never loses an entry and never gives one out twice', () => {
  fc.assert(
    fc.property(capacity, acts, (size, sequence) => {
      const policy = new S3Fifo(size)
      const inside: Evictable[] = []
      const take = (one: Evictable): void => {
        const place = inside.indexOf(one)
        expect(place).toBeGreaterThanOrEqual(0)
        inside.splice(place, 1)
      }
      for (const { act, hash, which } of sequence) {
        const chosen = inside[which % Math.max(1, inside.length)]
        if (act === 'admit') {
          const one = entry(hash)
          policy.admit(one)
          inside.push(one)
        } else if (act === 'evict') {
          const victim = policy.evict()
          expect(victim === undefined).toBe(inside.length === 0)
          if (victim) take(victim)
        } else if (act === 'clear') {
          policy.clear()
          inside.length = 0
        } else if (chosen && act === 'hit') policy.hit(chosen)
        else if (chosen) {
          policy.remove(chosen)
          take(chosen)
        }
      }
      while (inside.length > 0) take(policy.evict() as Evictable)
      expect(policy.evict()).toBeUndefined()
    }),
    { numRuns: 200 },
  )
})

test('what left the order holds on to none of its neighbours', () => {
  fc.assert(
    fc.property(capacity, acts, (size, sequence) => {
      const policy = new S3Fifo(size)
      const all: Evictable[] = []
      for (const { act, hash, which } of sequence) {
        if (act === 'admit') {
          const one = entry(hash)
          policy.admit(one)
          all.push(one)
        } else if (act === 'hit' && all.length > 0) policy.hit(all[which % all.length] as Evictable)
        else if (act === 'evict') {
          const victim = policy.evict()
          expect([victim?.previous, victim?.next]).toEqual([undefined, undefined])
        }
      }
    }),
  )
})
