import { expect, test } from 'vitest'
import { type BenchArguments, parseBenchOptions } from '../../../src/bench/bench-options.ts'
import { planOf, rowNames } from '../../../src/bench/row-plans.ts'

test('the defaults: every row that takes no minutes, 15 rounds', () => {
  const names = rowNames.filter((name) => planOf(name).onlyBy === undefined)
  expect(names.length).toBeLessThan(rowNames.length)
  expect(parseBenchOptions({})).toEqual({ names, rounds: 15, scale: 1 })
})

test('what takes minutes has to be asked for', () => {
  expect(parseBenchOptions({ only: 'relay' }).names).toEqual([
    'relay.throughput.l2',
    'relay.throughput.log',
  ])
  expect(parseBenchOptions({ only: 'relay.drain' }).names).toHaveLength(3)
})

test('what was given counts', () => {
  const parsed = parseBenchOptions({ only: 'l2.hit.c1', rounds: '40', scale: '0.1' })
  expect(parsed).toEqual({ names: ['l2.hit.c1', 'l2.hit.c1-2kb'], rounds: 40, scale: 0.1 })
})

test('several beginnings, each row once', () => {
  const { names } = parseBenchOptions({ only: 'write, l1.peek,l1.p' })
  expect(names).toEqual(['l1.peek', 'write.c1'])
})

const bad: readonly [keyof BenchArguments, readonly string[]][] = [
  ['only', ['l3', 'peek', '', ' ', 'l1.peek,', 'l1.peek,l3']],
  ['rounds', ['14', '0', '-1', '15.5', 'many', '', '1001']],
  ['scale', ['0', '-1', '', ' ', 'x', '101', 'NaN', 'Infinity']],
]

for (const [name, values] of bad) {
  test(`a bad --${name} is refused by its name, with its value and what would do`, () => {
    for (const value of values) {
      expect(() => parseBenchOptions({ [name]: value })).toThrow(
        expect.objectContaining({
          code: 'OPTION_INVALID',
          message: expect.stringMatching(new RegExp(`^option "--${name}" is .*; .* would do$`)),
        }),
      )
    }
  })
}
