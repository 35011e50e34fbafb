/** The option `kafka` of the front door, checked once; its secrets reach no error and no log. */
import type { KafkaConfig, SASLOptions } from 'kafkajs'

import { isPlainObject, wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'

export type { SASLOptions }

/** Of KafkaJS: where the brokers are, and how to get in. */
const clientOptions = [
  'brokers',
  'ssl',
  'sasl',
  'clientId',
  'connectionTimeout',
  'authenticationTimeout',
  'reauthenticationThreshold',
  'socketFactory',
] as const
const ownOptions = ['topic', 'partitions', 'replicationFactor', 'events'] as const

type ClientOptions = Pick<KafkaConfig, (typeof clientOptions)[number]>

/**
 * - brokers: `['10.0.0.1:9092', '10.0.0.2:9092']`, or the same as one text with commas
 * - KafkaJS options (`brokers`, `ssl`, `sasl`, `clientId`, …), and beside them what follows
 */
export type KafkaOptions =
  | string
  | readonly string[]
  | (Omit<ClientOptions, 'brokers'> & {
      readonly brokers: string | readonly string[] | KafkaConfig['brokers']
      /** Where the log lies (default `lockstep.<namespace>`); no two namespaces share one. */
      readonly topic?: string
      /** How many partitions the topic has (default 3). Changing it is a step of its own. */
      readonly partitions?: number
      /** Copies of each partition, where the topic has to be created (default: what the broker says). */
      readonly replicationFactor?: number
      /**
       * Whether what others publish to `<topic>.events` is applied (default true; docs/events.md).
       */
      readonly events?: boolean
    })

export interface KafkaSettings {
  readonly client: ClientOptions
  readonly namespace: string
  readonly topic: string
  readonly partitions: number
  /** -1: the broker's default. */
  readonly replicationFactor: number
  /** Nobody here reads what others publish. */
  readonly events?: false
}

const defaultPartitions = 3
/** Every barrier goes to each of them, several times a second. */
const mostPartitions = 100
/** Kafka's longest is 249: room for the ends of those beside it. */
const topicPattern = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,230}$/
const eventsEnd = '.events'
const deadLettersEnd = '.dead-letters'
const brokersWouldDo = "a list of brokers like ['10.0.0.1:9092', '10.0.0.2:9092'] would do"

export function settleKafka(options: KafkaOptions, namespace: string): KafkaSettings {
  if (typeof options === 'string' || Array.isArray(options)) {
    return settle({ brokers: options as string | readonly string[] }, namespace, 'kafka')
  }
  if (!isPlainObject(options)) {
    throw refused('kafka', `${brokersWouldDo}, or KafkaJS options with brokers`)
  }
  return settle(options as Exclude<KafkaOptions, string | readonly string[]>, namespace)
}

function settle(
  options: Exclude<KafkaOptions, string | readonly string[]>,
  namespace: string,
  brokersOption = 'kafka.brokers',
): KafkaSettings {
  const known: readonly string[] = [...clientOptions, ...ownOptions]
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw refused(`kafka.${name}`, `is not known; one of ${known.join(', ')} would do`)
    }
  }
  const {
    topic,
    partitions = defaultPartitions,
    replicationFactor = -1,
    events = true,
    ...client
  } = options
  if (!isCount(partitions, mostPartitions)) {
    throw wrong(
      'kafka.partitions',
      partitions,
      `a whole number from 1 to ${mostPartitions} would do`,
    )
  }
  if (replicationFactor !== -1 && !isCount(replicationFactor, 32_767)) {
    throw wrong('kafka.replicationFactor', replicationFactor, 'a whole number above 0 would do')
  }
  if (typeof events !== 'boolean') throw wrong('kafka.events', events, 'true or false would do')
  checkClient(client)
  return {
    client: { ...client, brokers: checkBrokers(client.brokers, brokersOption) },
    namespace,
    topic: checkTopic(topic, namespace),
    partitions,
    replicationFactor,
    ...(events ? {} : { events }),
  }
}

/** Beside the log of a namespace: where others publish, and where lies what was no event. */
export function eventsTopicOf({ topic }: KafkaSettings): string {
  return topic + eventsEnd
}

export function deadLettersTopicOf({ topic }: KafkaSettings): string {
  return topic + deadLettersEnd
}

function checkBrokers(brokers: unknown, option: string): KafkaConfig['brokers'] {
  if (typeof brokers === 'function') return brokers as KafkaConfig['brokers']
  const list: unknown = typeof brokers === 'string' ? brokers.split(',') : brokers
  if (!Array.isArray(list) || list.length === 0) throw refused(option, brokersWouldDo)
  return list.map((one: unknown) => {
    const broker = typeof one === 'string' ? one.trim() : ''
    const port = Number(/^(?:\[[0-9a-f:]+\]|[^\s:/@[\]]+):(\d{1,5})$/i.exec(broker)?.[1])
    // Without its value: a URL here may have a password in it.
    if (!(port >= 1 && port <= 65_535)) throw refused(option, brokersWouldDo)
    return broker
  })
}

function checkTopic(topic: unknown, namespace: string): string {
  if (topic === undefined) {
    const own = `lockstep.${namespace}`
    if (topicPattern.test(own) && !isBesideAnother(own)) return own
    // Replacing the character would let two namespaces share a topic.
    throw refused(
      'kafka.topic',
      `has to be given, because namespace "${namespace}" can't be the end of a topic's name; ${topicWouldDo}`,
    )
  }
  if (typeof topic === 'string' && topicPattern.test(topic) && !isBesideAnother(topic)) return topic
  throw wrong('kafka.topic', topic, topicWouldDo)
}

const topicWouldDo = `up to 230 letters, digits and ._- that don't end in "${eventsEnd}" or "${deadLettersEnd}" would do`

const isBesideAnother = (topic: string): boolean =>
  topic.endsWith(eventsEnd) || topic.endsWith(deadLettersEnd)

function checkClient(client: Omit<ClientOptions, 'brokers'>): void {
  const { ssl, sasl, clientId, socketFactory } = client
  if (ssl !== undefined && typeof ssl !== 'boolean' && !isObject(ssl)) {
    throw refused('kafka.ssl', "true, false or options of Node's tls.connect would do")
  }
  if (sasl !== undefined && !(isObject(sasl) && typeof sasl.mechanism === 'string')) {
    throw refused(
      'kafka.sasl',
      "{ mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512', username, password } would do",
    )
  }
  if (clientId !== undefined && (typeof clientId !== 'string' || clientId === '')) {
    throw wrong('kafka.clientId', clientId, 'a name would do')
  }
  if (socketFactory !== undefined && typeof socketFactory !== 'function') {
    throw refused('kafka.socketFactory', 'a function that opens a socket would do')
  }
  for (const name of [
    'connectionTimeout',
    'authenticationTimeout',
    'reauthenticationThreshold',
  ] as const) {
    const value = client[name]
    if (value !== undefined && !isCount(value, 2 ** 31 - 1)) {
      throw wrong(`kafka.${name}`, value, 'milliseconds, a whole number above 0, would do')
    }
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object'

const isCount = (value: unknown, most: number): boolean =>
  Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most

/** Without the value, which may be a password. */
function refused(option: string, why: string): LockstepError {
  const text = why.startsWith('is not') || why.startsWith('has to') ? ` ${why}` : `: ${why}`
  return new LockstepError('OPTION_INVALID', `option "${option}"${text}`)
}
