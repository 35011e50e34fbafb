/** The types of the front door (DESIGN §11), all derived from the entities. */
import type { KnownHotKey } from './coordinator/hot-entity.ts'
import type { JoinedWriteResult, WriteResult } from './coordinator/write.ts'
import type { CacheHealth } from './health.ts'
import type { KafkaOptions } from './kafka/options.ts'
import type { Clock } from './model/clock.ts'
import type { Timing } from './model/defaults.ts'
import type { Duration } from './model/duration.ts'
import {
  type AnyEntity,
  type CompositeOptions,
  defineEntity,
  type Entity,
  type EntityOptions,
} from './model/entity.ts'
import type { FlagName, SetFlagOptions, UnsetFlagOptions } from './model/flags.ts'
import type { PrimitiveId } from './model/id.ts'
import type { Logger } from './model/log.ts'
import type { FlagHistoryEntry, FlagInfo, FlagsChanged } from './operations/flag-board.ts'
import type { SloRule } from './operations/slo.ts'
import type { Db, PostgresOptions, Tx } from './postgres/pool.ts'
import type { PrometheusOptions } from './prometheus/options.ts'
import type { RedisConnectionOptions } from './redis/open.ts'
import type { HopsOptions } from './resilience/hop-settings.ts'
import type { EventName, Listener } from './telemetry/events.ts'
import type { Registry } from './telemetry/registry.ts'

/**
 * A named kind of cached thing: one loader, one id type, one policy.
 * Throws `OPTION_INVALID` for an option that won't do.
 */
export function entity<Name extends string, Id, Value extends object>(
  name: Name,
  options: CompositeOptions<Id, Value, Db>,
): Entity<Name, Id, Value, Db>
// Second, because overloads are tried in order: a missing idToString rules the first one out before
// it could lend its types to the callbacks.
export function entity<Name extends string, Id extends PrimitiveId, Value extends object>(
  name: Name,
  options: EntityOptions<Id, Value, Db>,
): Entity<Name, Id, Value, Db>
export function entity<Name extends string, Id, Value extends object>(
  name: Name,
  options: EntityOptions<Id, Value, Db>,
): Entity<Name, Id, Value, Db> {
  return defineEntity(name, options)
}

export interface ReadOptions {
  /**
   * `bounded` (default): from any tier, from L1 never older than the staleness bound. `strong`:
   * linearizable with writes that returned `fenced: true`; skips L1.
   */
  consistency?: 'bounded' | 'strong'
  /** The value doesn't miss the writes that returned these tickets. */
  ticket?: string | readonly string[]
  /** Ends the wait of this caller; others who wait for the same load go on. */
  signal?: AbortSignal
  /** Deadline of this read (default: `timing.readDeadline`). */
  timeout?: Duration
}

export interface WarmOptions {
  /** Begins no further batch, and ends the wait. */
  signal?: AbortSignal
  /** Ids a second; without it as fast as other loads leave room. */
  rate?: number
  /** Called after each batch, with all so far. */
  progress?: (warmed: Warmed) => void
}

/** What became of ids. */
export interface Warmed {
  /** They lie in L1 now, or in Redis where L1 may not have them. */
  readonly warmed: number
  /** They don't exist. */
  readonly absent: number
  readonly failed: number
  /** They were fresh in L1. */
  readonly skipped: number
}

export interface WriteOptions {
  /** Deadline of the transaction up to COMMIT (default: `timing.writeDeadline`). */
  timeout?: Duration
  /** How often the callback may run again after a retryable error before COMMIT (default 2). */
  retries?: number
  /** Until the COMMIT is sent, it rolls the write back. */
  signal?: AbortSignal
  /** What to do when Redis can't be told before COMMIT (default: the option of `lockstep`). */
  onFenceFailure?: 'proceed' | 'reject'
  /**
   * `everywhere`: returns when no instance answers from L1 with what this write replaced: each has
   * acted on it, or has lost its trust, after the staleness bound at the latest.
   */
  wait?: 'everywhere'
  tx?: undefined
}

export interface JoinedWriteOptions extends Omit<WriteOptions, 'retries' | 'wait' | 'tx'> {
  /**
   * An open Knex transaction of the same database, which the caller ends: the callback's statements
   * and the invalidation stand and fall with it. Runs the callback once.
   */
  tx: Tx
}

/** What an invalidation returns: as a write, without a value. */
export type Invalidated = Omit<WriteResult<never>, 'value'>
export type JoinedInvalidated = Omit<JoinedWriteResult<never>, 'value'>

/** One id of one entity, for `cache.write` and `cache.invalidate`. */
export interface Key<Name extends string = string> {
  readonly entity: Name
  /** The id as text. */
  readonly id: string
}

/** A value with where it came from. */
export interface EntryInfo<Value> {
  /** `undefined`: the id does not exist. */
  readonly value: Value | undefined
  readonly tier: 'l1' | 'l2' | 'source'
  /** `stale`: past its ttl, within its grace; it is being loaded anew. */
  readonly state: 'fresh' | 'stale'
  readonly ageMs: number
  /** From the source, or known to miss no write older than the staleness bound. */
  readonly proven: boolean
}

type WriteCallback<R> = (tx: Tx) => PromiseLike<R> | R

export interface EntityCache<Name extends string, Id, Value> {
  /** The value, or `undefined` when the id doesn't exist. */
  get(id: Id, options?: ReadOptions): Promise<Value | undefined>
  /** From L1 only, at once; `undefined` for absent, unproven and not cached alike. */
  peek(id: Id): Value | undefined
  /** The values of the ids that exist. Rejects with a `PartialReadError` that has those it found. */
  getMany(ids: Iterable<Id>, options?: ReadOptions): Promise<Map<Id, Value>>
  /** As `get`, with where the value came from. */
  getEntry(id: Id, options?: ReadOptions): Promise<EntryInfo<Value>>
  /**
   * Runs the callback in a transaction and invalidates the id. The callback may run again after a
   * retryable error before COMMIT, never after it. Its errors come out as they are.
   */
  write<R>(id: Id, run: WriteCallback<R>, options?: WriteOptions): Promise<WriteResult<R>>
  write<R>(
    id: Id,
    run: WriteCallback<R>,
    options: JoinedWriteOptions,
  ): Promise<JoinedWriteResult<R>>
  /** As above, for the ids of the rows that the callback returns: the database may have made them. */
  write<R extends Value | readonly Value[]>(
    run: WriteCallback<R>,
    options?: WriteOptions,
  ): Promise<WriteResult<R>>
  write<R extends Value | readonly Value[]>(
    run: WriteCallback<R>,
    options: JoinedWriteOptions,
  ): Promise<JoinedWriteResult<R>>
  /**
   * Every tier drops what doesn't see the writes that have committed; with `tx` also those of that
   * transaction, when it commits.
   */
  invalidate(id: Id, options?: WriteOptions): Promise<Invalidated>
  invalidate(id: Id, options: JoinedWriteOptions): Promise<JoinedInvalidated>
  /**
   * Loads ids that nobody has asked for yet, in batches, after all other loads. Rejects with
   * `OPTION_INVALID`, with the reason of the signal, with what the iterable or `progress` threw, and
   * with `CLOSED`; what can't be loaded is counted.
   */
  warm(ids: Iterable<Id> | AsyncIterable<Id>, options?: WarmOptions): Promise<Warmed>
  /** This id, for `cache.write` and `cache.invalidate`. */
  key(id: Id): Key<Name>
}

/** Degradation flags (docs/flags.md). Calls reject with `OPTION_INVALID`, or when nobody has an answer. */
export interface FlagMethods {
  /** For all of the namespace, or for an entity, an instance, or both. Set anew, the last one counts. */
  set(flag: FlagName, options: SetFlagOptions): Promise<FlagsChanged>
  /** What was set for the same entity and instance, and nothing else. */
  unset(flag: FlagName, options?: UnsetFlagOptions): Promise<FlagsChanged>
  /** Goes to a step of the ladder, 0 (normal) to 5: its flags are set, the ladder's others unset. */
  ladder(step: number, options: SetFlagOptions): Promise<FlagsChanged>
  /** All that are set in the namespace, and who applies them. */
  list(): Promise<readonly FlagInfo[]>
  /** Who changed what, when and why, of the last 90 days: the newest first, at most 100 (or `limit`). */
  history(options?: { limit?: number }): Promise<readonly FlagHistoryEntry[]>
  /** Does this process apply it now, for all entities or for this one? */
  isSet(flag: FlagName, entity?: string): boolean
}

export interface CacheMethods {
  /** One transaction over several keys. */
  write<R>(
    keys: readonly Key[],
    run: WriteCallback<R>,
    options?: WriteOptions,
  ): Promise<WriteResult<R>>
  write<R>(
    keys: readonly Key[],
    run: WriteCallback<R>,
    options: JoinedWriteOptions,
  ): Promise<JoinedWriteResult<R>>
  invalidate(keys: readonly Key[], options?: WriteOptions): Promise<Invalidated>
  invalidate(keys: readonly Key[], options: JoinedWriteOptions): Promise<JoinedInvalidated>
  /**
   * Calls the listener at each event (docs/metrics.md has them), until the function that is returned
   * is called or the cache is closed. A listener that throws is logged. Throws `OPTION_INVALID`,
   * also for more than 100 listeners of one event, and `CLOSED`.
   */
  on<Name extends EventName>(event: Name, listener: Listener<Name>): () => void
  /**
   * This cache's own prom-client registry, with all that docs/metrics.md has. Numbers are read when
   * it is scraped; after `close()` it says how things were then.
   */
  metrics(): Registry
  readonly flags: FlagMethods
  /** How this cache is: at once, from what it knows. */
  health(): CacheHealth
  /**
   * Ends reads and writes that are under way, within the timeout (default 5 s), then aborts what is
   * left. Connections that were opened here are closed; instances that were passed in stay open.
   */
  close(options?: { timeout?: Duration }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export interface EntityStats {
  readonly hits: { readonly l1: number; readonly l2: number }
  readonly misses: number
  /** Calls of the loader. */
  readonly loads: number
  readonly loadedIds: number
  readonly loadFailures: number
  readonly fills: number
  readonly refusedFills: number
  readonly corruptValues: number
  readonly l1Entries: number
  /** Those of now, if any is; more in docs/hot-keys.md. */
  readonly hotKeys?: readonly KnownHotKey[]
}

type EntityCacheOf<E> =
  E extends Entity<infer Name, infer Id, infer Value, Db> ? EntityCache<Name, Id, Value> : never

export type Cache<Entities extends Record<string, AnyEntity>> = {
  readonly [K in keyof Entities]: EntityCacheOf<Entities[K]>
} & CacheMethods & {
    /** What the reads came to, by entity. */
    stats(): { readonly [K in keyof Entities]: EntityStats }
  }

export interface LimitRange {
  least: number
  most: number
}

export interface LockstepOptions<Entities extends Record<string, AnyEntity>> {
  /** First part of every name in Redis, and the name that instances of one cache share. */
  namespace: string
  /**
   * The source. A URL, a Knex connection object, or a Knex instance (which stays open); with replicas
   * `{ primary, replicas }`, each of these one of them. Replicas that can't be reached, lag, or were
   * promoted are no error: the primary is asked (docs/replicas.md).
   */
  postgres: PostgresOptions
  /**
   * L2: a URL, ioredis options, `{ cluster: [{ host, port }], options }`, or an ioredis `Redis` or
   * `Cluster` (which stays open). Absent: L1 and the source only. More in docs/redis.md.
   */
  redis?: RedisConnectionOptions | undefined
  /**
   * The durable plane: brokers, or KafkaJS options with a topic of our own. Absent: every instance
   * tails the outbox. All instances of a namespace have the same (docs/kafka.md).
   */
  kafka?: KafkaOptions | undefined
  /**
   * What share of the calls of all instances fails, asked for every 10 s: a URL, or `{ url, username,
   * password, ca, query, interval, deadline }`. Breakers hold back by it, and never by it alone do they
   * let more through. Absent, down or lying: breakers go by what this process sees (docs/resilience.md).
   */
  prometheus?: PrometheusOptions | undefined
  /** What is cached; each is reached by its key here: `{ city }` as `cache.city`. */
  entities: Entities
  /** Silent without one; pino's shape. */
  logger?: Logger
  /** Deadlines, bounds and retentions. */
  timing?: Timing
  /** Retries and breakers of Redis (`l2`), PostgreSQL (`source`) and Kafka (`bus`). */
  hops?: HopsOptions
  /**
   * At most this many loads at once from this process (default 8); with `{ least, most }` as many as
   * the source does without getting slower.
   */
  maxConcurrentLoads?: number | LimitRange
  /** `proceed` (default): a write goes on when Redis can't be told, and returns `fenced: false`. */
  onFenceFailure?: 'proceed' | 'reject'
  /** Flags that this process applies for as long as it runs, whatever is set (docs/flags.md). */
  flags?: { override?: readonly FlagName[] }
  /** Rules by which this process sets flags for itself (default: none). */
  slo?: readonly SloRule[]
  /** Time, for tests. */
  clock?: Clock
}
