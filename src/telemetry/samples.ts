/** What each metric that is read at a scrape is read from. */
import type { AnyEntity } from '../model/entity.ts'
import { type FlagName, flagNames } from '../model/flags.ts'
import { type LoadClass, loadClasses } from '../model/load-class.ts'
import type { Destination, Owed, Region } from '../model/ports.ts'
import { bloomSamplers, type FilterNumbers } from './bloom-samples.ts'
import type {
  HotKeyCounters,
  ReadCounters,
  RelayCounters,
  Tally,
  WriteCounters,
} from './counters.ts'
import type { CacheEvents, TrustLoss } from './events.ts'
import { type Hop, type HopWatch, hopOperations } from './hops.ts'
import type { Sample, Samplers } from './registry.ts'

export interface EntityNumbers {
  readonly entity: AnyEntity
  readonly counters: ReadCounters
  readonly region: Region
  /** Of its Bloom filter; `undefined`: it has none. */
  readonly filter?: () => FilterNumbers | undefined
  /** `undefined`: nobody counts them. */
  readonly hot?: { readonly count: number } | undefined
}

/** What the coordinator knows now. */
export interface Present {
  readonly isTrusted: boolean
  /** Infinity without any proof. */
  readonly trustAgeMs: number
  readonly isRelaying: boolean
  /** `undefined`: another process knows. */
  readonly owed: (destination: Destination) => Owed | undefined
  readonly runningLoads: number
  readonly waitingLoads: number
  readonly loadsLimit: number
  /** `undefined`: there is no Redis. */
  readonly breaker: CacheEvents['breaker']['state'] | undefined
  /** What this process applies. */
  readonly flags: readonly { readonly flag: FlagName; readonly entity?: string | undefined }[]
}

export interface Numbers {
  readonly entities: () => Iterable<EntityNumbers>
  readonly present: () => Present
  readonly hasL2: boolean
  readonly hasLog: boolean
  readonly hops: HopWatch
  readonly writes: WriteCounters
  readonly trustLosses: Tally<TrustLoss>
  readonly heard: { readonly fast: number; readonly durable: number }
  readonly relayed: Readonly<RelayCounters>
  readonly foreignEvents: Tally
  readonly shedLoads: Tally<LoadClass>
  readonly hotKeys: Readonly<HotKeyCounters>
  readonly boundMs: number
}

export function samplersOf(numbers: Numbers): Samplers {
  const { entities, hops, present, writes } = numbers
  /** One sample of each entity. */
  const each = (read: (one: EntityNumbers) => number) => () =>
    [...entities()].map((one) => [read(one), { entity: one.entity.name }] as const)
  const byCode = (read: (counters: ReadCounters) => Tally) => () =>
    [...entities()].flatMap(({ entity, counters }) =>
      samplesOf(read(counters), (code) => ({ entity: entity.name, code })),
    )
  return {
    lockstep_reads_total: () => [...entities()].flatMap(readSamples),
    lockstep_read_failures_total: byCode(({ readFailures }) => readFailures),
    lockstep_writes_total: () => [
      [writes.fenced, { outcome: 'fenced' }],
      [writes.unfenced, { outcome: 'unfenced' }],
    ],
    lockstep_write_failures_total: () => samplesOf(writes.failures, (code) => ({ code })),

    lockstep_l1_trusted: () => [[present().isTrusted ? 1 : 0]],
    lockstep_trust_age_seconds: () => [[present().trustAgeMs / 1_000]],
    lockstep_staleness_bound_seconds: () => [[numbers.boundMs / 1_000]],
    lockstep_trust_losses_total: () => samplesOf(numbers.trustLosses, (reason) => ({ reason })),
    lockstep_heard_writes_total: () => [
      [numbers.heard.fast, { plane: 'fast' }],
      [numbers.heard.durable, { plane: 'durable' }],
    ],

    ...relaySamplers(numbers),
    lockstep_foreign_events_total: () =>
      samplesOf(numbers.foreignEvents, (outcome) => ({ outcome })),

    lockstep_loads_total: each(({ counters }) => counters.loads),
    lockstep_loaded_ids_total: each(({ counters }) => counters.loadedIds),
    lockstep_load_seconds_total: each(({ entity }) => hops.loadSeconds.get(entity.name) ?? 0),
    lockstep_load_failures_total: byCode(({ loadFailures }) => loadFailures),
    lockstep_loads_running: () => [[present().runningLoads]],
    lockstep_loads_waiting: () => [[present().waitingLoads]],
    lockstep_loads_limit: () => [[present().loadsLimit]],
    lockstep_loads_shed_total: () =>
      loadClasses.map((one) => [numbers.shedLoads.get(one) ?? 0, { class: one }] as const),
    lockstep_refreshes_total: () =>
      [...entities()].flatMap(({ entity, counters }) =>
        samplesOf(entriesOf(counters.refreshes), (reason) => ({ entity: entity.name, reason })),
      ),

    lockstep_hop_failures_total: () =>
      hopsOf(numbers.hasL2).flatMap((hop) =>
        hopOperations[hop].map(
          (operation) => [hops.failures[hop].get(operation) ?? 0, { hop, operation }] as const,
        ),
      ),
    lockstep_breaker_state: () => breakerSamples(present()),
    lockstep_flag_active: () => flagSamples(present()),
    lockstep_deletes_total: () => [
      ...samplesOf(entriesOf(writes.firstDelete), (outcome) => ({ delete: 'first', outcome })),
      ...samplesOf(entriesOf(writes.secondDelete), (outcome) => ({ delete: 'second', outcome })),
    ],
    lockstep_fills_total: () =>
      [...entities()].flatMap(({ entity, counters }) =>
        samplesOf(entriesOf(counters.fills), (answer) => ({ entity: entity.name, answer })),
      ),
    lockstep_corrupt_values_total: each(({ counters }) => counters.corruptValues),

    lockstep_uncached_keys_total: each(({ counters }) => counters.uncachedKeys),

    ...l1Samplers(entities),
    lockstep_hot_keys: each(({ hot }) => hot?.count ?? 0),
    lockstep_hot_key_lists_total: () =>
      samplesOf(entriesOf({ ...numbers.hotKeys }), (act) => ({ act })),
    lockstep_too_big_values_total: each(({ counters }) => counters.tooBigValues),

    ...bloomSamplers(entities),
  }
}

type L1Metric = Exclude<Extract<keyof Samplers, `lockstep_l1_${string}`>, 'lockstep_l1_trusted'>

/** What lies in this process. */
function l1Samplers(entities: Numbers['entities']): Pick<Samplers, L1Metric> {
  const each = (read: (one: EntityNumbers) => number) => () =>
    [...entities()].map((one) => [read(one), { entity: one.entity.name }] as const)
  return {
    lockstep_l1_entries: each(({ region }) => region.count),
    lockstep_l1_bytes: each(({ region }) => region.weightBytes),
    lockstep_l1_max_bytes: each(({ entity }) => entity.maxBytes),
    lockstep_l1_fills_total: () =>
      [...entities()].flatMap(({ entity: { name }, region }) => [
        [region.fills, { entity: name, answer: 'kept' }] as const,
        [region.refusedFills, { entity: name, answer: 'refused' }] as const,
      ]),
    lockstep_l1_evictions_total: each(({ region }) => region.evictions),
    lockstep_l1_dropped_total: each(({ region }) => region.drops),
  }
}

type RelayMetric = Extract<
  keyof Samplers,
  `lockstep_outbox_${string}` | `lockstep_delayed_${string}` | 'lockstep_relaying'
>

/** What the relay does. */
function relaySamplers({
  hasL2,
  hasLog,
  hops,
  present,
  relayed,
}: Numbers): Pick<Samplers, RelayMetric> {
  const destinations = [...(hasL2 ? ['l2' as const] : []), ...(hasLog ? ['log' as const] : [])]
  const backlog = (read: (owed: Owed) => number) =>
    destinations.flatMap((destination) => {
      const owed = present().owed(destination)
      return owed ? [[read(owed), { destination }] as const] : []
    })
  return {
    lockstep_relaying: () => [[present().isRelaying ? 1 : 0]],
    lockstep_outbox_backlog_rows: () => backlog(({ rows }) => rows),
    lockstep_outbox_backlog_seconds: () => backlog(({ oldestMs }) => oldestMs / 1_000),
    lockstep_outbox_relayed_rows_total: () =>
      destinations.map((destination) => [hops.relayedRows.get(destination) ?? 0, { destination }]),
    lockstep_outbox_replayed_rows_total: () => [[relayed.replayedRows]],
    lockstep_outbox_pruned_rows_total: () => [[hops.prunedRows]],
    lockstep_delayed_deletes_total: () => [[relayed.repeatedRows]],
    lockstep_delayed_delete_values_total: () => [[relayed.repeatedValues]],
  }
}

/** Those that this cache has. */
export function hopsOf(hasL2: boolean): readonly Hop[] {
  return hasL2 ? ['l2', 'source'] : ['source']
}

function readSamples({ entity: { name: entity }, counters }: EntityNumbers) {
  const of = (value: number, tier: string, outcome: string) =>
    [value, { entity, tier, outcome }] as const
  return [
    of(counters.l1Hits, 'l1', 'fresh'),
    of(counters.l1StaleHits, 'l1', 'stale'),
    of(counters.l1Absent, 'l1', 'absent'),
    of(counters.l2Hits, 'l2', 'fresh'),
    of(counters.l2StaleHits, 'l2', 'stale'),
    of(counters.l2Absent, 'l2', 'absent'),
    of(counters.sourceReads, 'source', 'fresh'),
    of(counters.sourceAbsent, 'source', 'absent'),
  ]
}

const breakerStates = ['closed', 'open', 'half-open'] as const

function breakerSamples({ breaker }: Present): readonly Sample<'hop' | 'state'>[] {
  if (breaker === undefined) return []
  return breakerStates.map((state) => [state === breaker ? 1 : 0, { hop: 'l2', state }])
}

/** Each flag of all entities, set or not; of single entities those that are set. */
function flagSamples({ flags }: Present): readonly Sample<'flag' | 'entity'>[] {
  const isSet = (name: FlagName): boolean =>
    flags.some(({ flag, entity }) => flag === name && entity === undefined)
  const single = new Map(
    flags.flatMap(({ flag, entity }) =>
      entity === undefined ? [] : [[`${flag} ${entity}`, { flag, entity }]],
    ),
  )
  return [
    ...flagNames.map((flag) => [isSet(flag) ? 1 : 0, { flag, entity: '*' }] as const),
    ...[...single.values()].map((labels) => [1, labels] as const),
  ]
}

function entriesOf(tally: Readonly<Record<string, number>>): Iterable<readonly [string, number]> {
  return Object.entries(tally)
}

function samplesOf<Word extends string, Label extends string>(
  tally: Iterable<readonly [Word, number]>,
  labels: (word: Word) => Readonly<Record<Label, string>>,
): readonly Sample<Label>[] {
  return [...tally].map(([word, times]) => [times, labels(word)])
}
