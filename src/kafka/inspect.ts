/** What `lockstep doctor` asks Kafka: no topic is made by it, and no group joined. */
import type { Admin } from 'kafkajs'
import type { Clock } from '../model/clock.ts'
import {
  type Answers,
  answerTo,
  type Inspection,
  type KafkaFacts,
  known,
  type TopicFacts,
} from '../model/doctor.ts'
import { messageOf } from '../model/errors.ts'
import { type Failure, kindOf, networkFailure } from '../model/failure.ts'
import { type Logger, silent } from '../model/log.ts'
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
    debug: (details, message) => {
      const { error = '' } = details as { readonly error?: unknown }
      said.push(`${message} ${String(error)}`.replace('KafkaJS: ', '').trim())
    },
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
): Promise<Omit<Answers<KafkaFacts>, 'brokers'>> {
  const { topic } = settings
  const log = await answerTo(() => askTopic(admin, topic))
  const isThere = log.isKnown && log.value.partitions !== undefined
  return {
    log,
    settings: await answerTo(async () => (isThere ? settingsOf(admin, topic, asked) : {})),
    deadLetters: await answerTo(() => askTopic(admin, deadLettersTopicOf(settings))),
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
    return { topic, isBarred: false, partitions }
  } catch (error) {
    const isBarred = hasType(error, 'TOPIC_AUTHORIZATION_FAILED')
    if (!isBarred && !hasType(error, 'UNKNOWN_TOPIC_OR_PARTITION')) throw error
    return { topic, isBarred, partitions: undefined }
  }
}

const codePattern = /\b(E[A-Z]{4,}|ERR_[A-Z_]+|[A-Z]+_[A-Z_]*CERT[A-Z_]*)\b/

const sayings: readonly (readonly [RegExp, Failure['kind']])[] = [
  [/SASL|authentication failed|mechanism/i, 'password'],
  [/not authorized|authorization/i, 'rights'],
  [/certificate|self.signed|SSL|TLS/i, 'tls'],
  [/timeout|timed out|no answer/i, 'silent'],
  [/closed|connected|hang up|reset/i, 'cut'],
]

/** KafkaJS wraps what Node said, and keeps its words at best. */
function failureOf(error: unknown, said: readonly string[]): Failure {
  const network = networkFailure(error)
  if (network) return network
  const texts = [messageOf(error), ...said]
  const code = texts.map((text) => codePattern.exec(text)?.[1]).find((one) => kindOf(one))
  const kind = kindOf(code)
  if (kind && code) return { kind, detail: code }
  for (const [saying, one] of sayings) {
    const detail = texts.find((text) => saying.test(text))
    if (detail !== undefined) return { kind: one, detail }
  }
  return { kind: 'other', detail: messageOf(error) }
}
