import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { type KafkaOptions, settleKafka } from '../../../src/kafka/options.ts'

const settle = (options: unknown, namespace = 'shop') =>
  settleKafka(options as KafkaOptions, namespace)

test('brokers as a list, as text, or in KafkaJS options come to the same', () => {
  const brokers = ['10.0.0.1:9092', 'kafka-2.internal:9093', '[::1]:9092']
  for (const options of [
    brokers,
    brokers.join(', '),
    { brokers },
    { brokers: brokers.join(',') },
  ]) {
    expect(settle(options)).toEqual({
      client: { brokers },
      namespace: 'shop',
      topic: 'lockstep.shop',
      partitions: 3,
      replicationFactor: -1,
    })
  }
})

test('options of KafkaJS are passed on, ours are not', () => {
  const sasl = { mechanism: 'plain', username: 'u', password: 'p' }
  const own = { topic: 'invalidations', partitions: 6, replicationFactor: 3 }
  const settings = settle({ brokers: 'a:1', ssl: true, sasl, clientId: 'api', ...own })
  expect(settings).toEqual({
    client: { brokers: ['a:1'], ssl: true, sasl, clientId: 'api' },
    namespace: 'shop',
    ...own,
  })
})

const secret = 'hunter2'
test.each<[string, unknown, string?]>([
  ['kafka', undefined],
  ['kafka', 7],
  ['kafka', ''],
  ['kafka', []],
  ['kafka', `kafka://user:${secret}@host:9092`],
  ['kafka', ['host:9092', `user:${secret}@host:9092`]],
  ['kafka', 'host'],
  ['kafka', 'host:0'],
  ['kafka', 'host:70000'],
  ['kafka.brokers', {}],
  ['kafka.brokers', { brokers: [] }],
  ['kafka.retry', { brokers: 'a:1', retry: { retries: 5 } }],
  ['kafka.password', { brokers: 'a:1', password: secret }],
  ['kafka.sasl', { brokers: 'a:1', sasl: secret }],
  ['kafka.sasl', { brokers: 'a:1', sasl: { password: secret } }],
  ['kafka.ssl', { brokers: 'a:1', ssl: secret }],
  ['kafka.clientId', { brokers: 'a:1', clientId: '' }],
  ['kafka.connectionTimeout', { brokers: 'a:1', connectionTimeout: '1s' }],
  ['kafka.socketFactory', { brokers: 'a:1', socketFactory: {} }],
  ['kafka.topic', { brokers: 'a:1', topic: 'a topic' }],
  ['kafka.topic', { brokers: 'a:1', topic: '..' }],
  ['kafka.topic', { brokers: 'a:1', topic: 'x'.repeat(250) }],
  ['kafka.topic', { brokers: 'a:1' }, 'shop:eu'],
  ['kafka.partitions', { brokers: 'a:1', partitions: 0 }],
  ['kafka.partitions', { brokers: 'a:1', partitions: 101 }],
  ['kafka.partitions', { brokers: 'a:1', partitions: 1.5 }],
  ['kafka.replicationFactor', { brokers: 'a:1', replicationFactor: 0 }],
])('option "%s" is refused by name: %j', (name, options, namespace = 'shop') => {
  let error: unknown
  try {
    settle(options, namespace)
  } catch (thrown) {
    error = thrown
  }
  expect(error).toMatchObject({ code: 'OPTION_INVALID' })
  expect(String(error)).toContain(`option "${name}"`)
  expect(String(error)).toMatch(/would do/)
  expect(inspect(error)).not.toContain(secret)
})
