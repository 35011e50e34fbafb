/** The durable plane of a namespace, as the database has it: one for all of its instances. */
import { LockstepError } from '../model/errors.ts'

/** Every instance tails the outbox. */
export const outboxPlane = 'outbox'

/** Writes are published to a topic of Kafka. */
export function kafkaPlane(topic: string, partitions: number): string {
  return `kafka:${topic}:${partitions}`
}

export function checkPlane(namespace: string, wanted: string, recorded: string): void {
  if (wanted === recorded) return
  throw new LockstepError(
    'PLANE_MISMATCH',
    `namespace "${namespace}" is on ${described(recorded)}, and this instance wants ${described(wanted)}; give it the same "kafka" as the others, or change the plane of them all (docs/kafka.md)`,
  )
}

function described(plane: string): string {
  if (plane === outboxPlane) return 'the outbox plane (without Kafka)'
  const [, topic, partitions] = /^kafka:(.*):(\d+)$/.exec(plane) ?? []
  return `the topic "${topic}" of Kafka with ${partitions} partitions`
}
