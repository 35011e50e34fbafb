import { expect, test } from 'vitest'
import { median, quantile, spreadOf } from '../../../src/bench/statistics.ts'

test('the median doesn’t care for order, nor for one wild value', () => {
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 3, 2])).toBe(2.5)
  expect(median([7])).toBe(7)
  expect(median([1, 1.1, 0.9, 1_000, 1])).toBe(1)
})

test('quantiles lie between neighbours, in proportion', () => {
  expect(quantile([10, 20, 30, 40, 50], 0.25)).toBe(20)
  expect(quantile([10, 20], 0.25)).toBe(12.5)
  expect(quantile([10, 20], 0)).toBe(10)
  expect(quantile([10, 20], 1)).toBe(20)
})

test('the spread is what half of the rounds lie in, and says so', () => {
  const spread = { of: 'interquartile range', low: 2, high: 4, rounds: 5 }
  expect(spreadOf([5, 1, 4, 2, 3])).toEqual(spread)
})

test('what was measured is left as it is', () => {
  const values = [3, 1, 2]
  spreadOf(values)
  expect(values).toEqual([3, 1, 2])
})
