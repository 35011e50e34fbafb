/** Reads a topic once, from its oldest record to the end that it has when the scan begins. */
import type { KafkaMessage } from 'kafkajs'
import { type Deferred, deferred, withDeadline } from '../resilience/deadline.ts'
import { openClient, withAdmin } from './client.ts'
import { newGroup, removeGroups } from './groups.ts'
import type { Place } from './reading.ts'
import { hasType, unavailable } from './refusal.ts'

const requestTimeoutMs = 5_000
const longPollMs = 200
const endDeadlineMs = 2_000

/**
 * Hands on each record in the order of its partition, until `read` says that it wants no more. A topic
 * that isn't there is an empty one. Rejects with `KAFKA_REFUSED`, `KAFKA_UNAVAILABLE`.
 */
export async function scan(
  place: Place,
  topic: string,
  deadlineMs: number,
  read: (partition: number, message: KafkaMessage) => void,
): Promise<void> {
  const { settings, clock, log } = place
  const late = (): Error => new Error(`not read in ${deadlineMs} ms`)
  const client = openClient(settings, { log, requestTimeoutMs })
  const groupId = newGroup(settings.namespace)
  const consumer = client.kafka.consumer({
    groupId,
    allowAutoTopicCreation: false,
    readUncommitted: true,
    maxWaitTimeInMs: longPollMs,
  })
  let hasJoined = false
  try {
    await withDeadline(deadlineMs, late, undefined, clock, async (signal) => {
      const open = await withAdmin(settings, { log, requestTimeoutMs }, signal, async (admin) => {
        const found = await admin.fetchTopicOffsets(topic).catch((error: unknown) => {
          if (hasType(error, 'UNKNOWN_TOPIC_OR_PARTITION')) return []
          throw error
        })
        return new Map(
          found
            .filter(({ low, high }) => BigInt(low) < BigInt(high))
            .map(({ partition, high }) => [partition, BigInt(high)]),
        )
      })
      if (open.size === 0) return
      const over: Deferred<void> = deferred()
      consumer.on(consumer.events.CRASH, ({ payload }) => over.reject(payload.error))
      await consumer.subscribe({ topic, fromBeginning: true })
      hasJoined = true
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          const end = open.get(batch.partition)
          if (end === undefined) return
          for (const message of batch.messages) {
            if (BigInt(message.offset) < end) read(batch.partition, message)
          }
          if (BigInt(batch.lastOffset()) + 1n >= end) open.delete(batch.partition)
          if (open.size === 0) over.resolve()
        },
      })
      await over.promise
    })
  } catch (error) {
    throw unavailable(error, `topic "${topic}" could not be read`)
  } finally {
    await withDeadline(endDeadlineMs, late, undefined, clock, async (signal) => {
      await consumer.disconnect()
      if (!hasJoined) return
      await withAdmin(settings, { log, requestTimeoutMs }, signal, (admin) =>
        removeGroups(admin, [groupId]),
      )
    }).catch(() => {})
    client.destroy()
  }
}
