import fc from 'fast-check'
import { expect, test } from 'vitest'
import { keyOfComposite, keyOfPrimitive, keyOfText, longestIdText } from '../../src/model/id.ts'
import { codeThrown } from '../support/code-thrown.ts'

/** As a Map tells keys apart. */
const isSameKey = (left: unknown, right: unknown): boolean => new Map([[left, 0]]).has(right)

const wellFormed = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 60 })
  .filter((text) => text.isWellFormed() && !text.includes('\0'))
/** Texts that look like numbers, in every way that JavaScript reads them. */
const numberLike = fc.oneof(
  fc.integer().map(String),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
  fc.double().map(String),
  fc.tuple(fc.constantFrom('0', '00', '+', '-', ' ', '-0'), fc.nat()).map(([a, b]) => `${a}${b}`),
  fc.tuple(fc.nat(), fc.constantFrom('.0', 'e3', ' ', 'n', '.')).map(([a, b]) => `${a}${b}`),
  fc.constantFrom(
    '0x10',
    '1e21',
    '1e+21',
    '-0',
    '0',
    '-',
    '--1',
    '1_000',
    'Infinity',
    '-Infinity',
    'NaN',
    '٧',
  ),
)
const texts = fc.oneof(wellFormed, numberLike)

test("'42', 42 and 42n are one key, for every whole number that is exact", () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (number) => {
      const key = keyOfPrimitive('city', number)
      expect(isSameKey(keyOfPrimitive('city', String(number)), key)).toBe(true)
      expect(isSameKey(keyOfPrimitive('city', BigInt(number)), key)).toBe(true)
      expect(isSameKey(keyOfText(String(number)), key)).toBe(true)
    }),
    { numRuns: 500 },
  )
})

test('a key comes back from its text, however it came in', () => {
  const ids = fc.oneof(
    texts,
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }),
    fc.constantFrom(-0, 2 ** 53, 1e21, 1e-7, 5e-324),
  )
  fc.assert(
    fc.property(ids, (id) => {
      const key = keyOfPrimitive('city', id)
      expect(isSameKey(keyOfText(String(key)), key)).toBe(true)
    }),
    { numRuns: 1_000 },
  )
})

test('distinct texts are distinct keys', () => {
  fc.assert(
    fc.property(texts, texts, (left, right) => {
      expect(isSameKey(keyOfText(left), keyOfText(right))).toBe(left === right)
    }),
    { numRuns: 2_000 },
  )
})

test('a key has the text that it was made from', () => {
  fc.assert(
    fc.property(texts, (text) => {
      expect(String(keyOfText(text))).toBe(text)
    }),
    { numRuns: 1_000 },
  )
})

test('distinct bigints are distinct keys, beyond 2^53 too', () => {
  const big = fc.bigInt({ min: 2n ** 53n - 3n, max: 2n ** 53n + 6n })
  fc.assert(
    fc.property(big, big, (left, right) => {
      expect(isSameKey(keyOfPrimitive('city', left), keyOfPrimitive('city', right))).toBe(
        left === right,
      )
    }),
  )
})

test('a composite id has the key of its text', () => {
  fc.assert(
    fc.property(texts, (text) => {
      fc.pre(text.length > 0)
      const key = keyOfComposite('city', { text }, (id: { text: string }) => id.text)
      expect(isSameKey(key, keyOfPrimitive('city', text))).toBe(true)
    }),
  )
})

test('what is no number, bigint or string is ID_INVALID', () => {
  const others = fc.oneof(
    fc.object(),
    fc.array(fc.anything()),
    fc.boolean(),
    fc.constantFrom(
      null,
      undefined,
      Number.NaN,
      Infinity,
      -Infinity,
      Symbol('id'),
      () => 1,
      new Date(0),
    ),
    fc.constantFrom(new String('a'), new Number(1), Object(1n)),
  )
  fc.assert(
    fc.property(others, (id) => {
      expect(codeThrown(() => keyOfPrimitive('city', id))).toBe('ID_INVALID')
    }),
  )
})

test('a text that Redis or PostgreSQL would not keep is ID_INVALID', () => {
  const unusable = fc.oneof(
    fc.constant(''),
    fc.string({ minLength: longestIdText + 1, maxLength: 12_000 }),
    fc.tuple(fc.string(), fc.string()).map(([a, b]) => `${a}\0${b}`),
    fc.integer({ min: 0xd800, max: 0xdfff }).map((unit) => `a${String.fromCharCode(unit)}b`),
  )
  fc.assert(
    fc.property(unusable, (id) => {
      expect(codeThrown(() => keyOfPrimitive('city', id))).toBe('ID_INVALID')
      expect(codeThrown(() => keyOfComposite('city', {}, () => id))).toBe('ID_INVALID')
    }),
  )
})

test('a bigint has no more digits than an id may have characters', () => {
  const ids = [10n ** 511n, -(10n ** 510n), 10n ** 512n, -(10n ** 511n), 10n ** 5_000n]
  expect(ids.map((id) => codeThrown(() => keyOfPrimitive('city', id)))).toEqual([
    undefined,
    undefined,
    'ID_INVALID',
    'ID_INVALID',
    'ID_INVALID',
  ])
})
