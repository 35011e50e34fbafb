import { expect, test } from 'vitest'
import type { BenchResults } from '../../../src/bench/bench.ts'
import {
  isFailure,
  isMet,
  isUndecided,
  ratioRow,
  unmeasuredRow,
  valueRow,
} from '../../../src/bench/row.ts'
import { planOf, rowNames } from '../../../src/bench/row-plans.ts'
import { tableOf } from '../../../src/bench/table.ts'

/** As many rounds in which ours took so many times as long. */
const rounds = (timesAsLong: number) =>
  Array.from({ length: 15 }, (_, index) => {
    const bareMs = 10 + index
    return { oursMs: bareMs * timesAsLong, bareMs }
  })

test('a throughput is ours to theirs: twice the time is half the ratio', () => {
  const row = ratioRow('l1.get.uniform', rounds(2), 1_000)
  expect(row).toMatchObject({ name: 'l1.get.uniform', unit: 'gets/s', target: { atLeast: 0.65 } })
  expect(row.ratio).toBeCloseTo(0.5)
  // The median round of ours took 34 ms for 1,000.
  expect(row.value).toBeCloseTo(1_000 / 0.034)
  expect(row.spread).toMatchObject({ of: 'interquartile range', rounds: 15 })
})

test('a time is ours to theirs: twice the time is twice the ratio', () => {
  const row = ratioRow('get-many.100', rounds(2), 10)
  expect(row.ratio).toBeCloseTo(2)
  expect(row.value).toBeCloseTo(3_400)
  expect(row.unit).toBe('µs')
})

test('slow numbers miss their target, and fast ones meet it', () => {
  expect(ratioRow('l1.get.uniform', rounds(2), 1).met).toBe(false)
  expect(ratioRow('l1.get.uniform', rounds(1.2), 1).met).toBe(true)
  expect(ratioRow('get-many.100', rounds(3), 1).met).toBe(false)
  expect(ratioRow('get-many.100', rounds(2), 1).met).toBe(true)
  expect(ratioRow('get-many.100-2kb', rounds(9), 1).met).toBeNull()
})

test('one round too many is told where the worst one counts', () => {
  const loads = [1, 1, 1, 2, 1]
  const worst = valueRow('stampede.processes.loads', loads, 'largest')
  expect(worst).toMatchObject({ value: 2, ratio: null, met: false })
  const middle = valueRow('l1.heap', [100, 500, 110], 'median')
  expect(middle).toMatchObject({ value: 110, met: true })
})

test('a target is met at its very value', () => {
  expect(isMet({ atLeast: 0.65 }, 0.65)).toBe(true)
  expect(isMet({ atLeast: 0.65 }, 0.649)).toBe(false)
  expect(isMet({ atMost: 1.5 }, 1.5)).toBe(true)
  expect(isMet({ atMost: 1.5 }, 1.51)).toBe(false)
})

test('undecided is what has its target within the spread, whichever side the median is on', () => {
  const around = [0.5, 0.6, 0.7, 0.8, 0.9]
  expect(isUndecided({ atLeast: 0.65 }, around)).toBe(true)
  expect(isUndecided({ atMost: 0.75 }, around)).toBe(true)
  expect(isUndecided({ atLeast: 0.55 }, around)).toBe(false)
  expect(isUndecided({ atLeast: 0.85 }, around)).toBe(false)
  expect(isUndecided(undefined, around)).toBe(false)
})

test('--check fails for a target that was missed or not measured, and for nothing else', () => {
  expect(isFailure(ratioRow('l1.get.uniform', rounds(2), 1))).toBe(true)
  expect(isFailure(unmeasuredRow('l2.hit.c1', 'REDIS_URL is not set'))).toBe(true)
  expect(isFailure(ratioRow('l1.get.uniform', rounds(1), 1))).toBe(false)
  expect(isFailure(unmeasuredRow('l2.hit.c1-2kb', 'REDIS_URL is not set'))).toBe(false)
})

test('a row that could not be measured has no numbers, and a reason', () => {
  expect(unmeasuredRow('l2.hit.c1', 'REDIS_URL is not set')).toEqual({
    name: 'l2.hit.c1',
    unit: 'gets/s',
    against: planOf('l2.hit.c1').against,
    target: { atLeast: 0.75 },
    value: null,
    ratio: null,
    spread: null,
    met: null,
    reason: 'REDIS_URL is not set',
  })
})

test('names are told apart by their beginnings: none is all of another', () => {
  expect(new Set(rowNames).size).toBe(rowNames.length)
  for (const name of rowNames) expect(name).toMatch(/^[a-z0-9]+(?:[.-][a-z0-9]+)+$/)
})

test('the table tells the same', () => {
  const results: BenchResults = {
    machine: {
      cpu: 'A',
      cores: 2,
      node: '20.0.0',
      postgres: '15',
      redis: null,
      kafka: null,
      load: 1,
    },
    commit: null,
    rows: [
      ratioRow('l1.get.uniform', rounds(2), 1_000),
      unmeasuredRow('l2.hit.c1', 'REDIS_URL is not set'),
    ],
  }
  const table = tableOf(results)
  expect(table).toMatch(/l1\.get\.uniform +29,412 gets\/s +0\.50 .* ≥ 0\.65 +NO/)
  expect(table).toMatch(/l2\.hit\.c1 +not measured: REDIS_URL is not set/)
  expect(table).toMatch(/no Redis/)
})
