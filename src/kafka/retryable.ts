/** What came of publishing says: may the same succeed again, and is the broker well? */
import { hasType, refusalOf } from './refusal.ts'

/**
 * What a broker says no to for what was sent, and will again. Whatever else goes wrong may go away: the
 * producer is made anew, so that even a lost place in its sequence does.
 */
const hopeless = [
  'INVALID_RECORD',
  'INVALID_REQUEST',
  'INVALID_REQUIRED_ACKS',
  'INVALID_TIMESTAMP',
  'INVALID_TOPIC_EXCEPTION',
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'UNSUPPORTED_COMPRESSION_TYPE',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
] as const

export function isRetryableKafka(error: unknown): boolean {
  return refusalOf(error) === undefined && !hopeless.some((type) => hasType(error, type))
}

/** A broker that refuses for a reason is well. */
export function isKafkaAnswer(error: unknown): boolean {
  return !isRetryableKafka(error)
}
