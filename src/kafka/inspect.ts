/** What `lockstep doctor` asks Kafka: no topic is made by it, and no group joined. */
import type { Admin } from 'kafkajs'
import type { Clock } from '../model/clock.ts'
import type { Answer, Inspection, KafkaFacts, TopicFacts } from '../model/doctor.ts'
import { messageOf } from '../model/errors.ts'
import { type Failure, kindOf, networkFailure } from '../model/failure.ts'
import type { Logger } from '../model/log.ts'
import { silent } from '../model/log.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { withAdmin } from './client.ts'
import { deadLettersTopicOf, type KafkaSettings } from './options.ts'
import { hasType } from './refusal.ts'
import { settingsOf } from './topic.ts'

const deadlineMs = 7_000
const requestTimeoutMs = 2_500
const asked = [
  'cleanup.policy',
  'retention.ms',
  'min.insync.replicas',
  'unclean.leader.election.enable',
]

/** Never rejects, and ends by itself. */
export async function inspectKafka(
  settings: KafkaSettings,
  clock: Clock,
  signal: AbortSignal,
): Promise<Inspection<KafkaFacts>> {
  const { brokers: listed } = settings.client
  const at = Array.isArray(listed) ? listed.join() : 'the brokers'
  const said: string[] = []
  // KafkaJS keeps what Node said for its log.
  const log: Logger = {
    ...silent,
    debug: (details) => void said.push(String((details as { error?: unknown }).error ?? '')),
  }
  try {
    return await withDeadline(deadlineMs, unanswered(deadlineMs), signal, clock, (inTime) =>
      withAdmin(settings, { log, requestTimeoutMs }, inTime, async (admin) => {
        const { brokers, controller } = await admin.describeCluster()
        const hasController = controller !== null
        const answer = await factsOf(admin, settings)
        return {
          kind: 'reached' as const,
          found: `Kafka at ${at}`,
          facts: { ...answer, brokers: known({ count: brokers.length, hasController }) },
        }
      }),
    )
  } catch (error) {
    return { kind: 'unreachable', at, failure: failureOf(error, said) }
  }
}

async function factsOf(
  admin: Admin,
  settings: KafkaSettings,
): Promise<Omit<Extract<Inspection<KafkaFacts>, { kind: 'reached' }>['facts'], 'brokers'>> {
  const { topic } = settings
  const log = await answerTo(() => askTopic(admin, topic))
  const isThere = log.isKnown && log.value.partitions !== undefined
  return {
    log,
    settings: await answerTo(async () => (isThere ? settingsOf(admin, topic, asked) : {})),
    deadLetters: await answerTo(() => askTopic(admin, deadLettersTopicOf(settings))),
  }
}

function known<T>(value: T): Answer<T> {
  return { isKnown: true, value }
}

async function answerTo<T>(question: () => Promise<T>): Promise<Answer<T>> {
  try {
    return known(await question())
  } catch (error) {
    return { isKnown: false, why: messageOf(error) }
  }
}

async function askTopic(admin: Admin, topic: string): Promise<TopicFacts> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    const partitions = topics
      .find(({ name }) => name === topic)
      ?.partitions.map(({ leader, replicas, isr }) => ({
        hasLeader: leader >= 0,
        copies: replicas.length,
        inSync: isr.length,
      }))
    return { topic, partitions }
  } catch (error) {
    if (hasType(error, 'UNKNOWN_TOPIC_OR_PARTITION')) return { topic, partitions: undefined }
    throw error
  }
}

const codePattern = /\b(E[A-Z]{4,}|ERR_[A-Z_]+|[A-Z]+_[A-Z_]*CERT[A-Z_]*)\b/

const sayings: readonly (readonly [RegExp, Failure['kind']])[] = [
  [/SASL|authentication failed|mechanism/i, 'password'],
  [/not authorized|authorization/i, 'rights'],
  [/certificate|self.signed|SSL|TLS/i, 'tls'],
  [/timeout|timed out|no answer/i, 'silent'],
  [/closed|disconnect|hang up|reset/i, 'cut'],
]

/** KafkaJS wraps what Node said, and keeps its words at best. */
function failureOf(error: unknown, said: readonly string[]): Failure {
  const network = networkFailure(error)
  if (network) return network
  const texts = [messageOf(error), ...said]
  const code = texts.map((text) => codePattern.exec(text)?.[1]).find((one) => kindOf(one))
  const kind = kindOf(code)
  if (kind && code) return { kind, detail: code }
  const found = sayings.find(([saying]) => texts.some((text) => saying.test(text)))?.[1]
  return { kind: found ?? 'other', detail: messageOf(error) }
}
