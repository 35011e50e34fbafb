/** `lockstep doctor`: looks at the environment and at all places side by side, and says what is broken. */
import { answering, failed, type JsonOption, print, untilSignalled } from './command-line.ts'
import { type ExaminedConfig, examineConfig } from './config.ts'
import { configFacts, settingsOf } from './doctor-settings.ts'
import { textOf, withoutSecrets } from './doctor-text.ts'
import type { NamespaceOption } from './invalidate-command.ts'
import { inspectKafka } from './kafka/inspect.ts'
import { systemClock } from './model/clock.ts'
import type { Answer, Answers, DoctorRow, Inspection } from './model/doctor.ts'
import { messageOf } from './model/errors.ts'
import { judgeFacts, judgePlace, stateOf } from './operations/doctor.ts'
import { configChecks } from './operations/doctor-config.ts'
import { kafkaChecks } from './operations/doctor-kafka.ts'
import { type LockstepFacts, lockstepChecks } from './operations/doctor-lockstep.ts'
import { postgresChecks } from './operations/doctor-postgres.ts'
import { prometheusChecks } from './operations/doctor-prometheus.ts'
import { redisChecks } from './operations/doctor-redis.ts'
import { checkNamespace } from './options.ts'
import { inspectPostgres } from './postgres/inspect.ts'
import { inspectPrometheus } from './prometheus/inspect.ts'
import { inspectRedis } from './redis/inspect.ts'
import { unanswered, withDeadline } from './resilience/deadline.ts'

/** Each place ends sooner by itself. */
const longestMs = 12_000

export async function runDoctor(options: JsonOption & NamespaceOption): Promise<void> {
  await answering(options, async () => {
    const { namespace } = options
    if (namespace !== undefined) checkNamespace(namespace)
    const examined = examineConfig()
    const checks = await untilSignalled((signal) => diagnose(examined, namespace, signal))
    print({ state: stateOf(checks), checks }, textOf(checks), options)
    if (stateOf(checks) === 'broken') process.exitCode = failed
  })
}

/** All rows, without secrets. Rejects when the signal aborts, and never else. */
export async function diagnose(
  examined: ExaminedConfig,
  namespace = examined.config.namespace,
  signal: AbortSignal = new AbortController().signal,
): Promise<readonly DoctorRow[]> {
  return withoutSecrets(await lookAtAll(examined, namespace, signal), examined.config)
}

async function lookAtAll(
  examined: ExaminedConfig,
  namespace: string,
  signal: AbortSignal,
): Promise<readonly DoctorRow[]> {
  const { around, postgres, redis, kafka, prometheus, problems } = settingsOf(examined, namespace)
  const look = <Settings, Facts>(
    variable: string,
    settings: Settings | undefined,
    inspect: (settings: Settings, inTime: AbortSignal) => Promise<Inspection<Facts>>,
  ): Promise<Inspection<Facts>> => {
    if (settings !== undefined) return inTime(variable, signal, (one) => inspect(settings, one))
    const why = examined.names.includes(variable) ? 'will not do' : 'is not set'
    return Promise.resolve({ kind: 'not asked', why: `${variable} ${why}` })
  }
  const clock = systemClock
  const [postgresSeen, redisSeen, kafkaSeen, prometheusSeen] = await Promise.all([
    look('DATABASE_URL', postgres, (url, one) => inspectPostgres(url, namespace, clock, one)),
    look('REDIS_URL', redis, (url, one) => inspectRedis(url, namespace, clock, one)),
    look('KAFKA_BROKERS', kafka, (settings, one) => inspectKafka(settings, clock, one)),
    look('PROMETHEUS_URL', prometheus, (settings, one) =>
      inspectPrometheus(settings, namespace, clock, one),
    ),
  ])
  const {
    namespace: known,
    flags,
    database,
  } = answersOf(postgresSeen, 'postgres', ['namespace', 'flags', 'database'])
  const { claim } = answersOf(redisSeen, 'redis', ['claim'])
  const facts: Answers<LockstepFacts> = { namespace: known, flags, database, claim }
  return [
    ...judgeFacts('config', configChecks, configFacts(examined, problems), around),
    ...judgePlace(postgresChecks, postgresSeen, around),
    ...judgePlace(redisChecks, redisSeen, around),
    ...judgePlace(kafkaChecks, kafkaSeen, around),
    ...judgePlace(prometheusChecks, prometheusSeen, around),
    ...judgeFacts('lockstep', lockstepChecks, facts, around),
  ]
}

/** Whatever goes wrong in one place costs the others nothing. */
async function inTime<Facts>(
  variable: string,
  signal: AbortSignal,
  inspect: (inTime: AbortSignal) => Promise<Inspection<Facts>>,
): Promise<Inspection<Facts>> {
  try {
    return await withDeadline(longestMs, unanswered(longestMs), signal, systemClock, inspect)
  } catch (error) {
    signal.throwIfAborted()
    const failure = { kind: 'other', detail: messageOf(error) } as const
    return { kind: 'unreachable', at: variable, failure }
  }
}

function answersOf<Facts, Fact extends keyof Facts>(
  inspection: Inspection<Facts>,
  place: string,
  wanted: readonly Fact[],
): Pick<Answers<Facts>, Fact> {
  if (inspection.kind === 'reached') return inspection.facts
  const why = inspection.kind === 'not asked' ? inspection.why : `${place}-reachable has the reason`
  const unknown: Answer<never> = { isKnown: false, why }
  return Object.fromEntries(wanted.map((fact) => [fact, unknown])) as Pick<Answers<Facts>, Fact>
}
