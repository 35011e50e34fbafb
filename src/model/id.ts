/**
 * One id, three forms: as the caller has it, as text (Redis keys, outbox rows, bus messages), and
 * as the key of L1's map. L1 is keyed by the raw id, so that a hit builds no string; and because an
 * id also comes in as text, '42', 42 and 42n are one key: a number wherever the text is just what
 * JavaScript prints for that number, else the text.
 */
import { describe } from './duration.ts'
import { LockstepError } from './errors.ts'

export type PrimitiveId = number | string | bigint

/** The key of one id in a region of L1. */
export type L1Key = number | string

/** Redis keys and outbox rows carry the id, so it has a bound. */
export const longestIdText = 512

/** The L1 key of an id's text. */
export function keyOfText(text: string): L1Key {
  const first = text.charCodeAt(0)
  // Digits and '-' only: 'Infinity' and 'NaN' as strings stay strings, and words cost one comparison.
  if (first > 57 || (first < 48 && first !== 45)) return text
  const number = Number(text)
  return String(number) === text && Number.isFinite(number) ? number : text
}

/** The L1 key of a primitive id; throws `ID_INVALID` for what cannot be one. */
export function keyOfPrimitive(entity: string, id: unknown): L1Key {
  switch (typeof id) {
    case 'number':
      if (Number.isFinite(id)) return id
      break
    case 'string':
      if (isIdText(id)) return keyOfText(id)
      break
    case 'bigint': {
      const text = id.toString()
      if (isIdText(text)) return keyOfText(text)
      break
    }
    default:
  }
  throw invalidId(entity, id)
}

/** The L1 key of an id for which the entity has an `idToString`. */
export function keyOfComposite(
  entity: string,
  id: unknown,
  idToString: (id: never) => string,
): L1Key {
  let text: unknown
  try {
    text = idToString(id as never)
  } catch (cause) {
    throw invalidId(entity, id, cause)
  }
  if (typeof text !== 'string' || !isIdText(text)) throw invalidId(entity, id)
  return keyOfText(text)
}

/**
 * Can this be the text of an id? PostgreSQL's text has no NUL, and a lone surrogate would become
 * U+FFFD in Redis: two ids, one key.
 */
export function isIdText(text: string): boolean {
  return (
    text.length > 0 && text.length <= longestIdText && !text.includes('\0') && text.isWellFormed()
  )
}

function invalidId(entity: string, id: unknown, cause?: unknown): LockstepError {
  const length = typeof id === 'string' && id.length > 60 ? ` (${id.length} characters)` : ''
  return new LockstepError(
    'ID_INVALID',
    `${describe(id)}${length} is no id of entity "${entity}"; a finite number, a bigint or a string of 1 to ${longestIdText} well-formed characters would do, or an idToString() that returns one`,
    cause === undefined ? undefined : { cause },
  )
}
