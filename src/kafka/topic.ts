/** The topics of this room: made where they aren't there, and the log's checked to be what a log needs. */
import type { Admin, ConfigResourceTypes } from 'kafkajs'
import { LockstepError } from '../model/errors.ts'
import { deadLettersTopicOf, eventsTopicOf, type KafkaSettings } from './options.ts'
import { hasType } from './refusal.ts'

/** KafkaJS' constant; its name is lost between a CommonJS package and an ES module. */
const topicResource = 2 as ConfigResourceTypes.TOPIC
const createTimeoutMs = 5_000

/** Of a topic in which order means nothing: any number of partitions would do. */
export interface LooseTopic {
  readonly topic: string
  readonly partitions: number
  readonly replicationFactor: number
  readonly config?: Readonly<Record<string, string>>
}

/** Long enough for somebody to look and to mend what is wrong. */
const deadLettersRetentionMs = 14 * 24 * 3_600_000

export function eventsTopic(settings: KafkaSettings): LooseTopic {
  const { partitions, replicationFactor } = settings
  return { topic: eventsTopicOf(settings), partitions, replicationFactor }
}

export function deadLettersTopic(settings: KafkaSettings): LooseTopic {
  const config = { 'retention.ms': String(deadLettersRetentionMs) }
  const { replicationFactor } = settings
  return { topic: deadLettersTopicOf(settings), partitions: 1, replicationFactor, config }
}

/** Throws KafkaJS' errors. */
export async function ensureLooseTopic(admin: Admin, wanted: LooseTopic): Promise<void> {
  if ((await countPartitions(admin, wanted)) === undefined) await create(admin, wanted)
}

/** Throws `KAFKA_TOPIC_INVALID` where what is there won't do, and KafkaJS' errors. */
export async function ensureTopic(admin: Admin, settings: KafkaSettings): Promise<void> {
  const found = (await countPartitions(admin, settings)) ?? (await create(admin, settings))
  const { topic, partitions: wanted } = settings
  if (found !== wanted) {
    throw invalid(
      topic,
      `has ${count(found)}, and ${count(wanted)} are wanted`,
      `kafka.partitions: ${found} in every instance, or another topic`,
    )
  }
  await checkPolicy(admin, topic)
}

async function countPartitions(
  admin: Admin,
  { topic }: Pick<LooseTopic, 'topic'>,
): Promise<number | undefined> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return topics.find(({ name }) => name === topic)?.partitions.length
  } catch (error) {
    if (hasType(error, 'UNKNOWN_TOPIC_OR_PARTITION')) return undefined
    throw error
  }
}

async function create(admin: Admin, settings: LooseTopic): Promise<number> {
  const { topic, partitions, replicationFactor, config } = settings
  try {
    await admin.createTopics({
      topics: [
        {
          topic,
          numPartitions: partitions,
          replicationFactor,
          configEntries: Object.entries({ 'cleanup.policy': 'delete', ...config }).map(
            ([name, value]) => ({ name, value }),
          ),
        },
      ],
      waitForLeaders: true,
      timeout: createTimeoutMs,
    })
  } catch (error) {
    // Another instance was first, with perhaps another number of partitions.
    if (!hasType(error, 'TOPIC_ALREADY_EXISTS')) throw error
  }
  return (await countPartitions(admin, settings)) ?? partitions
}

/** Of a topic that is there, those of the settings that it says. Throws KafkaJS' errors. */
export async function settingsOf(
  admin: Admin,
  topic: string,
  names: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: topicResource, name: topic, configNames: [...names] }],
  })
  const entries = resources[0]?.configEntries ?? []
  return Object.fromEntries(entries.map(({ configName, configValue }) => [configName, configValue]))
}

/** A log that forgets single records, as a compacted one does, has gaps that mean nothing. */
async function checkPolicy(admin: Admin, topic: string): Promise<void> {
  let policy: string | undefined
  try {
    policy = (await settingsOf(admin, topic, ['cleanup.policy']))['cleanup.policy']
  } catch (error) {
    // The right to look isn't needed for anything else.
    if (hasType(error, 'TOPIC_AUTHORIZATION_FAILED')) return
    throw error
  }
  if (policy?.includes('compact')) {
    throw invalid(topic, `has cleanup.policy=${policy}`, 'cleanup.policy=delete, or another topic')
  }
}

function invalid(topic: string, is: string, wouldDo: string): LockstepError {
  return new LockstepError(
    'KAFKA_TOPIC_INVALID',
    `Kafka: topic "${topic}" ${is}; ${wouldDo} would do`,
  )
}

const count = (partitions: number): string =>
  partitions === 1 ? '1 partition' : `${partitions} partitions`
