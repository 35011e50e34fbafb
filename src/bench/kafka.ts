/** The bench's part of a Kafka: whether there is one, and the topic that is removed in the end. */
import { withAdmin } from '../kafka/client.ts'
import { settleKafka } from '../kafka/options.ts'
import { kafkaVersion } from '../kafka/version.ts'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import type { Place } from './places.ts'

export interface FoundKafka {
  readonly brokers: string | undefined
  readonly version: string | null
  readonly why: string | undefined
}

const deadlineMs = 5_000

export async function findKafka(brokers: string | undefined, log: Logger): Promise<FoundKafka> {
  const without = (why: string): FoundKafka => ({ brokers: undefined, version: null, why })
  if (brokers === undefined) return without('KAFKA_BROKERS is not set')
  try {
    const version = await kafkaVersion(brokers, log, AbortSignal.timeout(deadlineMs))
    return { brokers, version, why: undefined }
  } catch (error) {
    return without(`the Kafka of KAFKA_BROKERS can't be reached: ${messageOf(error)}`)
  }
}

/** Never rejects: a topic that is left is a small one, and used again by the next bench. */
export async function removeTopic({ kafkaBrokers, others }: Place, log: Logger): Promise<void> {
  if (kafkaBrokers === undefined) return
  const settings = settleKafka(kafkaBrokers, others.kafka)
  const options = { log, requestTimeoutMs: deadlineMs }
  try {
    await withAdmin(settings, options, AbortSignal.timeout(deadlineMs), async (admin) => {
      const topics = await admin.listTopics()
      if (topics.includes(settings.topic)) await admin.deleteTopics({ topics: [settings.topic] })
    })
  } catch (error) {
    log.debug({ err: error }, 'the topic of the bench is left')
  }
}
