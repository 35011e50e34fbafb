/** The option `prometheus` of the front door, checked once; its secrets reach no error and no log. */
import { type Duration, durationMs } from '../model/duration.ts'
import { isPlainObject, wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import { longestHoldMs } from '../model/fleet.ts'

export type PrometheusOptions = string | PrometheusPlace

export interface PrometheusPlace {
  /** Where its HTTP API is: `http://prometheus:9090`, with the path that it is served under. */
  readonly url: string
  /** Basic authentication; or in the URL. */
  readonly username?: string
  /** With `username`. */
  readonly password?: string
  /** Certificates to trust, as PEM, instead of those that Node trusts. */
  readonly ca?: string | Buffer
  /** PromQL of one's own: a vector of error ratios (0 to 1) with the label `hop`, and on a cluster `node`. */
  readonly query?: string
  /** How often it is asked (default 10 s). */
  readonly interval?: Duration
  /** Deadline of one question (default 2 s). */
  readonly deadline?: Duration
  /**
   * How long a hop is held back by one answer, and is not again for as long after that (default 60 s).
   * Not shorter than what the query looks back at.
   */
  readonly holdFor?: Duration
}

export interface PrometheusSettings {
  /** Without user and password; ends in a slash. */
  readonly url: URL
  readonly authorization: string | undefined
  readonly ca: string | Buffer | undefined
  readonly query: string | undefined
  readonly intervalMs: number
  readonly deadlineMs: number
  readonly holdForMs: number
}

const known = [
  'url',
  'username',
  'password',
  'ca',
  'query',
  'interval',
  'deadline',
  'holdFor',
] as const
const urlWouldDo = 'a URL like http://prometheus:9090 would do'
const leastIntervalMs = 100
const leastDeadlineMs = 10
const leastHoldMs = 100
const longestQuery = 8_192

/** Throws `OPTION_INVALID`. */
export function settlePrometheus(options: PrometheusOptions): PrometheusSettings {
  if (typeof options === 'string') return settle({ url: options }, 'prometheus')
  if (!isPlainObject(options)) throw refused('prometheus', `${urlWouldDo}, or an object with url`)
  for (const name of Object.keys(options)) {
    if ((known as readonly string[]).includes(name)) continue
    throw refused(`prometheus.${name}`, `it is not known; one of ${known.join(', ')} would do`)
  }
  return settle(options, 'prometheus.url')
}

function settle(options: PrometheusPlace, urlOption: string): PrometheusSettings {
  const { ca, query, interval = '10s', deadline = '2s', holdFor = '60s' } = options
  const { url, username, password } = checkUrl(options, urlOption)
  if (ca !== undefined && !((typeof ca === 'string' || Buffer.isBuffer(ca)) && ca.length > 0)) {
    throw refused('prometheus.ca', 'certificates as PEM would do')
  }
  if (ca !== undefined && url.protocol !== 'https:') {
    throw refused('prometheus.ca', 'with a URL that begins with https: it would do')
  }
  if (query !== undefined && !isText(query, longestQuery)) {
    throw wrong('prometheus.query', query, `PromQL of up to ${longestQuery} characters would do`)
  }
  return {
    url,
    authorization: username === '' && password === '' ? undefined : basic(username, password),
    ca,
    query,
    intervalMs: atLeast('prometheus.interval', interval, leastIntervalMs),
    deadlineMs: atLeast('prometheus.deadline', deadline, leastDeadlineMs),
    holdForMs: holdMs(holdFor),
  }
}

function checkUrl(options: PrometheusPlace, urlOption: string) {
  const { url: text, username, password } = options
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) throw refused(urlOption, urlWouldDo)
  for (const [name, value] of Object.entries({ username, password })) {
    if (value === undefined || isText(value, 1_024)) continue
    throw refused(`prometheus.${name}`, 'a text would do')
  }
  const isInUrl = url.username !== '' || url.password !== ''
  if (isInUrl && (username !== undefined || password !== undefined)) {
    throw refused('prometheus.username', 'it stands in the URL as well; one of the two would do')
  }
  if (password !== undefined && username === undefined) {
    throw refused('prometheus.password', 'prometheus.username beside it would do')
  }
  const inUrl = { username: decoded(url.username), password: decoded(url.password) }
  if (inUrl.username === undefined || inUrl.password === undefined) {
    throw refused(urlOption, 'a user and a password with %XX for special characters would do')
  }
  const given = isInUrl ? (inUrl as { username: string; password: string }) : undefined
  const who = given ?? { username: username ?? '', password: password ?? '' }
  // RFC 7617: what follows the first colon is the password.
  if (who.username.includes(':')) throw refused('prometheus.username', 'one without ":" would do')
  url.username = ''
  url.password = ''
  url.search = ''
  url.hash = ''
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return { url, ...who }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

function holdMs(holdFor: Duration): number {
  const ms = atLeast('prometheus.holdFor', holdFor, leastHoldMs)
  if (ms <= longestHoldMs) return ms
  throw wrong('prometheus.holdFor', holdFor, `at most ${longestHoldMs} ms would do`)
}

function atLeast(option: string, value: Duration, leastMs: number): number {
  const ms = durationMs(option, value)
  if (ms >= leastMs) return ms
  throw wrong(option, value, `at least ${leastMs} ms would do`)
}

const isText = (value: unknown, most: number): boolean =>
  typeof value === 'string' && value.length > 0 && value.length <= most

/** Without the value, which may be a password. */
function refused(option: string, why: string): LockstepError {
  return new LockstepError('OPTION_INVALID', `option "${option}": ${why}`)
}
