/**
 * What a foreign producer publishes (docs/events.md, docs/events.schema.json): JSON that names ids of
 * an entity whose rows it has written. Whatever isn't that is told as a reason, never thrown, in time
 * that the size bounds: anybody may write to the topic.
 *
 * Fields that are not known are ignored, so that producers may add what they need; what changes the
 * meaning of an event gets another version, and that is not guessed at.
 */
import { isEntityName } from './entity.ts'
import { isIdText, longestIdText } from './id.ts'

export const eventVersion = 1
/** What an event may have: the topic is read in batches of them. */
export const mostEventBytes = 256 * 1024
export const mostEventIds = 1_000
export const longestNote = 256

/** Why an event is a dead letter. Stable: they stand in the topic and in metrics. */
export const poisonReasons = [
  'empty',
  'too-large',
  'not-text',
  'not-json',
  'future-version',
  'malformed',
  'other-namespace',
  'unknown-entity',
  'refused',
] as const
export type PoisonReason = (typeof poisonReasons)[number]

interface Poison {
  readonly kind: 'poison'
  readonly reason: PoisonReason
  /** What would do; nothing of what came. */
  readonly detail: string
}

export type ParsedEvent =
  | { readonly kind: 'event'; readonly entity: string; readonly ids: readonly string[] }
  | Poison

/** What somebody published, as it came. */
export interface Published {
  readonly partition: number
  readonly offset: string
  readonly key: Buffer | null
  readonly value: Buffer | null
}

/** Texts about an event, for whoever looks into the topic. */
export interface EventNotes {
  readonly at?: string
  readonly source?: string
  readonly eventId?: string
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/

/** `namespace`: the one whose topic it came in. */
export function parseEvent(bytes: Uint8Array | null | undefined, namespace: string): ParsedEvent {
  if (!bytes || bytes.length === 0) return poison('empty', 'a JSON object would do')
  if (bytes.length > mostEventBytes) {
    return poison(
      'too-large',
      `${bytes.length} bytes; up to ${mostEventBytes} would do: several events with fewer ids each`,
    )
  }
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return poison('not-text', 'JSON in UTF-8 would do')
  }
  let fields: unknown
  try {
    fields = JSON.parse(text)
  } catch {
    return poison('not-json', 'one JSON object would do')
  }
  return isObject(fields) ? eventOf(fields, namespace) : malformed('the event', 'an object')
}

/** Checks nothing: whoever publishes lets `parseEvent` say whether it would do. */
export function encodeEvent(
  namespace: string,
  entity: string,
  ids: readonly (string | number)[],
  notes: EventNotes,
): Buffer {
  return Buffer.from(JSON.stringify({ version: eventVersion, namespace, entity, ids, ...notes }))
}

type Fields = Readonly<Record<string, unknown>>

function eventOf(fields: Fields, namespace: string): ParsedEvent {
  // Own ones only: what Object.prototype has is no field.
  const field = (name: string): unknown => (Object.hasOwn(fields, name) ? fields[name] : undefined)
  const version = field('version')
  if (!Number.isInteger(version) || (version as number) < 1) {
    return malformed('version', `${eventVersion}`)
  }
  if (version !== eventVersion) {
    return poison('future-version', `version ${eventVersion} is known here`)
  }
  const wanted = field('namespace')
  if (wanted !== undefined && typeof wanted !== 'string') {
    return malformed('namespace', 'a text, or none,')
  }
  if (wanted !== undefined && wanted !== namespace) {
    return poison('other-namespace', `this topic is of namespace "${namespace}"`)
  }
  const entity = field('entity')
  if (!isEntityName(entity)) return malformed('entity', "a name like 'city' or 'user:profile'")
  const at = field('at')
  if (at !== undefined && !(typeof at === 'string' && timePattern.test(at))) {
    return malformed('at', "a time like '2026-01-31T12:00:00Z', or none,")
  }
  for (const name of ['source', 'eventId']) {
    const note = field(name)
    if (note !== undefined && !(typeof note === 'string' && note.length <= longestNote)) {
      return malformed(name, `a text of up to ${longestNote} characters, or none,`)
    }
  }
  return idsOf(entity, field('ids'))
}

function idsOf(entity: string, ids: unknown): ParsedEvent {
  if (!Array.isArray(ids) || ids.length === 0 || ids.length > mostEventIds) {
    return malformed('ids', `an array of 1 to ${mostEventIds}`)
  }
  const texts: string[] = []
  for (const [index, id] of ids.entries()) {
    const text = textOf(id)
    if (text === undefined) {
      return malformed(
        `ids[${index}]`,
        `a text of 1 to ${longestIdText} well-formed characters without NUL, or a whole number of up to ±${Number.MAX_SAFE_INTEGER} (others as texts)`,
      )
    }
    texts.push(text)
  }
  return { kind: 'event', entity, ids: texts }
}

/** A number that JSON has rounded may be another id. */
function textOf(id: unknown): string | undefined {
  if (typeof id === 'number') return Number.isSafeInteger(id) ? String(id) : undefined
  return typeof id === 'string' && isIdText(id) ? id : undefined
}

function malformed(field: string, wouldDo: string): Poison {
  return poison('malformed', `${field}: ${wouldDo} would do`)
}

function poison(reason: PoisonReason, detail: string): Poison {
  return { kind: 'poison', reason, detail }
}

const isObject = (value: unknown): value is Fields =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
