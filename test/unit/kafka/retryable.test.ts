import {
  KafkaJSConnectionError,
  KafkaJSNumberOfRetriesExceeded,
  KafkaJSProtocolError,
  KafkaJSRequestTimeoutError,
} from 'kafkajs'
import { describe, expect, test } from 'vitest'
import { unavailable } from '../../../src/kafka/refusal.ts'
import { isKafkaAnswer, isRetryableKafka } from '../../../src/kafka/retryable.ts'
import { LockstepError } from '../../../src/model/errors.ts'

/** As KafkaJS makes it of the code that a broker answers. */
const answer = (type: string): Error =>
  new KafkaJSProtocolError(Object.assign(new Error(type), { type }) as never)

const passing = [
  'BROKER_NOT_AVAILABLE',
  'CONCURRENT_TRANSACTIONS',
  'INVALID_PRODUCER_EPOCH',
  'KAFKA_STORAGE_ERROR',
  'LEADER_NOT_AVAILABLE',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'NOT_LEADER_FOR_PARTITION',
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'REQUEST_TIMED_OUT',
  'UNKNOWN_PRODUCER_ID',
  'UNKNOWN_TOPIC_OR_PARTITION',
]
const hopeless = [
  'CLUSTER_AUTHORIZATION_FAILED',
  'INVALID_RECORD',
  'INVALID_TOPIC_EXCEPTION',
  'MESSAGE_TOO_LARGE',
  'POLICY_VIOLATION',
  'RECORD_LIST_TOO_LARGE',
  'TOPIC_AUTHORIZATION_FAILED',
  'UNSUPPORTED_VERSION',
]

describe.each([
  ['as KafkaJS tells it', (error: Error): unknown => error],
  ['as the publisher tells it', (error: Error): unknown => unavailable(error, 'publishing failed')],
  [
    'after its own retries',
    (error: Error): unknown =>
      new KafkaJSNumberOfRetriesExceeded(error, { retryCount: 1, retryTime: 50 }),
  ],
])('%s', (_, told) => {
  test.each(passing)('%s may go away, and says that the broker is ill', (type) => {
    const error = told(answer(type))
    expect([isRetryableKafka(error), isKafkaAnswer(error)]).toEqual([true, false])
  })

  test.each(hopeless)('%s will not go away, and is an answer', (type) => {
    const error = told(answer(type))
    expect([isRetryableKafka(error), isKafkaAnswer(error)]).toEqual([false, true])
  })

  test('a connection that breaks or hangs may come back; a password stays wrong', () => {
    const broken = new KafkaJSConnectionError('Connection error: connect ECONNREFUSED')
    const late = new KafkaJSRequestTimeoutError('Request Produce timed out')
    // KafkaJS' own type leaves out what its constructor takes.
    const denied = Object.assign(new Error('SASL PLAIN authentication failed'), {
      name: 'KafkaJSSASLAuthenticationError',
    })
    expect([broken, late, denied].map((error) => isRetryableKafka(told(error)))).toEqual([
      true,
      true,
      false,
    ])
  })
})

test('what the library says itself goes by its code', () => {
  expect(isRetryableKafka(new LockstepError('KAFKA_UNAVAILABLE', 'no answer'))).toBe(true)
  expect(isRetryableKafka(new LockstepError('KAFKA_TOPIC_INVALID', 'it has 3'))).toBe(false)
  expect(isRetryableKafka(new LockstepError('CLOSED', 'the log is closed'))).toBe(false)
})
