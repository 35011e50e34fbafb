import { expect, test } from 'vitest'
import {
  allIds,
  chunksOf,
  cityCount,
  cityOf,
  idsInTurn,
  sizes,
  uniformIds,
  zipfIds,
} from '../../../src/bench/data.ts'

test('rows have exactly the bytes that they are named for', () => {
  for (const size of sizes) {
    for (const id of allIds()) expect(JSON.stringify(cityOf(id, size))).toHaveLength(size)
  }
})

test('ids are the same ones each time, and all of them are there', () => {
  for (const make of [uniformIds, zipfIds]) {
    const ids = make(20_000)
    expect(make(20_000)).toEqual(ids)
    expect(Math.min(...ids)).toBeGreaterThanOrEqual(1)
    expect(Math.max(...ids)).toBeLessThanOrEqual(cityCount)
  }
})

test('of Zipf’s ids a few are asked for often, of uniform ones none', () => {
  const mostOften = (ids: readonly number[]): number => {
    const counts = new Map<number, number>()
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1)
    return Math.max(...counts.values()) / ids.length
  }
  expect(mostOften(zipfIds(20_000))).toBeGreaterThan(0.08)
  expect(mostOften(uniformIds(20_000))).toBeLessThan(0.001)
})

test('ids in turn come back only when all others have been', () => {
  const next = idsInTurn()
  const seen = Array.from({ length: cityCount + 1 }, next)
  expect(new Set(seen).size).toBe(cityCount)
  expect(seen.at(-1)).toBe(seen[0])
})

test('chunks have everything, in order', () => {
  expect(chunksOf([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]])
  expect(chunksOf([], 2)).toEqual([])
})
