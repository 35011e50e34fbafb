/** A limit that finds a source's capacity by latencies alone, on sources that are sums. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { GradientLimit } from '../../../src/resilience/gradient-limit.ts'

interface Source {
  /** Calls at once that it does without getting slower. */
  capacity: number
  baseMs: number
}

/** So many calls, of a caller that always has as many under way as it may, or as it wants. */
function drive(limit: GradientLimit, source: Source, calls: number, wanted = Infinity): number[] {
  const seen: number[] = []
  const running: { endsAtMs: number; tookMs: number; among: number }[] = []
  let nowMs = 0
  for (let call = 0; call < calls; call++) {
    while (running.length < Math.min(limit.present, wanted)) {
      const among = running.length + 1
      const tookMs = source.baseMs * Math.max(1, among / source.capacity)
      running.push({ endsAtMs: nowMs + tookMs, tookMs, among })
    }
    running.sort((one, other) => one.endsAtMs - other.endsAtMs)
    const ended = running.shift()
    if (!ended) throw new Error('nothing runs')
    nowMs = ended.endsAtMs
    limit.ended(ended.tookMs, ended.among, true)
    seen.push(limit.present)
  }
  return seen
}

const mean = (numbers: readonly number[]): number =>
  numbers.reduce((sum, one) => sum + one, 0) / numbers.length

test.each([4, 10, 30, 100])(
  'it finds a capacity of %d, and stays there however long it runs',
  (capacity) => {
    const limit = new GradientLimit({ least: 1, most: 1_000 })
    drive(limit, { capacity, baseMs: 10 }, 20_000)
    for (let times = 0; times < 5; times++) {
      const found = mean(drive(limit, { capacity, baseMs: 10 }, 20_000))
      expect(found).toBeGreaterThanOrEqual(capacity)
      expect(found).toBeLessThanOrEqual(2.5 * capacity)
    }
  },
)

test('it backs off when the source can do less, and comes back when it can do more', () => {
  const limit = new GradientLimit({ least: 2, most: 200 })
  const source = { capacity: 40, baseMs: 10 }
  drive(limit, source, 20_000)
  const before = limit.present
  source.capacity = 5
  drive(limit, source, 1_000)
  expect(limit.present).toBeLessThan(before / 2)
  drive(limit, source, 10_000)
  expect(mean(drive(limit, source, 5_000))).toBeLessThan(15)
  source.capacity = 40
  drive(limit, source, 20_000)
  expect(mean(drive(limit, source, 5_000))).toBeGreaterThanOrEqual(40)
})

test('a source that has become slower at any number is not throttled for good', () => {
  const limit = new GradientLimit({ least: 2, most: 200 })
  const source = { capacity: 20, baseMs: 10 }
  drive(limit, source, 20_000)
  source.baseMs = 40
  drive(limit, source, 500)
  expect(limit.present).toBeLessThan(20)
  drive(limit, source, 30_000)
  expect(mean(drive(limit, source, 5_000))).toBeGreaterThanOrEqual(20)
})

test('it does not grow while nobody asks for more', () => {
  const limit = new GradientLimit({ least: 8, most: 200 })
  drive(limit, { capacity: 1_000, baseMs: 10 }, 20_000, 3)
  expect(limit.present).toBe(8)
})

test('what fails at once says nothing of the source; what hangs makes it back off', () => {
  const limit = new GradientLimit({ least: 2, most: 64 })
  drive(limit, { capacity: 16, baseMs: 10 }, 20_000)
  const before = mean(drive(limit, { capacity: 16, baseMs: 10 }, 2_000))
  for (let call = 0; call < 1_000; call++) limit.ended(0.1, 16, false)
  expect(mean(drive(limit, { capacity: 16, baseMs: 10 }, 2_000))).toBeGreaterThan(before / 2)
  for (let call = 0; call < 1_000; call++) limit.ended(500, 16, false)
  expect(limit.present).toBeLessThanOrEqual(before / 2)
})

test('it is never below its least, nor above its most, and always a whole number', () => {
  const latencies = fc.array(
    fc.tuple(fc.double({ min: 0, max: 10_000, noNaN: true }), fc.nat(300), fc.boolean()),
    { maxLength: 300, size: 'max' },
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(100), latencies, (least, more, calls) => {
      const limit = new GradientLimit({ least, most: least + more })
      for (const [tookMs, running, isAnswered] of calls) {
        limit.ended(tookMs, running, isAnswered)
        expect(limit.present).toBeGreaterThanOrEqual(least)
        expect(limit.present).toBeLessThanOrEqual(least + more)
        expect(Number.isInteger(limit.present)).toBe(true)
      }
    }),
    { numRuns: 50 },
  )
})

test('calls that fail at once before any was answered say nothing of what calls take', () => {
  const source = { capacity: 40, baseMs: 20 }
  const limit = new GradientLimit({ least: 10, most: 100 })
  for (let call = 0; call < 100; call++) limit.ended(0, 10, false)
  drive(limit, source, 1_000)
  const untroubled = new GradientLimit({ least: 10, most: 100 })
  drive(untroubled, source, 1_000)
  expect(limit.present).toBe(untroubled.present)
})
