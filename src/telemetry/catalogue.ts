/**
 * All metrics, by what an operator asks. Names as Prometheus wants them: base units, `_total` for
 * counters. Labels are declared names and the few words of this code, never ids; each metric has
 * `namespace` beside those that stand here. docs/metrics.md is made from this table.
 */

export interface MetricInfo {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
}

export const catalogue = {
  // ---- what callers get
  lockstep_reads_total: {
    type: 'counter',
    labels: ['entity', 'tier', 'outcome'],
    help: 'Reads answered, by the tier that had the answer (l1, l2, source) and what it was: fresh, stale (past its ttl, within its grace) or absent (known not to exist). Each id of a getMany is one.',
  },
  lockstep_read_failures_total: {
    type: 'counter',
    labels: ['entity', 'code'],
    help: 'Reads that no tier could answer, by the code of the error.',
  },
  lockstep_writes_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'Writes and invalidations that committed: fenced (Redis was told before and after the COMMIT) or unfenced.',
  },
  lockstep_write_failures_total: {
    type: 'counter',
    labels: ['code'],
    help: "Writes that did not commit, or of which nobody knows, by the code of the error; OTHER is an error of the caller's callback or of PostgreSQL.",
  },
  lockstep_write_seconds: {
    type: 'histogram',
    labels: [],
    help: 'What a write took its caller that committed: retries, callback, both deletes.',
  },

  // ---- is L1 served, and how far from its bound
  lockstep_l1_trusted: {
    type: 'gauge',
    labels: [],
    help: '1 while L1 may be served, else 0: all reads go to Redis or the source then.',
  },
  lockstep_trust_age_seconds: {
    type: 'gauge',
    labels: [],
    help: 'How long ago L1 was last known to miss nothing; above lockstep_staleness_bound_seconds it is not served. +Inf without any proof.',
  },
  lockstep_staleness_bound_seconds: {
    type: 'gauge',
    labels: [],
    help: 'What lockstep_trust_age_seconds is to be compared with: timing.stalenessBound.',
  },
  lockstep_trust_losses_total: {
    type: 'counter',
    labels: ['reason'],
    help: 'How often L1 could not be served any more: expired (no proof in time), incarnation (the database crashed or failed over), pruned, too-many-rows, gap, rebalance, disconnected, partitions, unreadable (writes may have been missed), closed.',
  },
  lockstep_heard_writes_total: {
    type: 'counter',
    labels: ['plane'],
    help: 'Writes of all instances that this process heard of. durable: new rows of the outbox, one for each entity of a write. fast: messages from Redis, as a rule two a write; none while durable grows means that the fast plane is deaf.',
  },

  // ---- the outbox
  lockstep_relaying: {
    type: 'gauge',
    labels: [],
    help: 'Whether this process relays: one of a namespace does at a time, as a rule. Sum over the instances: 0 for longer than a second means that nobody does.',
  },
  lockstep_relay_changes_total: {
    type: 'counter',
    labels: ['state'],
    help: 'How often this process began to relay, and ended.',
  },
  lockstep_outbox_backlog_rows: {
    type: 'gauge',
    labels: ['destination'],
    help: 'Rows of the outbox that a destination (l2: Redis, log: Kafka) has not been told of, counted up to 10,000; only from the process that relays.',
  },
  lockstep_outbox_backlog_seconds: {
    type: 'gauge',
    labels: ['destination'],
    help: 'Age of the oldest of them, by the clock of PostgreSQL; 0 without any.',
  },
  lockstep_outbox_relayed_rows_total: {
    type: 'counter',
    labels: ['destination'],
    help: 'Rows that this process told a destination of: of SQL that has no writer here, and in place of writers that could not.',
  },
  lockstep_outbox_replayed_rows_total: {
    type: 'counter',
    labels: [],
    help: 'Rows that this process told Redis of again, because a server answered that was not the one that had been told: a failover, a restart, a flush.',
  },
  lockstep_outbox_pruned_rows_total: {
    type: 'counter',
    labels: [],
    help: 'Rows that this process removed from the outbox, one retention after they were written.',
  },
  lockstep_delayed_deletes_total: {
    type: 'counter',
    labels: [],
    help: 'Rows that Redis was told of once more by this process, `timing.delayedDelete` after they were written.',
  },
  lockstep_delayed_delete_values_total: {
    type: 'counter',
    labels: [],
    help: 'Values that those found in Redis, and that did not see their write: a failover had brought them back.',
  },

  lockstep_foreign_events_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'Events of foreign producers that this process read: applied, or why they are dead letters (docs/events.md).',
  },

  // ---- loads
  lockstep_loads_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Calls of the loader, retries included.',
  },
  lockstep_loaded_ids_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Ids that the loader was called with.',
  },
  lockstep_load_seconds_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'What the calls of the loader took together, failed ones included.',
  },
  lockstep_load_failures_total: {
    type: 'counter',
    labels: ['entity', 'code'],
    help: 'Loads that failed after all retries, by the code of the error.',
  },
  lockstep_loads_running: {
    type: 'gauge',
    labels: [],
    help: 'Loads that run now.',
  },
  lockstep_loads_waiting: {
    type: 'gauge',
    labels: [],
    help: 'Loads that wait for their turn.',
  },
  lockstep_loads_limit: {
    type: 'gauge',
    labels: [],
    help: 'Loads that may run at once now: maxConcurrentLoads, or what was found between its least and most.',
  },
  lockstep_loads_shed_total: {
    type: 'counter',
    labels: ['class'],
    help: 'Loads that were not run, because more urgent ones took their room or their turn did not come in time, by what they were for: ticket (strong reads and reads with a ticket), miss, refresh (answered already), warm-up.',
  },
  lockstep_refreshes_total: {
    type: 'counter',
    labels: ['entity', 'reason'],
    help: 'Values that began to be loaded anew behind their answer: expired (past the ttl, within the grace) or early (before that: refreshAhead).',
  },

  // ---- Redis and PostgreSQL
  lockstep_hop_seconds: {
    type: 'histogram',
    labels: ['hop', 'operation'],
    help: 'How long answers took, by batch: hop l2 is Redis, source is PostgreSQL, bus is Kafka, where writers publish. Calls without an answer are in lockstep_hop_failures_total alone.',
  },
  lockstep_hop_failures_total: {
    type: 'counter',
    labels: ['hop', 'operation'],
    help: 'Calls without an answer: deadline, connection, open breaker; for source also what PostgreSQL or the loader refused.',
  },
  lockstep_breaker_state: {
    type: 'gauge',
    labels: ['hop', 'state'],
    help: '1 for the state that the circuit breaker is in, 0 for the others: closed, open (no call is made), half-open (some are). On a cluster the worst of the nodes.',
  },
  lockstep_breaker_changes_total: {
    type: 'counter',
    labels: ['hop', 'state', 'reason'],
    help: 'How often a breaker changed to a state, on a cluster of Redis those of all nodes together; reason: what opened it last, calls of this process (local) or what Prometheus says of all instances (fleet). Each change is a line of the log.',
  },
  lockstep_breaker_calls_total: {
    type: 'counter',
    labels: ['hop', 'node', 'outcome'],
    help: 'Calls that a breaker was asked for: answered, failed (deadline, connection, a server that is ill; not what it refuses), or refused, which were not made. node: host and port, on a cluster of Redis.',
  },
  lockstep_retries_total: {
    type: 'counter',
    labels: ['hop', 'outcome'],
    help: 'Calls that failed and might succeed again: made again, or refused because the budget was used up.',
  },
  lockstep_fleet_answers_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'What Prometheus answered when it was asked for the calls of all instances: known, empty (nothing worth telling), or why it was of no use.',
  },
  lockstep_fleet_holding: {
    type: 'gauge',
    labels: ['hop'],
    help: '1 while calls are held back because those of all instances fail.',
  },
  lockstep_fleet_holds_total: {
    type: 'counter',
    labels: ['hop'],
    help: 'How often that began, by node on a cluster of Redis.',
  },
  lockstep_flag_active: {
    type: 'gauge',
    labels: ['flag', 'entity'],
    help: 'Whether this process applies a flag (docs/flags.md): for all entities (`*`) 1 or 0, for a single one 1 while it is set.',
  },
  lockstep_flag_changes_total: {
    type: 'counter',
    labels: ['flag', 'entity', 'state'],
    help: 'How often a flag that concerns this process was set (also anew), was unset or expired, for all entities (`*`) or one. Each change is a line of the log.',
  },
  lockstep_deletes_total: {
    type: 'counter',
    labels: ['delete', 'outcome'],
    help: 'Tries to tell Redis of a write, first (before COMMIT) and second (after it): dropped or unavailable.',
  },
  lockstep_fills_total: {
    type: 'counter',
    labels: ['entity', 'answer'],
    help: 'Loaded values that were offered to Redis: filled; refused because a write or an eviction came in between (nonce-changed), the value does not see a write (tombstone), or what lies there sees more (not-covered); or unavailable.',
  },
  lockstep_corrupt_values_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Values in Redis that this process could not read; each was a miss.',
  },
  lockstep_uncached_keys_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Loaded values that were answered and cached nowhere, because maxNewKeysPerMinute was reached.',
  },

  // ---- L1
  lockstep_l1_entries: {
    type: 'gauge',
    labels: ['entity'],
    help: 'Values in L1.',
  },
  lockstep_l1_bytes: {
    type: 'gauge',
    labels: ['entity'],
    help: 'What they weigh, their overhead included.',
  },
  lockstep_l1_max_bytes: {
    type: 'gauge',
    labels: ['entity'],
    help: 'What they may weigh.',
  },
  lockstep_l1_fills_total: {
    type: 'counter',
    labels: ['entity', 'answer'],
    help: 'Values that were offered to L1: kept, or refused because nothing proves that they miss no write (or for their size).',
  },
  lockstep_l1_evictions_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Values that left L1 for room.',
  },
  lockstep_l1_dropped_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Values that an invalidation dropped from L1.',
  },
  lockstep_hot_keys: {
    type: 'gauge',
    labels: ['entity'],
    help: 'Ids that are hot now, over all instances, and kept in L1 therefore: 32 at most. Which ones: `lockstep top`.',
  },
  lockstep_hot_key_lists_total: {
    type: 'counter',
    labels: ['act'],
    help: 'Lists of hot keys: sent to the other instances, unsent because Redis could not be told, and heard of others.',
  },
  lockstep_too_big_values_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Loaded values above maxValueBytes: answered, and cached nowhere.',
  },

  // ---- Bloom filters
  lockstep_bloom_refused_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Reads of entities with the option `bloom` that its filter answered: the id does not exist. They are among lockstep_reads_total with tier l2, outcome absent.',
  },
  lockstep_bloom_false_positives_total: {
    type: 'counter',
    labels: ['entity'],
    help: 'Ids that were loaded in vain though the copy of the filter in this process has them: taken for others, or deleted since the filter was built.',
  },
  lockstep_bloom_ready: {
    type: 'gauge',
    labels: ['entity'],
    help: '1 while there is a filter that answers, else 0: every id may exist then. From each instance with the entity.',
  },
  lockstep_bloom_copied: {
    type: 'gauge',
    labels: ['entity'],
    help: '1 while this process has a copy of the newest filter, else 0: Redis is asked about each id that it has no value of.',
  },
  lockstep_bloom_fill_ratio: {
    type: 'gauge',
    labels: ['entity'],
    help: 'Share of the bits that are set; at a half the filter has the ids that it was made for.',
  },
  lockstep_bloom_estimated_rate: {
    type: 'gauge',
    labels: ['entity'],
    help: 'The share of absent ids that it takes for existing, as its bits have it. Above twice bloom.falsePositiveRate it is built anew.',
  },
  lockstep_bloom_estimated_ids: {
    type: 'gauge',
    labels: ['entity'],
    help: 'How many ids were added to it, as its bits have it; +Inf when all are set.',
  },
  lockstep_bloom_bytes: {
    type: 'gauge',
    labels: ['entity'],
    help: 'What it takes in Redis; during a build about twice that. A copy of it lies in each process.',
  },
  lockstep_bloom_generation: {
    type: 'gauge',
    labels: ['entity'],
    help: 'Which filter answers: each new one has a higher number.',
  },
  lockstep_bloom_build_progress_ratio: {
    type: 'gauge',
    labels: ['entity'],
    help: 'How far the scan of a build is, by the number of ids that are expected; absent when none is under way.',
  },
  lockstep_bloom_builds_total: {
    type: 'counter',
    labels: ['entity', 'outcome'],
    help: 'Builds that this process has ended: ready, or failed and to be tried again.',
  },
} as const satisfies Readonly<Record<string, MetricInfo>>

export type MetricName = keyof typeof catalogue
export type HistogramName = {
  [Name in MetricName]: (typeof catalogue)[Name]['type'] extends 'histogram' ? Name : never
}[MetricName]
/** Metrics that are read when they are scraped. */
export type SampledName = Exclude<MetricName, HistogramName>
export type LabelOf<Name extends MetricName> = (typeof catalogue)[Name]['labels'][number]

/** Doubling, with the 8 ms of the service level for loads among them. */
export const secondsBuckets: readonly number[] = [
  0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8,
]
