import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { type DemoArguments, parseDemoOptions } from '../../../src/demo/demo-options.ts'

const thisFile = fileURLToPath(import.meta.url)

test('the defaults', () => {
  const chosen = { trace: undefined, foreign: false, kafka: false, chaos: false, attack: false }
  const defaults = { seconds: 20, processes: 3, writes: 0.02, ...chosen }
  expect(parseDemoOptions({})).toEqual(defaults)
})

test('what was given counts', () => {
  const given = {
    seconds: '2.5',
    processes: '8',
    writes: '0',
    trace: thisFile,
    foreign: true,
    kafka: true,
    chaos: true,
    attack: true,
  } as const
  const chosen = { trace: thisFile, foreign: true, kafka: true, chaos: true, attack: true }
  const parsed = { seconds: 2.5, processes: 8, writes: 0, ...chosen }
  expect(parseDemoOptions(given)).toEqual(parsed)
})

const bad: readonly [keyof DemoArguments, readonly string[]][] = [
  ['seconds', ['0', '-1', 'ten', '', ' ', 'NaN', 'Infinity', '100000', '1e9']],
  ['processes', ['0', '1.5', '65', 'all', '']],
  ['writes', ['-0.1', '0.6', '2 %', 'x', '']],
  ['trace', ['/nowhere/at/all.gz', '']],
]

for (const [name, values] of bad) {
  test(`a bad --${name} is refused by its name, with its value and what would do`, () => {
    for (const value of values) {
      expect(() => parseDemoOptions({ [name]: value })).toThrow(
        expect.objectContaining({
          code: 'OPTION_INVALID',
          message: expect.stringMatching(new RegExp(`^option "--${name}" is .*; .* would do$`)),
        }),
      )
    }
  })
}
