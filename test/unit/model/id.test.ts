import { expect, test } from 'vitest'
import { LockstepError } from '../../../src/model/errors.ts'
import { keyOfComposite, keyOfPrimitive, keyOfText, longestIdText } from '../../../src/model/id.ts'

function errorOf(call: () => unknown): LockstepError {
  try {
    call()
  } catch (error) {
    if (error instanceof LockstepError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

test("'42', 42 and 42n are one key", () => {
  const keys = ['42', 42, 42n].map((id) => keyOfPrimitive('city', id))
  expect(new Set(keys).size).toBe(1)
})

test.each(['042', '42.0', '4.2e1', ' 42', '42 ', '+42', '-0', '1e21', '9007199254740993'])(
  'the text %j is an id of its own, not a number',
  (text) => {
    expect(keyOfText(text)).toBe(text)
  },
)

test('Infinity and NaN as strings stay strings', () => {
  expect(['Infinity', '-Infinity', 'NaN'].map(keyOfText)).toEqual(['Infinity', '-Infinity', 'NaN'])
})

test.each(['__proto__', 'constructor', 'hasOwnProperty', 'a:b', '{tag}', '💾'])(
  'the id %j is as good as any other',
  (id) => {
    expect(keyOfPrimitive('city', id)).toBe(id)
  },
)

test('the longest id is an id, one character more is none', () => {
  const longest = 'x'.repeat(longestIdText)
  expect(keyOfPrimitive('city', longest)).toBe(longest)
  expect(errorOf(() => keyOfPrimitive('city', `${longest}x`)).code).toBe('ID_INVALID')
})

test('the error names the entity, shows little of the id, and says how long it is', () => {
  const { message, code } = errorOf(() => keyOfPrimitive('user:profile', 'x'.repeat(10_000)))
  expect(code).toBe('ID_INVALID')
  expect(message).toContain('"user:profile"')
  expect(message).toContain('10000 characters')
  expect(message.length).toBeLessThan(400)
})

test('the error of an object does not show what is in it', () => {
  const { message } = errorOf(() => keyOfPrimitive('city', { password: 'hunter2' }))
  expect(message).not.toContain('hunter2')
})

test('an idToString that throws is ID_INVALID, with its error as the cause', () => {
  const cause = new Error('no part')
  const error = errorOf(() =>
    keyOfComposite('city', {}, () => {
      throw cause
    }),
  )
  expect(error.code).toBe('ID_INVALID')
  expect(error.cause).toBe(cause)
})

test.each([undefined, null, 42, {}, '', 'a\0b', '\ud800'])(
  'an idToString that returns %j is ID_INVALID',
  (text) => {
    const error = errorOf(() => keyOfComposite('city', {}, () => text as string))
    expect(error.code).toBe('ID_INVALID')
  },
)
