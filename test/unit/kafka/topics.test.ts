import { expect, test } from 'vitest'
import { type KafkaOptions, settleKafka } from '../../../src/kafka/options.ts'
import { deadLettersTopic, eventsTopic } from '../../../src/kafka/topic.ts'
import { codeThrown } from '../../support/code-thrown.ts'

const settle = (options: object, namespace = 'shop') =>
  settleKafka({ brokers: 'a:1', ...options } as KafkaOptions, namespace)

test('what others publish, and what was no event, lies beside the log', () => {
  const names = (options: object) => {
    const settings = settle(options)
    return [eventsTopic(settings).topic, deadLettersTopic(settings).topic]
  }
  expect(names({})).toEqual(['lockstep.shop.events', 'lockstep.shop.dead-letters'])
  expect(names({ topic: 'log' })).toEqual(['log.events', 'log.dead-letters'])
  const longest = names({ topic: 'x'.repeat(230) }).map(({ length }) => length)
  expect(Math.max(...longest)).toBeLessThanOrEqual(249)
})

test('they are made as the log is, the dead letters with a retention of their own', () => {
  const settings = settle({ partitions: 6, replicationFactor: 3 })
  expect(eventsTopic(settings)).toMatchObject({ partitions: 6, replicationFactor: 3 })
  expect(deadLettersTopic(settings)).toMatchObject({
    replicationFactor: 3,
    config: { 'retention.ms': '1209600000' },
  })
})

test('no log lies where the events of another namespace do', () => {
  for (const [options, namespace] of [
    [{}, 'shop.events'],
    [{}, 'shop.dead-letters'],
    [{ topic: 'log.events' }, 'shop'],
    [{ topic: 'x'.repeat(231) }, 'shop'],
    [{ events: 'yes' }, 'shop'],
  ] as const) {
    expect(codeThrown(() => settle(options, namespace))).toBe('OPTION_INVALID')
  }
  expect(settle({ topic: 'log' }, 'shop.events').topic).toBe('log')
  expect(settle({ events: false }).events).toBe(false)
})
