/** What `lockstep doctor` takes from the environment: what can be asked, and what will not do. */
import { type ExaminedConfig, knownVariables } from './config.ts'
import { type KafkaSettings, settleKafka } from './kafka/options.ts'
import { timingDefaults } from './model/defaults.ts'
import { type Answers, known } from './model/doctor.ts'
import { durationMs } from './model/duration.ts'
import { messageOf } from './model/errors.ts'
import type { Surroundings } from './operations/doctor.ts'
import { type ConfigFacts, urlFacts, usableUrl } from './operations/doctor-config.ts'
import { nearestName } from './operations/doctor-words.ts'
import { checkNamespace } from './options.ts'
import { kafkaPlane, outboxPlane } from './postgres/plane.ts'
import { type PrometheusSettings, settlePrometheus } from './prometheus/options.ts'
import { parseServeOptions } from './serve.ts'

interface DoctorSettings {
  readonly around: Surroundings
  /** What can be asked. */
  readonly postgres: string | undefined
  readonly redis: string | undefined
  readonly kafka: KafkaSettings | undefined
  readonly prometheus: PrometheusSettings | undefined
  readonly problems: Problems
}

interface Problems {
  readonly kafka: string | undefined
  readonly others: readonly string[]
}

/** What the options are called in the environment. */
const variables: Readonly<Record<string, string>> = {
  namespace: 'LOCKSTEP_NAMESPACE',
  '--port': 'LOCKSTEP_SERVE_PORT',
  kafka: 'KAFKA_BROKERS',
  'kafka.brokers': 'KAFKA_BROKERS',
  'kafka.topic': 'LOCKSTEP_KAFKA_TOPIC',
  'kafka.partitions': 'LOCKSTEP_KAFKA_PARTITIONS',
}

/** Those of the services, which others than Lockstep may have set: only a slip is one. */
const ofServices = ['DATABASE_URL', 'REDIS_URL', 'KAFKA_BROKERS', 'PROMETHEUS_URL'] as const
const lettersOfASlip = 2

export function settingsOf({ config, wrong }: ExaminedConfig, namespace: string): DoctorSettings {
  const told = wrong.map(messageOf)
  const isOfKafka = (text: string): boolean => text.startsWith('LOCKSTEP_KAFKA_')
  const kafka = attempt(() =>
    config.kafka === undefined ? undefined : settleKafka(config.kafka, namespace),
  )
  const prometheus = attempt(() =>
    config.prometheusUrl === undefined ? undefined : settlePrometheus(config.prometheusUrl),
  )
  const problemOfKafka = kafka.problem ?? told.find(isOfKafka)
  const others = [
    ...told.filter((text) => !isOfKafka(text)),
    ...[
      attempt(() => checkNamespace(config.namespace)),
      attempt(() => parseServeOptions({}, config)),
    ].flatMap(({ problem }) => problem ?? []),
  ]
  return {
    postgres: usableUrl('databaseUrl', config.databaseUrl),
    redis: usableUrl('redisUrl', config.redisUrl),
    kafka: problemOfKafka === undefined ? kafka.value : undefined,
    prometheus: prometheus.value,
    problems: { kafka: problemOfKafka, others },
    around: {
      namespace,
      hasRedis: config.redisUrl !== undefined,
      plane: problemOfKafka === undefined ? planeOf(kafka.value) : undefined,
      overrides: config.flags,
      outboxRetentionMs: durationMs('outboxRetention', timingDefaults.outboxRetention),
    },
  }
}

function planeOf(kafka: KafkaSettings | undefined): string {
  return kafka ? kafkaPlane(kafka.topic, kafka.partitions) : outboxPlane
}

function attempt<T>(settle: () => T): { readonly value?: T; readonly problem?: string } {
  try {
    return { value: settle() }
  } catch (error) {
    const text = messageOf(error)
    return { problem: text.replace(/option "([^"]+)"/, (all, name) => variables[name] ?? all) }
  }
}

export function configFacts(
  { config, names }: ExaminedConfig,
  problems: Problems,
): Answers<ConfigFacts> {
  const unset = ofServices.filter((name) => !names.includes(name))
  const strange = names.filter((name) => !knownVariables.includes(name))
  const facts: ConfigFacts = {
    wrong: problems.others,
    known: knownVariables,
    unknown: strange.filter(
      (name) =>
        name.startsWith('LOCKSTEP_') || nearestName(name, unset, lettersOfASlip) !== undefined,
    ),
    idle: config.kafkaBrokers ? [] : names.filter((name) => /^LOCKSTEP_KAFKA_/.test(name)),
    databaseUrl: urlFacts(config.databaseUrl),
    redisUrl: urlFacts(config.redisUrl),
    prometheusUrl: urlFacts(config.prometheusUrl),
    kafka: config.kafkaBrokers === undefined ? undefined : (problems.kafka ?? ''),
  }
  const answers = Object.entries(facts).map(([fact, value]) => [fact, known(value)])
  return Object.fromEntries(answers) as Answers<ConfigFacts>
}
