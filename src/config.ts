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
  /** `undefined`: as each command has it. */
  readonly logLevel: LogLevel | undefined
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

/** Every variable that is read here, and those of docker-compose.yml. */
export const knownVariables: readonly string[] = [
  'DATABASE_URL',
  'REDIS_URL',
  'KAFKA_BROKERS',
  'PROMETHEUS_URL',
  'LOCKSTEP_KAFKA_TLS',
  'LOCKSTEP_KAFKA_SASL',
  'LOCKSTEP_KAFKA_USERNAME',
  'LOCKSTEP_KAFKA_PASSWORD',
  'LOCKSTEP_KAFKA_TOPIC',
  'LOCKSTEP_KAFKA_PARTITIONS',
  'LOCKSTEP_NAMESPACE',
  'LOCKSTEP_LOG_LEVEL',
  'LOCKSTEP_FLAGS',
  'LOCKSTEP_SERVE_HOST',
  'LOCKSTEP_SERVE_PORT',
  'LOCKSTEP_COMPOSE_POSTGRES_PORT',
  'LOCKSTEP_COMPOSE_REDIS_PORT',
  'LOCKSTEP_COMPOSE_KAFKA_PORT',
  'LOCKSTEP_COMPOSE_PROMETHEUS_PORT',
]

/** Throws `OPTION_INVALID` for the first value that won't do. */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const { config, wrong } = examineConfig(environment)
  if (wrong[0]) throw wrong[0]
  return config
}

export interface ExaminedConfig {
  /** With the default in the place of each value that won't do. */
  readonly config: Config
  readonly wrong: readonly LockstepError[]
  /** Names of all variables that are set. */
  readonly names: readonly string[]
}

/** Whatever the environment says; never throws. */
export function examineConfig(environment: NodeJS.ProcessEnv = process.env): ExaminedConfig {
  const wrong: LockstepError[] = []
  const attempt: Attempt = (read, instead) => {
    try {
      return read()
    } catch (error) {
      wrong.push(error as LockstepError)
      return instead
    }
  }
  const config = {
    databaseUrl: environment.DATABASE_URL || undefined,
    redisUrl: environment.REDIS_URL || undefined,
    kafkaBrokers: environment.KAFKA_BROKERS || undefined,
    kafka: kafkaOf(environment, attempt),
    prometheusUrl: environment.PROMETHEUS_URL || undefined,
    namespace: environment.LOCKSTEP_NAMESPACE || 'lockstep',
    logLevel: attempt(() => logLevelOf(environment.LOCKSTEP_LOG_LEVEL), undefined),
    flags: flagsOf(environment.LOCKSTEP_FLAGS, attempt),
    serveHost: environment.LOCKSTEP_SERVE_HOST || '127.0.0.1',
    servePort: environment.LOCKSTEP_SERVE_PORT || defaultServePort,
  }
  const names = Object.keys(environment).filter((name) => environment[name])
  return { config, wrong, names }
}

function logLevelOf(level: string | undefined): LogLevel | undefined {
  return level ? oneOf('LOCKSTEP_LOG_LEVEL', level, logLevels) : undefined
}

/** Notes what is thrown, and goes on with something else. */
type Attempt = <T>(read: () => T, instead: T) => T

function flagsOf(list: string | undefined, attempt: Attempt): readonly FlagName[] {
  const names = (list ?? '').split(',').map((name) => name.trim())
  return names
    .filter((name) => name !== '')
    .flatMap((name) => attempt<FlagName | []>(() => oneOf('LOCKSTEP_FLAGS', name, flagNames), []))
}

function kafkaOf(environment: NodeJS.ProcessEnv, attempt: Attempt): KafkaOptions | undefined {
  const brokers = environment.KAFKA_BROKERS
  if (!brokers) return undefined
  const tls = environment.LOCKSTEP_KAFKA_TLS
  const topic = environment.LOCKSTEP_KAFKA_TOPIC
  const partitions = environment.LOCKSTEP_KAFKA_PARTITIONS
  const ssl = attempt(() => oneOf('LOCKSTEP_KAFKA_TLS', tls || 'false', switches), 'false')
  return {
    brokers,
    ...(tls ? { ssl: ssl === 'true' } : {}),
    ...attempt(() => saslOf(environment), {}),
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
