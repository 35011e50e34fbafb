import { expect, test } from 'vitest'
import { isRedisAnswer, isRetryableRedis } from '../../../src/redis/retryable.ts'

function reply(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' })
}

const tooMany = 'Too many Cluster redirections. Last error: ReplyError:'

test.each([
  ['ERR unknown command', true, false],
  ['WRONGTYPE Operation against a key holding the wrong kind of value', true, false],
  ['NOPERM this user has no permissions to run the command', true, false],
  ['NOAUTH Authentication required.', true, false],
  ['NOSCRIPT No matching script.', true, false],
  ['CROSSSLOT Keys in request don’t hash to the same slot', true, false],
  ['OOM command not allowed when used memory > maxmemory', true, false],
  ['MISCONF Redis is configured to save RDB snapshots', true, false],
  ['TRYAGAIN Multiple keys request during rehashing of slot', true, true],
  ['BUSY Redis is busy running a script', true, true],
  ['NOREPLICAS Not enough good replicas to write.', true, true],
  ['LOADING Redis is loading the dataset in memory', false, true],
  ['READONLY You can not write against a read only replica', false, true],
  ['MASTERDOWN Link with MASTER is down', false, true],
  ['CLUSTERDOWN Hash slot not served', false, true],
  ['UNBLOCKED force unblock from blocking operation', false, true],
  ['MOVED 42 10.0.0.1:6379', false, true],
  ['ASK 42 10.0.0.1:6379', false, true],
])('"%s": the server is well: %s; it may succeed again: %s', (message, isWell, isRetryable) => {
  expect([isRedisAnswer(reply(message)), isRetryableRedis(reply(message))]).toEqual([
    isWell,
    isRetryable,
  ])
})

test.each([
  [new Error('Connection is closed.')],
  [new Error('Too many Cluster redirections. Last error: Error: Connection is closed.')],
  [new Error('no answer in 200 ms')],
  [Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
  [Object.assign(new Error('None of the nodes'), { name: 'ClusterAllFailedError' })],
  [Object.assign(new Error('Reached the max retries'), { name: 'MaxRetriesPerRequestError' })],
  ['not even an error'],
])('%s is no answer, and may be one the next time', (error) => {
  expect([isRedisAnswer(error), isRetryableRedis(error)]).toEqual([false, true])
})

test('a slot that moves for long is no ill server; one that nobody serves is', () => {
  expect(isRedisAnswer(new Error(`${tooMany} TRYAGAIN Multiple keys`))).toBe(true)
  expect(isRedisAnswer(new Error(`${tooMany} MOVED 42 10.0.0.1:6379`))).toBe(false)
  expect(isRedisAnswer(new Error('Connection is closed.'))).toBe(false)
})
