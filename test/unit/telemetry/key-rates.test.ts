import { describe, expect, test } from 'vitest'
import { randomBelow, seededRandom } from '../../../src/demo/random.ts'
import { zipf } from '../../../src/demo/zipf.ts'
import { grainMs, halfLifeMs, KeyRates } from '../../../src/telemetry/key-rates.ts'

const keys = 10_000

/** Reads in even time, each counted; returns the time after them. */
function read(
  rates: KeyRates,
  draw: () => number,
  { perSecond, seconds }: { perSecond: number; seconds: number },
  times = 1,
): number {
  const all = Math.round((perSecond * seconds) / times)
  const atMs = (n: number): number => 1_000 + (n * times * 1_000) / perSecond
  for (let n = 0; n < all; n++) {
    const key = draw()
    rates.add(key, key, times, true, atMs(n))
  }
  return atMs(all)
}

describe('who is read most', () => {
  test.each([1, 16])('is found under Zipf, each read counted or one in %i', (times) => {
    const rates = new KeyRates()
    const random = seededRandom(7)
    const draw = zipf(keys, 1)
    const perSecond = 20_000
    const nowMs = read(rates, () => draw(random), { perSecond, seconds: 4 }, times)
    const top = rates.top(32, 1, nowMs)
    expect(top.length).toBe(32)
    const ranks = new Set(top.map(({ key }) => key))
    for (let rank = 0; rank < 8; rank++) expect(ranks).toContain(rank)
    // Of the largest, the rate too: 1 / (harmonic number of 10,000 = 9.79) of all.
    const expected = (perSecond / 9.79) * (1 - 2 ** -4)
    expect(top[0]?.readsPerSecond).toBeGreaterThan(expected * 0.85)
    expect(top[0]?.readsPerSecond).toBeLessThan(expected * 1.15)
  })

  test.each([1, 16])('is nobody under uniform load, each read counted or one in %i', (times) => {
    const rates = new KeyRates()
    const random = seededRandom(8)
    // 20 reads a second of each: a tenth of the threshold.
    const draw = (): number => randomBelow(keys, random)
    const nowMs = read(rates, draw, { perSecond: 200_000, seconds: 3 }, times)
    expect(rates.top(32, 200, nowMs)).toEqual([])
  })

  test('is found at once in the midst of uniform load', () => {
    const rates = new KeyRates()
    const random = seededRandom(9)
    const draw = (): number => randomBelow(keys, random)
    read(rates, draw, { perSecond: 100_000, seconds: 2 })
    const beganAtMs = 3_000
    let atMs = beganAtMs
    let known = 0
    // 20,000 a second of it, one in 16 counted, between 100,000 of others.
    while (known < 200) {
      atMs += 0.8
      for (let n = 0; n < 5; n++) rates.add(draw(), 0, 16, true, atMs)
      known = rates.add('hot', 'hot', 16, true, atMs)
    }
    expect(atMs - beganAtMs).toBeLessThan(50)
  })
})

test('reads lose half their weight in a half-life, over any time', () => {
  const rates = new KeyRates()
  for (let n = 0; n < 100; n++) rates.add('a', 'a', 1, false, 1_000)
  const [fresh] = rates.top(1, 0, 1_000)
  const [older] = rates.top(1, 0, 1_000 + 3 * halfLifeMs)
  expect(older?.readsPerSecond).toBeCloseTo((fresh?.readsPerSecond ?? 0) / 8, 9)
  // Weights are written anew after so long; nothing is left then, and nothing breaks.
  const hours = 1_000 + 10_000_000
  expect(rates.add('b', 'b', 1, false, hours)).toBeCloseTo(Math.LN2, 9)
  expect(rates.boundsOf('a', hours).least).toBe(0)
  expect(rates.boundsOf('b', hours)).toEqual({ least: 1, most: expect.closeTo(1, 9) })
})

test('a steady rate is told as it is', () => {
  const rates = new KeyRates()
  let nowMs = 0
  for (; nowMs < 10_000; nowMs += 10) rates.add('a', 'a', 5, nowMs % 20 === 0, nowMs)
  const [one] = rates.top(1, 0, nowMs)
  expect(one?.readsPerSecond).toBeGreaterThan(490)
  expect(one?.readsPerSecond).toBeLessThan(510)
  expect(one?.l1Share).toBeCloseTo(0.5, 1)
})

test('what is told of late counts as of the latest time', () => {
  const rates = new KeyRates()
  rates.add('a', 'a', 1, false, 5_000)
  rates.add('a', 'a', 1, false, 1_000)
  rates.add('a', 'a', 1, false, 5_000 + grainMs - 1)
  expect(rates.boundsOf('a', 5_000)).toEqual({ least: 3, most: 3 })
})

test('keeps the ids of those that it keeps, as they were given', () => {
  const rates = new KeyRates(1)
  const id = { tenant: 1 }
  rates.add('a', id, 1, false, 0)
  expect(rates.idOf('a')).toBe(id)
  rates.add('b', 'b', 2, false, 0)
  expect(rates.idOf('a')).toBeUndefined()
  expect(rates.top(8, 0, 0).map(({ key }) => key)).toEqual(['b'])
})
