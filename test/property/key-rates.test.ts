/** Filtered SpaceSaving against exact counts: no id is undercounted, none overcounted beyond its bound. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { grainMs, halfLifeMs, KeyRates } from '../../src/telemetry/key-rates.ts'

/** Ids of one cell are among them, as good as surely. */
const key = fc.oneof(fc.nat(12), fc.nat(20_000), fc.constantFrom('a', 'b', 'c'))
const read = fc.record({
  key,
  times: fc.constantFrom(1, 16),
  /** In grains, since the one before. */
  later: fc.oneof(
    { weight: 20, arbitrary: fc.nat(20) },
    { weight: 1, arbitrary: fc.constantFrom(1_000, 26_000, 200_000) },
  ),
})

test('what an id was read lies between its bounds, and who is not kept was read less than its share', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 5, 32),
      fc.array(read, { maxLength: 300, size: 'max' }),
      (places, reads) => {
        const rates = new KeyRates(places)
        const exact = new Map<number | string, number>()
        let atMs = 0
        for (const { key, times, later } of reads) {
          atMs += later * grainMs
          const share = 2 ** (-(later * grainMs) / halfLifeMs)
          for (const [one, count] of exact) exact.set(one, count * share)
          exact.set(key, (exact.get(key) ?? 0) + times)
          rates.add(key, key, times, false, atMs)
        }
        const total = [...exact.values()].reduce((sum, one) => sum + one, 0)
        const slack = 1e-6 * (total + 1)
        const wrong = [...exact].filter(([one, count]) => {
          const { least, most } = rates.boundsOf(one, atMs)
          if (least > count + slack || most < count - slack) return true
          if (most - least > total / places + slack) return true
          return rates.idOf(one) === undefined && count > total / places + slack
        })
        expect(wrong).toEqual([])
        expect(rates.top(1_000, 0, atMs).length).toBeLessThanOrEqual(places)
      },
    ),
    { numRuns: 200 },
  )
})
