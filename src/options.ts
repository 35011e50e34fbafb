/** Checks the options of `lockstep` once, at the start; each error names the option, the value, and what would do. */
import { type KafkaSettings, settleKafka } from './kafka/options.ts'
import { type Clock, systemClock } from './model/clock.ts'
import { settleTiming, type TimingMs } from './model/defaults.ts'
import { type AnyEntity, isPlainObject, wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import { checkFlagName, type FlagName } from './model/flags.ts'
import { type Logger, silent } from './model/log.ts'
import { redacting } from './model/redact.ts'
import { type SloRuleMs, settleSlo } from './operations/slo.ts'
import type { PostgresOptions, PostgresPlace, PostgresPlaces } from './postgres/pool.ts'
import { type PrometheusSettings, settlePrometheus } from './prometheus/options.ts'
import { type HopsSettings, settleHops } from './resilience/hop-settings.ts'
import type { LimitRange, LockstepOptions } from './types.ts'

export interface Settings {
  readonly namespace: string
  /** `undefined`: every instance tails the outbox. */
  readonly kafka: KafkaSettings | undefined
  /** `undefined`: breakers go by what this process sees. */
  readonly prometheus: PrometheusSettings | undefined
  readonly postgres: Required<PostgresPlaces>
  readonly entities: readonly AnyEntity[]
  readonly timing: TimingMs
  readonly hops: HopsSettings
  readonly maxConcurrentLoads: number | LimitRange
  readonly onFenceFailure: 'proceed' | 'reject'
  /** What this process applies whatever is set. */
  readonly flagOverride: readonly FlagName[]
  readonly slo: readonly SloRuleMs[]
  readonly log: Logger
  readonly clock: Clock
  /** From 0 to 1: spreads ttls and retries. */
  readonly random: () => number
}

const defaultConcurrentLoads = 8
const namespacePattern = /^[a-z0-9][a-z0-9_.:-]{0,63}$/i
const known: ReadonlySet<string> = new Set<keyof LockstepOptions<Record<string, AnyEntity>>>([
  'namespace',
  'postgres',
  'redis',
  'kafka',
  'prometheus',
  'entities',
  'logger',
  'timing',
  'hops',
  'maxConcurrentLoads',
  'onFenceFailure',
  'flags',
  'slo',
  'clock',
])
/** Names that the cache has for itself. */
const taken: ReadonlySet<string> = new Set([
  'write',
  'invalidate',
  'on',
  'metrics',
  'flags',
  'health',
  'stats',
  'close',
  'then',
])

export function settle(
  options: LockstepOptions<Record<string, AnyEntity>>,
  leastEntities = 1,
): Settings {
  if (options === null || typeof options !== 'object') {
    throw wrong('options', options, 'an object with namespace, postgres and entities would do')
  }
  for (const key of Object.keys(options)) {
    if (!known.has(key)) throw unknown(key, `one of ${[...known].join(', ')} would do`)
  }
  const {
    namespace,
    maxConcurrentLoads = defaultConcurrentLoads,
    onFenceFailure = 'proceed',
  } = options
  checkNamespace(namespace)
  if (options.redis !== undefined && !options.redis) {
    throw wrong(
      'redis',
      options.redis,
      'a URL, ioredis options, { cluster: [{ host, port }] } or an ioredis instance would do; leave it out to run without Redis',
    )
  }
  if (options.kafka !== undefined && !options.kafka) {
    throw unknown('kafka', 'leave it out to run without Kafka')
  }
  if (options.prometheus !== undefined && !options.prometheus) {
    throw unknown('prometheus', 'leave it out to run without Prometheus')
  }
  if (onFenceFailure !== 'proceed' && onFenceFailure !== 'reject') {
    throw wrong('onFenceFailure', onFenceFailure, "'proceed' or 'reject' would do")
  }
  return {
    namespace,
    kafka: options.kafka === undefined ? undefined : settleKafka(options.kafka, namespace),
    prometheus: options.prometheus === undefined ? undefined : settlePrometheus(options.prometheus),
    postgres: checkPostgres(options.postgres),
    entities: checkEntities(options.entities, leastEntities),
    timing: settleTiming(options.timing ?? {}),
    hops: settleHops(options.hops ?? {}),
    maxConcurrentLoads: checkLimit(maxConcurrentLoads),
    onFenceFailure,
    flagOverride: settleOverride(options.flags),
    slo: settleSlo(options.slo),
    log: options.logger === undefined ? silent : redacting(options.logger),
    clock: options.clock ?? systemClock,
    random: Math.random,
  }
}

function settleOverride(flags: LockstepOptions<never>['flags'] = {}): readonly FlagName[] {
  const wouldDo = "{ override: ['l2.bypass'] } would do"
  if (!isPlainObject(flags)) throw wrong('flags', flags, wouldDo)
  const { override = [], ...others } = flags
  for (const [key, value] of Object.entries(others)) throw wrong(`flags.${key}`, value, wouldDo)
  if (!Array.isArray(override)) throw wrong('flags.override', override, wouldDo)
  return [...new Set(override.map((name) => checkFlagName('flags.override', name)))]
}

export function checkNamespace(namespace: unknown): void {
  if (typeof namespace === 'string' && namespacePattern.test(namespace)) return
  const wouldDo = "a name of up to 64 letters, digits and _.:- like 'shop' would do"
  throw wrong('namespace', namespace, wouldDo)
}

const placesWouldDo = 'a URL, a connection object or a Knex instance would do'

/** One server is a primary without replicas. */
function checkPostgres(options: PostgresOptions): Required<PostgresPlaces> {
  if (!options) throw wrong('postgres', options, placesWouldDo)
  if (!isPlainObject(options) || !('primary' in options || 'replicas' in options)) {
    return { primary: options as PostgresPlace, replicas: [] }
  }
  const { primary, replicas = [], ...others } = options as PostgresPlaces
  for (const key of Object.keys(others)) {
    throw unknown(`postgres.${key}`, 'primary and replicas, and nothing else, would do')
  }
  if (!primary) throw wrong('postgres.primary', primary, placesWouldDo)
  if (!Array.isArray(replicas)) {
    throw wrong(
      'postgres.replicas',
      replicas,
      'an array of URLs, connection objects or Knex instances would do',
    )
  }
  for (const [index, one] of replicas.entries()) {
    if (!one) throw wrong(`postgres.replicas[${index}]`, one, placesWouldDo)
  }
  return { primary, replicas }
}

function checkLimit(limit: unknown): number | LimitRange {
  const isCount = (value: unknown): value is number =>
    Number.isSafeInteger(value) && (value as number) > 0
  if (isCount(limit)) return limit
  if (!isPlainObject(limit)) {
    const wouldDo = 'a whole number above 0, or { least, most } would do'
    throw wrong('maxConcurrentLoads', limit, wouldDo)
  }
  const { least, most, ...others } = limit as LimitRange
  for (const key of Object.keys(others)) {
    throw unknown(`maxConcurrentLoads.${key}`, 'least and most would do')
  }
  for (const [key, value] of Object.entries({ least, most })) {
    if (isCount(value)) continue
    throw wrong(`maxConcurrentLoads.${key}`, value, 'a whole number above 0 would do')
  }
  if (most >= least) return { least, most }
  throw wrong('maxConcurrentLoads.most', most, `at least ${least}, its least, would do`)
}

/** Without its value, which may be a password. */
function unknown(option: string, wouldDo: string): LockstepError {
  return new LockstepError('OPTION_INVALID', `option "${option}" is not known; ${wouldDo}`)
}

function checkEntities(entities: Record<string, AnyEntity>, least: number): readonly AnyEntity[] {
  if (entities === null || typeof entities !== 'object' || Object.keys(entities).length < least) {
    throw wrong('entities', entities, 'an object with at least one entity() would do')
  }
  for (const [key, one] of Object.entries(entities)) {
    if (typeof one?.keyOf !== 'function')
      throw wrong(`entities.${key}`, one, 'what entity() returns would do')
    if (taken.has(key))
      throw wrong(`entities.${key}`, key, `a name other than ${[...taken].join(', ')} would do`)
  }
  const all = Object.values(entities)
  const names = all.map(({ name }) => name)
  for (const name of names) {
    // 'user:profile' with id 7 and 'user' with id 'profile:7' would be one key in Redis.
    const clash = names.find((other) => other.startsWith(`${name}:`))
    if (clash) throw wrong('entities', clash, `a name that doesn't begin with "${name}:" would do`)
  }
  if (new Set(names).size < names.length) {
    throw wrong('entities', names.join(', '), 'names that differ would do')
  }
  return all
}
