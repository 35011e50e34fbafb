/** What a user may say of a hop, with the defaults of each, checked once. */
import { type Duration, durationMs } from '../model/duration.ts'
import { isPlainObject, wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'

export interface HopOptions {
  /** Tries after the first (default: `l2` 3, of the second delete; `source` 2, of a load; `bus` 1). */
  retries?: number
  /** Above this share of failed calls the breaker opens (default 0.5). */
  errorRatio?: number
  /** Fewer calls in the window open nothing (default 5). */
  leastCalls?: number
  /** How far back calls are looked at (default 5 s). */
  window?: Duration
  /** How long the breaker stays open at first, before calls try again (default 1 s). */
  openFor?: Duration
  /** It doubles each time, up to this (default 10 s). */
  openForAtMost?: Duration
  /** How many calls try at once while it is half-open (default 3); `l2` tries by itself instead. */
  probes?: number
  /** How many of them must be answered, and none fail, before more are let through (default 3). */
  successes?: number
  /** From a tenth of the calls to all of them takes so long then (default 2 s). */
  rampUp?: Duration
  /**
   * What to do for a while (`prometheus.holdFor`) when Prometheus says that too many calls of all instances fail: `open`
   * (default of `l2` and `bus`) makes none, `limit` (default of `source`) as many as `probes` at once,
   * `off` nothing.
   */
  fleet?: 'open' | 'limit' | 'off'
}

/** Options of each hop by its name: Redis, PostgreSQL, Kafka. */
export interface HopsOptions {
  /** Redis; on a cluster each of its nodes. */
  l2?: HopOptions
  /** PostgreSQL: loads, and the beginning of transactions. */
  source?: HopOptions
  /** Publishing to Kafka. */
  bus?: HopOptions
}

export type HopName = keyof HopsOptions
export const hopNames = ['l2', 'source', 'bus'] as const satisfies readonly HopName[]

/** When a breaker opens, and how it comes back. */
export interface BreakerSettings {
  readonly errorRatio: number
  readonly leastCalls: number
  readonly windowMs: number
  readonly openForMs: number
  readonly openForAtMostMs: number
  readonly probes: number
  readonly successes: number
  readonly rampUpMs: number
}

interface HopSettings extends BreakerSettings {
  readonly retries: number
  readonly fleet: 'open' | 'limit' | 'off'
}

export type HopsSettings = Readonly<Record<HopName, HopSettings>>

export const breakerDefaults: BreakerSettings = {
  errorRatio: 0.5,
  leastCalls: 5,
  windowMs: 5_000,
  openForMs: 1_000,
  openForAtMostMs: 10_000,
  probes: 3,
  successes: 3,
  rampUpMs: 2_000,
}

/** Nobody stands in for the source: a hop without a substitute is slowed down, not cut off. */
export const hopDefaults: HopsSettings = {
  l2: { ...breakerDefaults, retries: 3, fleet: 'open' },
  source: { ...breakerDefaults, retries: 2, fleet: 'limit' },
  bus: { ...breakerDefaults, retries: 1, fleet: 'open' },
}

const mostRetries = 10
const mostCalls = 1_000_000
const known = [
  'retries',
  'errorRatio',
  'leastCalls',
  'window',
  'openFor',
  'openForAtMost',
  'probes',
  'successes',
  'rampUp',
  'fleet',
] as const satisfies readonly (keyof HopOptions)[]

/** Throws `OPTION_INVALID`. */
export function settleHops(options: HopsOptions = {}): HopsSettings {
  checkKnown('hops', options, hopNames)
  return {
    l2: settleHop('l2', options.l2),
    source: settleHop('source', options.source),
    bus: settleHop('bus', options.bus),
  }
}

function settleHop(name: HopName, options: HopOptions = {}): HopSettings {
  const option = (key: string): string => `hops.${name}.${key}`
  checkKnown(`hops.${name}`, options, known)
  const defaults = hopDefaults[name]
  const count = (key: 'retries' | 'leastCalls' | 'probes' | 'successes', least: number): number => {
    const most = key === 'retries' ? mostRetries : mostCalls
    const value = options[key] ?? defaults[key]
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value
    throw wrong(option(key), value, `a whole number from ${least} to ${most} would do`)
  }
  const ms = (key: 'window' | 'openFor' | 'openForAtMost' | 'rampUp', least: number): number => {
    const value = options[key]
    const settled = value === undefined ? defaults[`${key}Ms`] : durationMs(option(key), value)
    if (settled >= least) return settled
    throw wrong(option(key), value, `at least ${least} ms would do`)
  }
  const { errorRatio = defaults.errorRatio, fleet = defaults.fleet } = options
  if (!(typeof errorRatio === 'number' && errorRatio > 0 && errorRatio < 1)) {
    throw wrong(option('errorRatio'), errorRatio, 'a number between 0 and 1 would do')
  }
  if (fleet !== 'open' && fleet !== 'limit' && fleet !== 'off') {
    throw wrong(option('fleet'), fleet, "'open', 'limit' or 'off' would do")
  }
  const openForMs = ms('openFor', 10)
  return {
    retries: count('retries', 0),
    errorRatio,
    leastCalls: count('leastCalls', 1),
    windowMs: ms('window', 100),
    openForMs,
    // Who asks for a long pause at first does not mean a shorter one later.
    openForAtMostMs: Math.max(openForMs, ms('openForAtMost', 10)),
    probes: count('probes', 1),
    successes: count('successes', 1),
    rampUpMs: ms('rampUp', 0),
    fleet,
  }
}

function checkKnown(option: string, options: unknown, names: readonly string[]): void {
  if (!isPlainObject(options)) {
    throw wrong(option, options, `an object with ${names.join(', ')} would do`)
  }
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue
    throw new LockstepError(
      'OPTION_INVALID',
      `option "${option}.${name}" is not known; one of ${names.join(', ')} would do`,
    )
  }
}
