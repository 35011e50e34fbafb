/** The environment, read once and checked; nothing else reads `process.env`. */
import type { KafkaOptions, SASLOptions } from './kafka/options.ts'
import { LockstepError } from './model/errors.ts'
import { type FlagName, flagNames } from './model/flags.ts'

export interface Config {
  readonly databaseUrl: string | undefined
  readonly redisUrl: string | undefined
  readonly kafkaBrokers: string | undefined
  /** The brokers, and how to get in. */
  readonly kafka: KafkaOptions | undefined
  readonly prometheusUrl: string | undefined
  readonly namespace: string
  readonly logLevel: LogLevel
  /** What this process applies whatever is set. */
  readonly flags: readonly FlagName[]
  readonly serveHost: string
  /** As it stands there. */
  readonly servePort: string
}

const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]

const switches = ['true', 'false'] as const
const saslMechanisms = ['plain', 'scram-sha-256', 'scram-sha-512'] as const
const defaultServePort = '9464'

export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const logLevel = environment.LOCKSTEP_LOG_LEVEL || 'warn'
  return {
    databaseUrl: environment.DATABASE_URL || undefined,
    redisUrl: environment.REDIS_URL || undefined,
    kafkaBrokers: environment.KAFKA_BROKERS || undefined,
    kafka: kafkaOf(environment),
    prometheusUrl: environment.PROMETHEUS_URL || undefined,
    namespace: environment.LOCKSTEP_NAMESPACE || 'lockstep',
    logLevel: oneOf('LOCKSTEP_LOG_LEVEL', logLevel, logLevels),
    flags: flagsOf(environment.LOCKSTEP_FLAGS),
    serveHost: environment.LOCKSTEP_SERVE_HOST || '127.0.0.1',
    servePort: environment.LOCKSTEP_SERVE_PORT || defaultServePort,
  }
}

function flagsOf(list: string | undefined): readonly FlagName[] {
  const names = (list ?? '').split(',').map((name) => name.trim())
  return names.filter((name) => name !== '').map((name) => oneOf('LOCKSTEP_FLAGS', name, flagNames))
}

function kafkaOf(environment: NodeJS.ProcessEnv): KafkaOptions | undefined {
  const brokers = environment.KAFKA_BROKERS
  if (!brokers) return undefined
  const tls = environment.LOCKSTEP_KAFKA_TLS
  const topic = environment.LOCKSTEP_KAFKA_TOPIC
  const partitions = environment.LOCKSTEP_KAFKA_PARTITIONS
  return {
    brokers,
    ...(tls ? { ssl: oneOf('LOCKSTEP_KAFKA_TLS', tls, switches) === 'true' } : {}),
    ...saslOf(environment),
    ...(topic ? { topic } : {}),
    ...(partitions ? { partitions: Number(partitions) } : {}),
  }
}

function saslOf(environment: NodeJS.ProcessEnv): { sasl?: SASLOptions } {
  const mechanism = environment.LOCKSTEP_KAFKA_SASL
  const username = environment.LOCKSTEP_KAFKA_USERNAME
  const password = environment.LOCKSTEP_KAFKA_PASSWORD
  if (!mechanism) {
    if (!username && !password) return {}
    throw new LockstepError(
      'OPTION_INVALID',
      `LOCKSTEP_KAFKA_SASL is not set, and a user or a password is; ${saslMechanisms.join(', ')} would do`,
    )
  }
  if (!username || !password) {
    throw new LockstepError(
      'OPTION_INVALID',
      'LOCKSTEP_KAFKA_SASL is set; LOCKSTEP_KAFKA_USERNAME and LOCKSTEP_KAFKA_PASSWORD beside it would do',
    )
  }
  return {
    sasl: {
      mechanism: oneOf('LOCKSTEP_KAFKA_SASL', mechanism.toLowerCase(), saslMechanisms),
      username,
      password,
    },
  }
}

function oneOf<Word extends string>(name: string, value: string, words: readonly Word[]): Word {
  if (words.includes(value as Word)) return value as Word
  throw new LockstepError(
    'OPTION_INVALID',
    `${name} is ${JSON.stringify(value)}; ${words.join(', ')} would do`,
  )
}
