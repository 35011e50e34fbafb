/** What users hold: checks each call's arguments, and hands it to the coordinator. */

import { rowsOf, type WriteKey } from './coordinator/deletes.ts'
import type { ReadRequest } from './coordinator/wanted.ts'
import type { WarmRequest } from './coordinator/warm.ts'
import type { WriteRequest, WriteResult } from './coordinator/write.ts'
import { flagsDoor } from './flags-door.ts'
import { healthOf } from './health.ts'
import { retries } from './model/defaults.ts'
import { type Duration, durationMs } from './model/duration.ts'
import { type AnyEntity, wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import { keyOfPrimitive } from './model/id.ts'
import type { Tx } from './postgres/pool.ts'
import type { EntityParts, RunningCache } from './running-cache.ts'
import { sumOf } from './telemetry/counters.ts'
import type {
  Cache,
  CacheMethods,
  EntityCache,
  EntityStats,
  JoinedWriteOptions,
  Key,
  ReadOptions,
  WarmOptions,
  WriteOptions,
} from './types.ts'

const defaultCloseTimeout = '5s'

type Run<R> = (tx: Tx) => PromiseLike<R> | R
type AnyWriteOptions = WriteOptions | JoinedWriteOptions

export function frontDoor<Entities extends Record<string, AnyEntity>>(
  entities: Entities,
  cache: RunningCache,
): Cache<Entities> {
  const doors = Object.entries(entities).map(([key, { name }]) => [
    key,
    entityDoor(cache, cache.entities.get(name) as EntityParts),
  ])
  const methods = {
    write: (keys: readonly Key[], run: Run<unknown>, options?: AnyWriteOptions) =>
      write(cache, keysOf(cache, keys), run, options, namesOf(cache, keys)),
    invalidate: (keys: readonly Key[], options?: AnyWriteOptions) =>
      invalidate(cache, keysOf(cache, keys), options, namesOf(cache, keys)),
    on: (event, listener) => cache.telemetry.events.on(event, listener),
    metrics: () => cache.telemetry.registry,
    flags: flagsDoor(cache),
    health: () => healthOf(cache),
    close: (options) => close(cache, options?.timeout),
    [Symbol.asyncDispose]: () => close(cache, undefined),
  } as CacheMethods
  const stats = (): object =>
    Object.fromEntries(
      Object.entries(entities).map(([key, { name }]) => [
        key,
        statsOf(cache.entities.get(name) as EntityParts),
      ]),
    )
  return Object.freeze({ ...Object.fromEntries(doors), ...methods, stats }) as Cache<Entities>
}

function entityDoor(
  cache: RunningCache,
  { entity, reader }: EntityParts,
): EntityCache<string, unknown, unknown> {
  const keyOf = (id: unknown): WriteKey => ({ entity, id: String(entity.keyOf(id)) })
  return Object.freeze({
    get: (id: unknown, options?: ReadOptions) => {
      if (options === undefined) return reader.get(id)
      return checked(() => reader.get(id, readRequest(options)))
    },
    peek: (id: unknown) => reader.peek(id),
    getMany: (ids: Iterable<unknown>, options?: ReadOptions) =>
      checked(() => reader.getMany(checkIterable(ids), readRequest(options))),
    getEntry: (id: unknown, options?: ReadOptions) =>
      checked(async () => {
        const answer = await reader.getEntry(id, readRequest(options))
        const { clock } = cache.settings
        const ageMs = Math.max(0, clock.monotonicMs() - answer.candidate.loadedAtMs)
        const { tier, state, isProven } = answer
        return { value: answer.value, tier, state, ageMs, proven: isProven }
      }),
    write: (...args: unknown[]) =>
      checked(() => {
        if (typeof args[0] === 'function') {
          const [run, options] = args as [Run<unknown>, AnyWriteOptions | undefined]
          return write(cache, (value) => keysOfRows(entity, value), run, options, [entity.name])
        }
        const [id, run, options] = args as [unknown, Run<unknown>, AnyWriteOptions | undefined]
        const keys = [keyOf(id)]
        return write(cache, () => keys, run, options, [entity.name])
      }),
    invalidate: (id: unknown, options?: AnyWriteOptions) =>
      checked(() => {
        const keys = [keyOf(id)]
        return invalidate(cache, () => keys, options, [entity.name])
      }),
    warm: (ids: Iterable<unknown> | AsyncIterable<unknown>, options?: WarmOptions) =>
      checked(() => reader.warm(checkWarmable(ids), warmRequest(options))),
    key: (id: unknown) => Object.freeze({ entity: entity.name, id: String(entity.keyOf(id)) }),
  }) as EntityCache<string, unknown, unknown>
}

/** Bad arguments reject, like everything else that goes wrong with a call that returns a promise. */
function checked<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call()
  } catch (error) {
    return Promise.reject(error)
  }
}

function write<R>(
  cache: RunningCache,
  keysOfValue: (value: R) => readonly WriteKey[],
  run: Run<R>,
  options: AnyWriteOptions | undefined,
  entities: readonly string[],
  isInvalidation = false,
): Promise<WriteResult<R>> {
  return checked(() => {
    if (typeof run !== 'function')
      throw wrong('write callback', run, 'a function (tx) => … would do')
    const request = { ...writeRequest(cache, options), entities, isInvalidation }
    if (options?.tx === undefined) return cache.write(run, keysOfValue, request)
    return cache.join(options.tx, run, keysOfValue, request)
  })
}

async function invalidate(
  cache: RunningCache,
  keys: () => readonly WriteKey[],
  options: AnyWriteOptions | undefined,
  entities: readonly string[],
): Promise<Omit<WriteResult<undefined>, 'value'>> {
  const nothing = (): undefined => undefined
  const { value: _, ...result } = await write(cache, keys, nothing, options, entities, true)
  return result
}

/** Whose flags may refuse it: what is no key is told of where the keys are checked. */
function namesOf(cache: RunningCache, keys: unknown): readonly string[] {
  if (!Array.isArray(keys)) return []
  const names = keys.map((key: Partial<Key> | undefined) => key?.entity ?? '')
  return [...new Set(names)].filter((name) => cache.entities.has(name))
}

/** Checks the keys that `cache.write` was given, before anything is written. */
function keysOf(cache: RunningCache, keys: readonly Key[]): () => readonly WriteKey[] {
  let found: readonly WriteKey[] | undefined
  return () => {
    found ??= distinct(toWriteKeys(cache, keys))
    return found
  }
}

function toWriteKeys(cache: RunningCache, keys: readonly Key[]): readonly WriteKey[] {
  if (!Array.isArray(keys)) {
    throw wrong('keys', keys, 'an array of what cache.<entity>.key(id) returns would do')
  }
  if (keys.length === 0) {
    throw new LockstepError('OPTION_INVALID', 'option "keys" is empty; at least one would do')
  }
  return keys.map((key: Key) => {
    const parts = cache.entities.get(key?.entity)
    if (!parts)
      throw wrong('keys', key?.entity, `one of ${[...cache.entities.keys()].join(', ')} would do`)
    return { entity: parts.entity, id: String(keyOfPrimitive(key.entity, key.id)) }
  })
}

function keysOfRows(entity: AnyEntity, value: unknown): readonly WriteKey[] {
  const rows = rowsOf(value)
  if (rows.length === 0) {
    throw new LockstepError(
      'WRITE_KEYS_MISSING',
      `the callback of a write of entity "${entity.name}" returned no rows, so its ids are unknown; return them (.returning('*')), or give the id`,
    )
  }
  return distinct(rows.map((row) => ({ entity, id: String(entity.keyOf(entity.idOf(row))) })))
}

function distinct(keys: readonly WriteKey[]): readonly WriteKey[] {
  return [...new Map(keys.map((key) => [`${key.entity.name}:${key.id}`, key])).values()]
}

function checkIterable(ids: Iterable<unknown>): Iterable<unknown> {
  if (ids !== null && typeof ids === 'object' && Symbol.iterator in ids) return ids
  throw wrong('ids', ids, 'an array or another iterable of ids would do')
}

function checkWarmable(
  ids: Iterable<unknown> | AsyncIterable<unknown>,
): Iterable<unknown> | AsyncIterable<unknown> {
  if (ids !== null && typeof ids === 'object') {
    if (Symbol.iterator in ids || Symbol.asyncIterator in ids) return ids
  }
  throw wrong('ids', ids, 'an array or another iterable of ids, async or not, would do')
}

const readOptions: ReadonlySet<string> = new Set<keyof ReadOptions>([
  'consistency',
  'ticket',
  'signal',
  'timeout',
])
const writeOptions: ReadonlySet<string> = new Set<keyof WriteOptions>([
  'timeout',
  'retries',
  'signal',
  'onFenceFailure',
  'wait',
  'tx',
])

const warmOptions: ReadonlySet<string> = new Set<keyof WarmOptions>(['signal', 'rate', 'progress'])

/** A misspelt `consistency` would be a bounded read that its caller takes for a strong one. */
function checkKnown(options: object, known: ReadonlySet<string>): void {
  if (options === null || typeof options !== 'object') {
    throw wrong('options', options, `an object with any of ${[...known].join(', ')} would do`)
  }
  for (const key in options) {
    if (known.has(key)) continue
    throw wrong(key, (options as never)[key], `one of ${[...known].join(', ')} would do`)
  }
}

function readRequest(options: ReadOptions | undefined): ReadRequest {
  if (options === undefined) return {}
  checkKnown(options, readOptions)
  const { consistency, ticket, signal, timeout } = options
  if (consistency !== undefined && consistency !== 'bounded' && consistency !== 'strong') {
    throw wrong('consistency', consistency, "'bounded' or 'strong' would do")
  }
  return { consistency, ticket, signal, timeoutMs: optionalMs(timeout) }
}

function warmRequest(options: WarmOptions | undefined): WarmRequest {
  if (options === undefined) return {}
  checkKnown(options, warmOptions)
  const { signal, rate, progress } = options
  if (rate !== undefined && !(Number.isFinite(rate) && rate > 0)) {
    throw wrong('rate', rate, 'a number of ids a second above 0 would do')
  }
  if (progress !== undefined && typeof progress !== 'function') {
    throw wrong('progress', progress, 'a function (counts) => … would do')
  }
  return { signal, rate, progress }
}

function writeRequest(cache: RunningCache, options: AnyWriteOptions = {}): WriteRequest {
  checkKnown(options, writeOptions)
  const { settings } = cache
  const { onFenceFailure = settings.onFenceFailure } = options
  const { retries: tries = retries.write } = options as WriteOptions
  if (options.tx !== undefined && 'retries' in options) {
    throw wrong('retries', tries, 'none would do: with "tx" the caller repeats the transaction')
  }
  if (!Number.isSafeInteger(tries) || tries < 0) throw wrong('retries', tries, '0 or more would do')
  if (onFenceFailure !== 'proceed' && onFenceFailure !== 'reject') {
    throw wrong('onFenceFailure', onFenceFailure, "'proceed' or 'reject' would do")
  }
  const { wait } = options as WriteOptions
  if (wait !== undefined && (wait !== 'everywhere' || options.tx !== undefined)) {
    throw wrong('wait', wait, '\'everywhere\' would do, or none with "tx"')
  }
  const timeoutMs = optionalMs(options.timeout) ?? settings.timing.writeDeadlineMs
  const longestMs = settings.timing.tombstoneRetentionMs / 2
  // A tombstone that is forgotten before its COMMIT would let an old value in.
  if (timeoutMs > longestMs) {
    throw wrong(
      'timeout',
      timeoutMs,
      `at most ${longestMs} ms, half of timing.tombstoneRetention, would do`,
    )
  }
  return { timeoutMs, retries: tries, signal: options.signal, onFenceFailure, wait }
}

function optionalMs(timeout: Duration | undefined): number | undefined {
  return timeout === undefined ? undefined : durationMs('timeout', timeout)
}

function statsOf({ counters, region, hot }: EntityParts): EntityStats {
  const { filled, ...refused } = counters.fills
  const hotKeys = hot?.known() ?? []
  return {
    hits: {
      l1: counters.l1Hits + counters.l1StaleHits + counters.l1Absent,
      l2: counters.l2Hits + counters.l2StaleHits + counters.l2Absent,
    },
    misses: counters.sourceReads + counters.sourceAbsent,
    loads: counters.loads,
    loadedIds: counters.loadedIds,
    loadFailures: sumOf(counters.loadFailures),
    fills: filled,
    refusedFills: Object.values(refused).reduce((sum, times) => sum + times, 0),
    corruptValues: counters.corruptValues,
    l1Entries: region.count,
    ...(hotKeys.length > 0 ? { hotKeys } : {}),
  }
}

function close(cache: RunningCache, timeout: Duration = defaultCloseTimeout): Promise<void> {
  return checked(() => cache.close(durationMs('timeout', timeout)))
}
