import { expect, test } from 'vitest'
import { durationMs, longestMs, describe as shown } from '../../../src/model/duration.ts'
import { LockstepError } from '../../../src/model/errors.ts'

test.each([
  [0, 0],
  [1_500, 1_500],
  [0.5, 0.5],
  ['250ms', 250],
  ['1.5s', 1_500],
  ['10m', 600_000],
  ['1h', 3_600_000],
  ['7d', 604_800_000],
  ['0s', 0],
  ['10 s', 10_000],
  [longestMs, longestMs],
] as const)('the duration %j is %d ms', (duration, ms) => {
  expect(durationMs('ttl', duration)).toBe(ms)
})

test.each([
  -1,
  Number.NaN,
  Infinity,
  longestMs + 1,
  '25d',
  '',
  '10',
  'm',
  '-1s',
  '1e3s',
  '.5s',
  '1.s',
  '1,5s',
  '10 minutes',
  '10M',
  '10m10s',
  ' 10s',
  '1s\n',
  null,
  undefined,
  {},
  [],
  true,
  10n,
  new Date(5),
])(
  'what is no duration is refused (%#): the error names the option, the value and what would do',
  (value) => {
    let thrown: unknown
    try {
      durationMs('city.ttl', value as never)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(LockstepError)
    const { code, message } = thrown as LockstepError
    expect(code).toBe('OPTION_INVALID')
    expect(message).toContain('"city.ttl"')
    expect(message).toContain(shown(value))
    expect(message).toContain("'10s'")
  },
)

test.each([
  ['a string is cut', 'x'.repeat(100), JSON.stringify('x'.repeat(60))],
  ['a string is quoted', 'a"\n', '"a\\"\\n"'],
  ['a bigint', 5n, '5n'],
  ['null', null, 'null'],
  ['undefined', undefined, 'undefined'],
  ['NaN', Number.NaN, 'NaN'],
  ['an array', [1, 2], 'an array'],
  ['an object', { password: 'hunter2' }, 'an object'],
  ['an error', new Error('hunter2'), 'an object'],
  ['a URL', 'postgres://shop:hunter2@db/shop', 'a text that may hold a password'],
  ['a long one', `${'x'.repeat(80)}://:hunter2@db`, 'a text that may hold a password'],
  ['a host with a user', 'shop:hunter2@db', 'a text that may hold a password'],
  ['libpq’s words', 'host=db password=hunter2', 'a text that may hold a password'],
])('as an error shows it: %s', (_, value, text) => {
  expect(shown(value)).toBe(text)
})

test('no value takes more than a line of an error message', () => {
  const long = [
    async function load(ids: readonly number[]): Promise<readonly object[]> {
      const password = 'hunter2'
      return ids.map((id) => ({ id, url: `postgres://shop:${password}@localhost:5432/shop` }))
    },
    10n ** 400n,
    Symbol('x'.repeat(400)),
    'x'.repeat(400),
  ]
  const tooLong = long.map(shown).filter((text) => text.length > 80)
  expect(tooLong.map((text) => `${text.slice(0, 20)}… (${text.length})`)).toEqual([])
})
