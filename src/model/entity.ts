import { type Bloom, type BloomOptions, settleBloom } from './bloom-option.ts'
import type { Codec } from './codec.ts'
import { defaultCodec } from './codec.ts'
import { entityDefaults } from './defaults.ts'
import { type Duration, durationMs } from './duration.ts'
import { keyOfComposite, keyOfPrimitive, type L1Key } from './id.ts'
import { isPlainObject, wrong } from './wrong.ts'

export { isPlainObject, wrong } from './wrong.ts'

/** What a loader gets beside the ids. */
export interface LoadContext<Db> {
  /** Reads the source; its snapshot is known, so use it and not a connection of your own. */
  readonly db: Db
  /** Aborted when the load's deadline is over or the cache closes. */
  readonly signal: AbortSignal
}

export interface EntityOptions<Id, Value, Db> {
  /**
   * Rows for the ids, in any order; an id without a row does not exist. Ids that are asked for in
   * one turn of the event loop come in one call. May be called again after a retryable error.
   */
  load(ids: Id[], context: LoadContext<Db>): PromiseLike<readonly (Value | null | undefined)[]>
  /** The id of a row. */
  id(row: Value): Id
  /** An id as text, the same text for the same id; ids that are objects need it. */
  idToString?(id: Id): string
  /** How long a value counts as fresh (default 10 min), give or take a tenth. */
  ttl?: Duration
  /** How long after its ttl a value may still be served while it is loaded anew (default 1 min). */
  grace?: Duration
  /**
   * The same while flag `serve.stale` is set, and then without a load (default 1 h, or `grace` where
   * that is longer). What is filled without the flag leaves Redis when `grace` is over.
   */
  staleGrace?: Duration
  /**
   * A read that finds a value past its ttl first waits so long for the load, and then answers it as it
   * is, or as soon as the load fails; the load goes on behind (default: it is answered at once).
   */
  softTimeout?: Duration
  /** Deadline of a read that says none itself; longer than `softTimeout` (default: `timing.readDeadline`). */
  hardTimeout?: Duration
  /** The ttl of "does not exist" (default 30 s). */
  negativeTtl?: Duration
  /** Counts up when the shape of the values changes: other versions are other keys in Redis (default 1). */
  version?: number
  /**
   * When a hit loads a value anew that is still fresh, behind its answer. `probabilistic` (default):
   * near its end, the earlier the longer loads take; a number between 0 and 1: after that share of
   * the ttl; `false`: never.
   */
  refreshAhead?: 'probabilistic' | number | false
  /** `frozen` (default): all callers share one deeply frozen value. `cloned`: each gets a copy. `shared`: nobody checks. */
  values?: 'frozen' | 'cloned' | 'shared'
  /** The rows that a write's callback returns are what `load` would return: they go to Redis at once (default false). */
  writeThrough?: boolean
  /**
   * Others write its table with SQL of their own (default false): where it isn't proven that Redis has
   * been told of their writes, its values are loaded instead of answered from there.
   */
  foreignWrites?: boolean
  /** `repeatable read`: a load of several queries sees one snapshot, in a transaction of its own. */
  isolation?: 'read committed' | 'repeatable read'
  /** At most this many ids in one call of `load` (default 1,000). */
  maxBatch?: number
  /** A value of more bytes is returned but not cached; each process loads it for itself (default 1 MiB). */
  maxValueBytes?: number
  /** Values of more bytes than `above` (default 16 KiB) are compressed in Redis, where that saves a tenth. `false`: none is. */
  compress?: { above?: number } | false
  /**
   * At most so many keys a minute are cached by this process that were not before (default 1,000,000):
   * beyond, they are loaded and answered, and cached nowhere.
   */
  maxNewKeysPerMinute?: number
  /** The bounds of this entity in one process. */
  l1?: { maxEntries?: number; maxBytes?: number }
  /**
   * Ids that an instance reads more often than `threshold` times a second (default 200) are kept in the
   * L1 of every instance, and loaded anew by one of them (docs/hot-keys.md). `false`: nobody counts.
   */
  hotKeys?: false | { threshold?: number }
  /** How values become bytes. */
  codec?: Codec
  /**
   * A Bloom filter of the ids that exist: reads of others are answered without the source
   * (docs/bloom.md). Without Redis it does nothing.
   */
  bloom?: BloomOptions<NoInfer<Id>, NoInfer<Db>>
}

/** Ids that are objects need an `idToString`. */
export interface CompositeOptions<Id, Value, Db> extends EntityOptions<Id, Value, Db> {
  idToString(id: Id): string
}

/** A named kind of cached thing, with every option settled. */
export interface Entity<Name extends string = string, Id = unknown, Value = unknown, Db = unknown> {
  readonly name: Name
  readonly load: (
    ids: Id[],
    context: LoadContext<Db>,
  ) => PromiseLike<readonly (Value | null | undefined)[]>
  readonly idOf: (row: Value) => Id
  readonly keyOf: (id: Id) => L1Key
  readonly ttlMs: number
  readonly graceMs: number
  readonly staleGraceMs: number
  /** 0: nobody waits. */
  readonly softTimeoutMs: number
  /** `undefined`: `timing.readDeadline`. */
  readonly hardTimeoutMs: number | undefined
  readonly negativeTtlMs: number
  readonly version: number
  readonly refreshAhead: 'probabilistic' | number | false
  readonly values: 'frozen' | 'cloned' | 'shared'
  readonly writeThrough: boolean
  readonly foreignWrites: boolean
  readonly isolation: 'read committed' | 'repeatable read'
  readonly maxBatch: number
  readonly maxValueBytes: number
  /** Infinity: nothing is compressed. */
  readonly compressAboveBytes: number
  readonly maxNewKeysPerMinute: number
  readonly maxEntries: number
  readonly maxBytes: number
  /** Reads a second, in one instance. */
  readonly hotKeys: false | { readonly threshold: number }
  readonly codec: Codec
  readonly bloom: Bloom | undefined
}

// biome-ignore lint/suspicious/noExplicitAny: an entity of any types, where only its shape counts.
export type AnyEntity = Entity<string, any, any, any>

/** PostgreSQL's integer. */
const largestVersion = 2 ** 31 - 1
/** What is remembered of them takes a byte each. */
const mostNewKeys = 100_000_000
const namePattern = /^[a-z][a-z0-9_-]*(?::[a-z0-9_-]+)*$/i

export function defineEntity<Name extends string, Id, Value, Db>(
  name: Name,
  options: EntityOptions<Id, Value, Db>,
): Entity<Name, Id, Value, Db> {
  checkEntityName('entity name', name)
  const option = (key: string): string => `${name}.${key}`
  checkShape(name, option, options)
  const { idToString } = options
  if (idToString !== undefined && typeof idToString !== 'function') {
    throw wrong(option('idToString'), idToString, 'a function would do')
  }
  const count = (key: string, value: unknown, fallback: number): number => {
    if (value === undefined) return fallback
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number
    throw wrong(option(key), value, 'a whole number above 0 would do')
  }
  const oneOf = <const T>(key: string, value: T | undefined, all: readonly T[]): T => {
    if (value === undefined) return all[0] as T
    if (all.includes(value)) return value
    throw wrong(option(key), value, `${all.map((one) => `'${one}'`).join(' or ')} would do`)
  }
  checkL1(option, options.l1)
  const { codec = defaultCodec } = options
  if (typeof codec?.encode !== 'function' || typeof codec.decode !== 'function') {
    throw wrong(option('codec'), codec, 'an object with encode and decode would do')
  }
  const version = count('version', options.version, entityDefaults.version)
  if (version > largestVersion) {
    throw wrong(option('version'), version, `at most ${largestVersion} would do`)
  }
  const maxNewKeysPerMinute = count(
    'maxNewKeysPerMinute',
    options.maxNewKeysPerMinute,
    entityDefaults.maxNewKeysPerMinute,
  )
  if (maxNewKeysPerMinute > mostNewKeys) {
    throw wrong(
      option('maxNewKeysPerMinute'),
      maxNewKeysPerMinute,
      `at most ${mostNewKeys} would do`,
    )
  }
  const settled: Entity<Name, Id, Value, Db> = {
    name,
    load: options.load.bind(options),
    idOf: options.id.bind(options),
    keyOf: idToString
      ? (id: Id) => keyOfComposite(name, id, idToString)
      : (id: Id) => keyOfPrimitive(name, id),
    ttlMs: durationMs(option('ttl'), options.ttl ?? entityDefaults.ttl),
    ...gracesOf(option, options),
    negativeTtlMs: durationMs(
      option('negativeTtl'),
      options.negativeTtl ?? entityDefaults.negativeTtl,
    ),
    version,
    refreshAhead: refreshAheadOf(option('refreshAhead'), options.refreshAhead),
    values: oneOf('values', options.values, ['frozen', 'cloned', 'shared']),
    writeThrough: oneOf('writeThrough', options.writeThrough, [false, true]),
    foreignWrites: oneOf('foreignWrites', options.foreignWrites, [false, true]),
    isolation: oneOf('isolation', options.isolation, ['read committed', 'repeatable read']),
    maxBatch: count('maxBatch', options.maxBatch, entityDefaults.maxBatch),
    maxValueBytes: count('maxValueBytes', options.maxValueBytes, entityDefaults.maxValueBytes),
    compressAboveBytes: compressAbove(option, options.compress),
    maxNewKeysPerMinute,
    maxEntries: count('l1.maxEntries', options.l1?.maxEntries, entityDefaults.maxEntries),
    maxBytes: count('l1.maxBytes', options.l1?.maxBytes, entityDefaults.maxBytes),
    hotKeys: hotKeysOf(option, options.hotKeys),
    codec,
    bloom:
      options.bloom === undefined
        ? undefined
        : settleBloom(option('bloom'), options.bloom, idToString !== undefined),
  }
  return Object.freeze(settled)
}

/** An object of known options, with the two functions that no entity is without. */
function checkShape(name: string, option: (key: string) => string, options: unknown): void {
  if (options === null || typeof options !== 'object') {
    throw wrong(`entity "${name}"`, options, 'an object with load and id would do')
  }
  for (const key of Object.keys(options)) {
    if (knownOptions.has(key)) continue
    throw wrong(
      option(key),
      (options as never)[key],
      `one of ${[...knownOptions].join(', ')} would do`,
    )
  }
  for (const key of ['load', 'id'] as const) {
    const value = (options as Partial<Record<typeof key, unknown>>)[key]
    if (typeof value !== 'function') throw wrong(option(key), value, 'a function would do')
  }
}

export function isEntityName(name: unknown): name is string {
  return typeof name === 'string' && name.length <= 64 && namePattern.test(name)
}

/** Throws `OPTION_INVALID` for what can't be the name of an entity. */
export function checkEntityName(option: string, name: unknown): void {
  if (isEntityName(name)) return
  throw wrong(option, name, "a name like 'city' or 'user:profile' would do")
}

type Graces = Pick<Entity, 'graceMs' | 'staleGraceMs' | 'softTimeoutMs' | 'hardTimeoutMs'>

function gracesOf(
  option: (key: string) => string,
  {
    grace = entityDefaults.grace,
    staleGrace,
    softTimeout,
    hardTimeout,
  }: Pick<EntityOptions<0, 0, 0>, 'grace' | 'staleGrace' | 'softTimeout' | 'hardTimeout'>,
): Graces {
  const graceMs = durationMs(option('grace'), grace)
  const staleGraceMs =
    staleGrace === undefined
      ? Math.max(graceMs, durationMs(option('staleGrace'), entityDefaults.staleGrace))
      : durationMs(option('staleGrace'), staleGrace)
  if (staleGraceMs < graceMs) {
    throw wrong(option('staleGrace'), staleGrace, `at least the grace, ${graceMs} ms, would do`)
  }
  const softTimeoutMs =
    softTimeout === undefined ? 0 : durationMs(option('softTimeout'), softTimeout)
  const hardTimeoutMs =
    hardTimeout === undefined ? undefined : durationMs(option('hardTimeout'), hardTimeout)
  if (hardTimeoutMs !== undefined && hardTimeoutMs <= softTimeoutMs) {
    throw wrong(option('hardTimeout'), hardTimeout, `more than ${softTimeoutMs} ms would do`)
  }
  return { graceMs, staleGraceMs, softTimeoutMs, hardTimeoutMs }
}

function compressAbove(option: (key: string) => string, compress: unknown): number {
  if (compress === undefined) return entityDefaults.compressAboveBytes
  if (compress === false) return Number.POSITIVE_INFINITY
  const wouldDo = 'false or an object with above would do'
  if (!isPlainObject(compress)) throw wrong(option('compress'), compress, wouldDo)
  for (const [key, value] of Object.entries(compress)) {
    if (key !== 'above') throw wrong(option(`compress.${key}`), value, wouldDo)
  }
  const { above = entityDefaults.compressAboveBytes } = compress as { above?: unknown }
  if (Number.isSafeInteger(above) && (above as number) > 0) return above as number
  throw wrong(option('compress.above'), above, 'a whole number above 0 would do')
}

function refreshAheadOf(option: string, value: unknown): 'probabilistic' | number | false {
  if (value === undefined || value === 'probabilistic') return 'probabilistic'
  if (value === false || (typeof value === 'number' && value > 0 && value < 1)) return value
  throw wrong(option, value, "'probabilistic', a number between 0 and 1, or false would do")
}

function checkL1(option: (key: string) => string, l1: unknown): void {
  if (l1 === undefined) return
  const wouldDo = 'an object with maxEntries and maxBytes would do'
  if (l1 === null || typeof l1 !== 'object') throw wrong(option('l1'), l1, wouldDo)
  for (const [key, value] of Object.entries(l1)) {
    if (key !== 'maxEntries' && key !== 'maxBytes') throw wrong(option(`l1.${key}`), value, wouldDo)
  }
}

function hotKeysOf(
  option: (key: string) => string,
  hotKeys: unknown = {},
): false | { readonly threshold: number } {
  if (hotKeys === false) return false
  const wouldDo = 'false or an object with threshold would do'
  if (!isPlainObject(hotKeys)) throw wrong(option('hotKeys'), hotKeys, wouldDo)
  for (const [key, value] of Object.entries(hotKeys)) {
    if (key !== 'threshold') throw wrong(option(`hotKeys.${key}`), value, wouldDo)
  }
  const { threshold = entityDefaults.hotKeyThreshold } = hotKeys as { threshold?: unknown }
  if (typeof threshold === 'number' && threshold >= 1 && Number.isFinite(threshold)) {
    return Object.freeze({ threshold })
  }
  throw wrong(option('hotKeys.threshold'), threshold, 'a number of reads a second from 1 would do')
}

const knownOptions: ReadonlySet<string> = new Set<keyof EntityOptions<0, 0, 0>>([
  'load',
  'id',
  'idToString',
  'ttl',
  'grace',
  'staleGrace',
  'softTimeout',
  'hardTimeout',
  'negativeTtl',
  'version',
  'refreshAhead',
  'values',
  'writeThrough',
  'foreignWrites',
  'isolation',
  'maxBatch',
  'maxValueBytes',
  'compress',
  'maxNewKeysPerMinute',
  'l1',
  'hotKeys',
  'codec',
  'bloom',
])
