import { expect, test } from 'vitest'
import {
  errorCodes,
  LockstepError,
  messageOf,
  PartialReadError,
} from '../../../src/model/errors.ts'

test('every error says by its code whether the same call may succeed again', () => {
  for (const [code, { retryable }] of Object.entries(errorCodes)) {
    const error = new LockstepError(code as keyof typeof errorCodes, 'why')
    expect(error).toBeInstanceOf(Error)
    expect([error.name, error.code, error.retryable]).toEqual(['LockstepError', code, retryable])
  }
})

test('an error whose outcome nobody knows is never called retryable', () => {
  expect(new LockstepError('WRITE_OUTCOME_UNKNOWN', '').retryable).toBe(false)
})

test('an error keeps its cause', () => {
  const cause = new Error('deep')
  expect(new LockstepError('LOADER_FAILED', 'why', { cause }).cause).toBe(cause)
})

test('a partial read has what was found and why the rest was not', () => {
  const why = new Error('timeout')
  const error = new PartialReadError('city', new Map([[1, 'Ulm']]), new Map([[2, why]]))
  expect(error).toBeInstanceOf(LockstepError)
  expect(error.code).toBe('READ_PARTIAL')
  expect(error.values.get(1)).toBe('Ulm')
  expect(error.failures.get(2)).toBe(why)
  expect(error.cause).toBe(why)
  expect(error.message).toContain('"city"')
  expect(error.message).toContain('timeout')
})

test.each([
  [new Error('a'), 'a'],
  ['b', 'b'],
  [undefined, 'undefined'],
  [null, 'null'],
  [Symbol('c'), 'Symbol(c)'],
])('whatever was thrown has a message (%#)', (thrown, message) => {
  expect(messageOf(thrown)).toBe(message)
})

test('a thrown object without a prototype has a message too', () => {
  expect(typeof messageOf(Object.create(null))).toBe('string')
})
