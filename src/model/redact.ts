/**
 * What may be shown of what came from elsewhere. Messages of clients, options and answers of servers can
 * hold a URL with its password, so whatever is logged goes through here, by one rule: rather a word
 * too few than a secret. A password that stands alone, without a word that says what it is, can't be known.
 */
import type { Logger } from './log.ts'
import { wrong } from './wrong.ts'

const hidden = '***'
/** Longer texts are cut before they are looked through. */
const longestText = 16_384
const mostDepth = 6
const mostItems = 100
/** Of all depths together: objects that know each other have a way through them for each order. */
const mostValues = 1_000

// Each pattern has to be done in one go: what it looks for is looked for in texts that others have made.

const scheme = /[a-z][a-z0-9+.-]{0,30}:\/\//i
/** Without a scheme, as it stands in lists of hosts. */
const beforeHost = /(^|[\s"'(,=])[^\s"'(,=:/@]+:[^\s@/]{1,512}@(?=[\w.[-])/g
/** The end of a name: what stands before stays as it is. */
const named = '(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key)'
/** As libpq and query strings have it. */
const assigned = new RegExp(`(${named}=)(?:"[^"]*(?:"|$)|'[^']*(?:'|$)|[^\\s&,;)}\\]]+)`, 'gi')
/** As JSON and `inspect` have it; one that was cut has no end. */
const quoted = new RegExp(
  String.raw`(${named}["']?\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|$)|'(?:[^'\\]|\\.)*(?:'|$))`,
  'gi',
)
/** Of HTTP; encoded credentials have a digit, a capital or a sign. */
const credentials = /\b([Bb]asic|[Bb]earer) +(?=\S*[\dA-Z+/=])[\w+/=.~-]{6,}/g
const header = /(authorization["']?\s*[:=]\s*["']?)(?:(?:basic|bearer) +)?[^\s"',}]+/gi
/** Of TLS; one that was cut has no end. */
const privateKey =
  /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g
const secretKey =
  /passw|passphrase|^pass$|^auth$|pwd|secret|token|authori[sz]ation|sasl|connection.?string|credential|api.?key|cookie/i

/** The text without what may be a password in it. */
export function redactText(text: string): string {
  return withoutRest(text)
    .replace(privateKey, hidden)
    .replace(/\S+/g, withoutUser)
    .replace(beforeHost, `$1${hidden}@`)
    .replace(assigned, `$1${hidden}`)
    .replace(quoted, `$1${hidden}`)
    .replace(header, `$1${hidden}`)
    .replace(credentials, `$1 ${hidden}`)
}

/** Up to the last `@`: passwords are written with every character that a URL would want escaped. */
function withoutUser(word: string): string {
  const at = word.lastIndexOf('@')
  const found = at < 0 ? null : scheme.exec(word.slice(0, at))
  if (!found) return word
  return `${word.slice(0, found.index + found[0].length)}${hidden}${word.slice(at)}`
}

/** A word that is cut in two may be half of a URL. */
function withoutRest(text: string): string {
  return text.length > longestText ? text.slice(0, longestText).replace(/\S*$/, '…') : text
}

/** A copy to be logged: by the names of its fields, and by what its texts look like, at any depth. */
export function redact(value: unknown): unknown {
  return copyOf(value, 0, { left: mostValues })
}

/** How many more values are looked at. */
interface Room {
  left: number
}

function copyOf(value: unknown, depth: number, room: Room): unknown {
  if (--room.left < 0) return '…'
  if (typeof value === 'string') return redactText(value)
  if (typeof value === 'function') return undefined
  // JSON has none.
  if (typeof value === 'bigint') return String(value)
  if (value === null || typeof value !== 'object') return value
  if (value instanceof Date) return value
  if (depth >= mostDepth) return Array.isArray(value) ? '[…]' : '{…}'
  if (value instanceof Error) return copyOfError(value, depth, room)
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`
  if (value instanceof URL) return redactText(value.href)
  if (Array.isArray(value)) {
    return value.slice(0, mostItems).map((item: unknown) => copyOf(item, depth + 1, room))
  }
  const fields = Object.entries(value).slice(0, mostItems)
  return Object.fromEntries(
    fields.map(([name, field]) => [
      name,
      secretKey.test(name) && field !== undefined ? hidden : copyOf(field, depth + 1, room),
    ]),
  )
}

/** Of an error only what says what happened: clients hang commands, options and sockets on theirs. */
function copyOfError(error: Error, depth: number, room: Room): Error {
  const { name, message, stack, cause } = error
  const { code, errors } = error as { readonly code?: unknown; readonly errors?: unknown }
  const shown: Record<string, unknown> = {
    name,
    message: redactText(String(message)),
    stack: typeof stack === 'string' ? redactText(stack) : undefined,
    code: typeof code === 'string' ? redactText(code) : typeof code === 'number' ? code : undefined,
    cause: cause === undefined ? undefined : copyOf(cause, depth + 1, room),
    errors: Array.isArray(errors) ? copyOf(errors, depth + 1, room) : undefined,
  }
  // Its class is told by some loggers.
  const copy: Error = Object.create(Object.getPrototypeOf(error) as object)
  for (const [key, value] of Object.entries(shown)) {
    if (value === undefined) continue
    Object.defineProperty(copy, key, {
      value,
      configurable: true,
      writable: true,
      enumerable: key === 'code',
    })
  }
  return copy
}

const levels = ['debug', 'info', 'warn', 'error'] as const

/** A logger that passes on nothing but what may be shown. Throws `OPTION_INVALID`. */
export function redacting(logger: Logger): Logger {
  const isLogger =
    (typeof logger === 'object' || typeof logger === 'function') &&
    logger !== null &&
    levels.every((level) => typeof logger[level] === 'function')
  if (!isLogger) throw wrong('logger', logger, `an object with ${levels.join(', ')} would do`)
  const log =
    (level: (typeof levels)[number]) =>
    (details: object, message: string): void =>
      logger[level](shownOf(details), redactText(message))
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
}

/** Anything can be thrown, also what throws when it is looked at. */
function shownOf(details: object): object {
  try {
    return redact(details) as object
  } catch {
    return { details: 'they cannot be shown' }
  }
}
