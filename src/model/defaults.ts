/**
 * Every default in one place, and how they hang together: `settle` checks a user's choice against
 * the same rules, so that a bound that safety or liveness rests on cannot be set too short.
 */
import { type Duration, durationMs } from './duration.ts'
import { LockstepError } from './errors.ts'

export const entityDefaults = {
  ttl: '10m',
  grace: '1m',
  staleGrace: '1h',
  negativeTtl: '30s',
  version: 1,
  maxBatch: 1_000,
  maxValueBytes: 1024 * 1024,
  compressAboveBytes: 16 * 1024,
  maxEntries: 10_000,
  maxBytes: 64 * 1024 * 1024,
  maxNewKeysPerMinute: 1_000_000,
  /** Reads a second. */
  hotKeyThreshold: 200,
} as const

/** Keys of an entity that are hot at once, and that an instance tells of. */
export const mostHotKeys = 32

/** Share of its ttl by which a value's life is drawn longer or shorter, so that values filled together don't expire together. */
export const ttlJitter = 0.1

export interface Timing {
  /** B: no bounded read is answered from L1 with a value that misses a write older than this. */
  readonly stalenessBound?: Duration
  /** How often the outbox is asked for writes (and L1 proven fresh). */
  readonly pollInterval?: Duration
  /** Deadline of one call to Redis. */
  readonly redisDeadline?: Duration
  /** Deadline of one try of a writer to publish to Kafka; beyond it the relay does. */
  readonly kafkaDeadline?: Duration
  /** Deadline of one try of a load, from when it begins. */
  readonly loadDeadline?: Duration
  /** How long a load may wait for its turn; then it is shed. Unless it is given, at most half of `readDeadline`. */
  readonly loadQueueDeadline?: Duration
  /** Deadline of a whole read, waits and retries included. */
  readonly readDeadline?: Duration
  /** Deadline of a write's transaction, from BEGIN to COMMIT. */
  readonly writeDeadline?: Duration
  /** How long Redis remembers an invalidation that no value has been filled after. */
  readonly tombstoneRetention?: Duration
  /** How long the outbox remembers a write. */
  readonly outboxRetention?: Duration
  /** How long after a write Redis is told of it once more, should it have forgotten. */
  readonly delayedDelete?: Duration
}

export type TimingMs = { readonly [K in keyof Required<Timing> as `${K}Ms`]: number }

export const timingDefaults: Required<Timing> = {
  stalenessBound: '1s',
  pollInterval: '200ms',
  redisDeadline: '200ms',
  kafkaDeadline: '100ms',
  loadDeadline: '500ms',
  loadQueueDeadline: '1s',
  readDeadline: '3s',
  writeDeadline: '500ms',
  tombstoneRetention: '60s',
  outboxRetention: '5m',
  delayedDelete: '500ms',
}

/** What clocks of two machines may differ by, and a timer be late. */
export const clockErrorMs = 1_000

/** Tries after the first one, where an error says that the same may succeed again. */
export const retries = { load: 2, write: 2, secondDelete: 3 } as const

/** What a load takes at most, its retries and their waits included, but for the pauses between them. */
export function longestLoadMs({
  loadDeadlineMs,
  loadQueueDeadlineMs,
  loadRetries = retries.load,
}: Pick<TimingMs, 'loadDeadlineMs' | 'loadQueueDeadlineMs'> & {
  readonly loadRetries?: number
}): number {
  return (loadQueueDeadlineMs + loadDeadlineMs) * (1 + loadRetries)
}

/** Ids of one outbox row: a write of more leaves more rows. */
export const idsPerOutboxRow = 1_000

/** Rows of other writers that one claim applies at most, and writes that one mark covers. */
export const outboxBatch = 500

/** A poll that finds more rows than this is a gap: L1 is emptied instead of told of each. */
export const mostRowsAPoll = 10_000

/** And so is one that finds more ids; beyond them they are not even fetched. */
export const mostIdsAPoll = 50_000

/** Ids of the rows that one claim applies: what Redis is told of in about half a second. */
export const mostIdsAClaim = 20_000

/** Unfinished rows that whoever relays counts; with more, no barrier is written until there are fewer. */
export const mostOwedCounted = 10_000

/** Ids that an instance tells Redis of at once, of rows that it has claimed. */
export const idsInFlight = 256

export function settleTiming(timing: Timing): TimingMs {
  for (const key of Object.keys(timing)) {
    if (!Object.hasOwn(timingDefaults, key)) {
      throw new LockstepError(
        'OPTION_INVALID',
        `option "timing.${key}" does not exist; one of ${Object.keys(timingDefaults).join(', ')} would do`,
      )
    }
  }
  const ms = (key: keyof Timing): number =>
    durationMs(`timing.${key}`, timing[key] ?? timingDefaults[key])
  const settled: TimingMs = {
    stalenessBoundMs: ms('stalenessBound'),
    pollIntervalMs: ms('pollInterval'),
    redisDeadlineMs: ms('redisDeadline'),
    kafkaDeadlineMs: ms('kafkaDeadline'),
    loadDeadlineMs: ms('loadDeadline'),
    loadQueueDeadlineMs:
      timing.loadQueueDeadline === undefined
        ? Math.min(ms('loadQueueDeadline'), ms('readDeadline') / 2)
        : ms('loadQueueDeadline'),
    readDeadlineMs: ms('readDeadline'),
    writeDeadlineMs: ms('writeDeadline'),
    tombstoneRetentionMs: ms('tombstoneRetention'),
    outboxRetentionMs: ms('outboxRetention'),
    delayedDeleteMs: ms('delayedDelete'),
  }
  for (const rule of rules) {
    const least = rule.least(settled)
    if (settled[rule.option] >= least) continue
    const name = rule.option.slice(0, -2)
    throw new LockstepError(
      'OPTION_INVALID',
      `option "timing.${name}" is ${settled[rule.option]} ms; at least ${least} ms would do: ${rule.because}`,
    )
  }
  return settled
}

const rules: readonly {
  readonly option: keyof TimingMs
  readonly least: (timing: TimingMs) => number
  readonly because: string
}[] = [
  { option: 'pollIntervalMs', least: () => 5, because: 'each poll is a query' },
  { option: 'redisDeadlineMs', least: () => 5, because: 'a round trip takes its time' },
  { option: 'kafkaDeadlineMs', least: () => 5, because: 'a round trip takes its time' },
  { option: 'loadDeadlineMs', least: () => 5, because: 'a query takes its time' },
  { option: 'writeDeadlineMs', least: () => 5, because: 'a transaction takes its time' },
  {
    option: 'stalenessBoundMs',
    least: (timing) => 2 * timing.pollIntervalMs,
    because: 'L1 is proven by polls, and one may be late',
  },
  {
    option: 'readDeadlineMs',
    least: (timing) => timing.redisDeadlineMs + timing.loadDeadlineMs,
    because: 'a read that misses asks Redis, then the source',
  },
  {
    option: 'readDeadlineMs',
    least: (timing) => timing.loadQueueDeadlineMs + 1,
    because: 'a load that waits longer for its turn than its reader waits for it is of no use',
  },
  {
    option: 'tombstoneRetentionMs',
    least: (timing) => 2 * (timing.writeDeadlineMs + timing.redisDeadlineMs) + clockErrorMs,
    because: 'a tombstone outlives the transaction that it was set in, and the clock error',
  },
  {
    option: 'outboxRetentionMs',
    least: (timing) => 10 * timing.pollIntervalMs + clockErrorMs,
    because: 'an instance that misses a few polls should not have to empty its L1',
  },
  {
    option: 'outboxRetentionMs',
    least: (timing) => 4 * timing.delayedDeleteMs + clockErrorMs,
    because: 'Redis is told once more of what the outbox remembers',
  },
]
