import { describe, expect, test } from 'vitest'
import { Popularity } from '../../../src/demo/popularity.ts'
import { randomBelow, seededRandom } from '../../../src/demo/random.ts'
import { shopTraffic, traceTraffic } from '../../../src/demo/traffic.ts'
import { zipf } from '../../../src/demo/zipf.ts'

test('the same seed gives the same numbers, another one others', () => {
  const take = (seed: number): number[] => Array.from({ length: 5 }, seededRandom(seed))
  expect(take(1)).toEqual(take(1))
  expect(take(1)).not.toEqual(take(2))
  for (const number of Array.from({ length: 1_000 }, seededRandom(3))) {
    expect(number).toBeGreaterThanOrEqual(0)
    expect(number).toBeLessThan(1)
  }
})

test('random whole numbers stay below, and reach each', () => {
  const random = seededRandom(1)
  const drawn = new Set(Array.from({ length: 200 }, () => randomBelow(5, random)))
  expect([...drawn].sort()).toEqual([0, 1, 2, 3, 4])
})

describe('Zipf', () => {
  test('each rank is drawn in proportion to its share', () => {
    const draws = 100_000
    const rank = zipf(100, 0.9)
    const counts = new Array<number>(100).fill(0)
    const random = seededRandom(7)
    for (let draw = 0; draw < draws; draw++) {
      const drawn = rank(random)
      counts[drawn] = (counts[drawn] as number) + 1
    }
    const weights = counts.map((_, index) => (index + 1) ** -0.9)
    const sum = weights.reduce((one, other) => one + other)
    for (const at of [0, 1, 9, 49, 99]) {
      const expected = (draws * (weights[at] as number)) / sum
      expect(Math.abs((counts[at] as number) - expected)).toBeLessThan(5 * Math.sqrt(expected))
    }
  })

  test('the ends of the random numbers are the ends of the ranks', () => {
    const rank = zipf(10, 0.9)
    expect(rank(() => 0)).toBe(0)
    expect(rank(() => 1 - 2 ** -32)).toBe(9)
    expect(zipf(1, 0.9)(() => 0.5)).toBe(0)
  })
})

describe('popularity', () => {
  const ranks = Array.from({ length: 1_000 }, (_, rank) => rank)
  const order = (popularity: Popularity, atMs: number): number[] =>
    ranks.map((rank) => popularity.idOf(rank, atMs))

  test('each row has one rank, before and after a drift', () => {
    const popularity = new Popularity(1_000, 1)
    for (const atMs of [0, 60_000]) {
      expect(order(popularity, atMs).sort((a, b) => a - b)).toEqual(ranks.map((rank) => rank + 1))
    }
  })

  test('processes with the same seed agree, however often each has asked', () => {
    const one = new Popularity(1_000, 5)
    const other = new Popularity(1_000, 5)
    for (let atMs = 0; atMs < 10_000; atMs += 7) one.idOf(0, atMs)
    expect(order(one, 10_000)).toEqual(order(other, 10_000))
    expect(order(new Popularity(1_000, 6), 0)).not.toEqual(order(new Popularity(1_000, 5), 0))
  })

  test('the hot set drifts, and the rest hardly', () => {
    const popularity = new Popularity(1_000, 1)
    const before = order(popularity, 0)
    const after = order(popularity, 10_000)
    const changed = (from: number, to: number): number =>
      ranks.slice(from, to).filter((rank) => before[rank] !== after[rank]).length / (to - from)
    expect(changed(0, 10)).toBe(1)
    expect(changed(10, 1_000)).toBeLessThan(0.5)
  })

  test('bursts come and go, on the same rows for everybody', () => {
    const [one, other] = [new Popularity(1_000, 1), new Popularity(1_000, 1)]
    const times = Array.from({ length: 3_000 }, (_, index) => index * 10)
    const bursts = times.map((atMs) => one.burstAt(atMs))
    expect(times.map((atMs) => other.burstAt(atMs))).toEqual(bursts)
    const share = bursts.filter((burst) => burst !== undefined).length / bursts.length
    expect(share).toBeCloseTo(0.2, 2)
    expect(new Set(bursts.filter((burst) => burst !== undefined)).size).toBe(10)
    for (const id of bursts.flatMap((burst) => burst ?? [])) {
      expect(id).toBeGreaterThanOrEqual(1)
      expect(id).toBeLessThanOrEqual(1_000)
    }
  })
})

describe('traffic', () => {
  test('a shop sells rows that exist, some of them far more often', () => {
    const traffic = shopTraffic(1_000, 1, seededRandom(2))
    const counts = new Map<number, number>()
    for (let draw = 0; draw < 20_000; draw++) {
      const id = traffic.next(0)
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    for (const id of counts.keys())
      expect(id >= 1 && id <= 1_000 && Number.isInteger(id)).toBe(true)
    const most = [...counts.values()].sort((a, b) => b - a)
    expect((most[0] as number) / 20_000).toBeGreaterThan(0.05)
    expect(counts.size).toBeGreaterThan(800)
  })

  test('one row is enough', () => {
    expect(shopTraffic(1, 1, seededRandom(1)).next(0)).toBe(1)
  })

  test('the processes share a trace out, and begin again at its end', () => {
    const keys = Uint32Array.of(0, 10, 20, 30, 40, 50)
    const first = traceTraffic(keys, 25, 0, 2)
    const second = traceTraffic(keys, 25, 1, 2)
    expect(Array.from({ length: 4 }, () => first.next(0))).toEqual([1, 21, 16, 1])
    expect(Array.from({ length: 4 }, () => second.next(0))).toEqual([11, 6, 1, 11])
  })
})
