import { expect, test } from 'vitest'
import { LockstepError } from '../../../src/model/errors.ts'
import { isRetryable, isRetryableFailure, isSourceAnswer } from '../../../src/postgres/retryable.ts'

/** As pg brings what the server answered. */
const state = (code: string): Error => Object.assign(new Error(`state ${code}`), { code })

test.each([
  // may succeed again, from a server that is well
  ['40001', 'serialization failure', true, true],
  ['40P01', 'deadlock', true, true],
  ['55P03', 'lock not available', true, true],
  // from one that is not
  ['08006', 'connection failure', true, false],
  ['53300', 'too many connections', true, false],
  ['53200', 'out of memory', true, false],
  ['57P01', 'admin shutdown', true, false],
  ['57P02', 'crash shutdown', true, false],
  ['57P03', 'cannot connect now', true, false],
  ['58030', 'I/O error', false, false],
  // what is refused
  ['57014', 'query canceled', false, true],
  ['23505', 'unique violation', false, true],
  ['42P01', 'undefined table', false, true],
  ['42501', 'insufficient privilege', false, true],
  ['28P01', 'invalid password', false, true],
  ['22P02', 'invalid text', false, true],
  ['XX000', 'internal error', false, true],
])('%s, %s: it may succeed again: %s; the server is well: %s', (code, _, again, isWell) => {
  const bare = state(code)
  expect([isRetryable(bare), isSourceAnswer(bare)]).toEqual([again, isWell])
  const told = new LockstepError('SOURCE_UNAVAILABLE', 'PostgreSQL: …', { cause: bare })
  expect([isRetryableFailure(told), isSourceAnswer(told)]).toEqual([again, isWell])
})

test.each([
  'Connection terminated unexpectedly',
  'Connection terminated due to connection timeout',
  'connect ECONNREFUSED 127.0.0.1:5432',
  'read ECONNRESET',
  'write EPIPE',
  'Client has encountered a connection error and is not queryable',
  'Unable to acquire a connection',
  'timeout exceeded when trying to connect',
  'timeout expired',
  'Knex: Timeout acquiring a connection. The pool is probably full.',
])('"%s" is no answer, and may be one the next time', (message) => {
  expect([isRetryable(new Error(message)), isSourceAnswer(new Error(message))]).toEqual([
    true,
    false,
  ])
})

test.each(['EPIPE', 'ECONNRESET', 'ETIMEDOUT'])(
  'nor is what Node says of the way there: %s',
  (code) => {
    const bare = Object.assign(new Error(`write ${code}`), { code })
    const told = new LockstepError('SOURCE_UNAVAILABLE', 'PostgreSQL: …', { cause: bare })
    for (const error of [bare, told]) {
      expect([isRetryableFailure(error), isSourceAnswer(error)]).toEqual([true, false])
    }
  },
)

test('what a loader throws of its own is an answer, and will not go away', () => {
  const late = new Error('the offer’s timeout expired')
  expect([isRetryable(late), isSourceAnswer(late)]).toEqual([false, true])
  const own = new TypeError("Cannot read properties of undefined (reading 'id')")
  expect([isRetryable(own), isSourceAnswer(own)]).toEqual([false, true])
  expect([isRetryable(undefined), isSourceAnswer(undefined)]).toEqual([false, true])
})

test('a breaker that lets nothing through is not asked again at once', () => {
  const refused = new LockstepError('SOURCE_UNAVAILABLE', 'PostgreSQL is not asked')
  expect([refused.retryable, isRetryableFailure(refused)]).toEqual([true, false])
  expect(isSourceAnswer(new LockstepError('SOURCE_TIMEOUT', 'too long'))).toBe(false)
})
