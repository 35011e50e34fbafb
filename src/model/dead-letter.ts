/**
 * A dead letter (docs/events.md): an event that could not be applied, with the reason and where it
 * came from, as JSON. And the mark that one was replayed: it lies in the same partition behind it, so
 * whoever reads the topic knows which were.
 */
import { mostEventBytes, type PoisonReason, type Published } from './event.ts'

const version = 1

export interface DeadLetter {
  readonly event: Published
  readonly reason: PoisonReason
  readonly detail: string
}

/** Where something lies in a topic. */
export interface Position {
  readonly partition: number
  readonly offset: string
}

/** One that was read back. */
export interface BuriedLetter {
  readonly kind: 'letter'
  readonly reason: string
  readonly detail: string
  readonly from: Position & { readonly topic: string }
  /** When it was buried, as ISO 8601 in UTC. */
  readonly at: string
  /** Of the original value. */
  readonly bytes: number
  readonly isTruncated: boolean
  readonly key: Buffer | null
  readonly value: Buffer | null
}

export type DeadLetterRecord =
  | BuriedLetter
  | { readonly kind: 'replayed'; readonly letter: Position; readonly at: string }
  | { readonly kind: 'unreadable' }

const mostKeyBytes = 1_024
/** A letter of the longest value there is, in base64, with all that stands beside it. */
const mostRecordBytes = 2 * mostEventBytes

export function encodeLetter(letter: DeadLetter, topic: string, at: string): Buffer {
  const { event, reason, detail } = letter
  const { key, value } = event
  const isTruncated = (value?.length ?? 0) > mostEventBytes || (key?.length ?? 0) > mostKeyBytes
  return Buffer.from(
    JSON.stringify({
      version,
      kind: 'letter',
      reason,
      detail,
      topic,
      partition: event.partition,
      offset: event.offset,
      at,
      bytes: value?.length ?? 0,
      ...(isTruncated ? { truncated: true } : {}),
      key: key?.subarray(0, mostKeyBytes).toString('base64') ?? null,
      value: value?.subarray(0, mostEventBytes).toString('base64') ?? null,
    }),
  )
}

export function encodeReplayed({ partition, offset }: Position, at: string): Buffer {
  return Buffer.from(JSON.stringify({ version, kind: 'replayed', partition, offset, at }))
}

/** Never throws: whoever may write to the topic may have. */
export function decodeDeadLetter(bytes: Buffer | null | undefined): DeadLetterRecord {
  if (!bytes || bytes.length > mostRecordBytes) return unreadable
  let fields: Readonly<Record<string, unknown>>
  try {
    fields = Object(JSON.parse(bytes.toString('utf8')))
  } catch {
    return unreadable
  }
  const { partition, offset, at } = fields
  const isPlaced =
    fields.version === version && isPartition(partition) && isOffset(offset) && isShort(at)
  if (!isPlaced) return unreadable
  if (fields.kind === 'replayed') return { kind: 'replayed', letter: { partition, offset }, at }
  const { kind, reason, detail, topic, bytes: length, key, value } = fields
  const isLetter =
    kind === 'letter' &&
    isShort(reason) &&
    isShort(detail) &&
    isShort(topic) &&
    isPartition(length) &&
    isBytes(key) &&
    isBytes(value)
  if (!isLetter) return unreadable
  return {
    kind,
    reason,
    detail,
    from: { topic, partition, offset },
    at,
    bytes: length,
    isTruncated: fields.truncated === true,
    key: bytesOf(key),
    value: bytesOf(value),
  }
}

const unreadable: DeadLetterRecord = { kind: 'unreadable' }

const isPartition = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0
const isOffset = (value: unknown): value is string =>
  typeof value === 'string' && /^\d{1,19}$/.test(value)
const isShort = (value: unknown): value is string =>
  typeof value === 'string' && value.length <= 1_024
const isBytes = (value: unknown): value is string | null =>
  value === null || typeof value === 'string'
const bytesOf = (text: string | null): Buffer | null =>
  text === null ? null : Buffer.from(text, 'base64')
