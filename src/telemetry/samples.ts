/** What each metric that is read at a scrape is read from. */
import type { AnyEntity } from '../model/entity.ts'
import type { Region } from '../model/l1-port.ts'
import { type LoadClass, loadClasses } from '../model/load-class.ts'
import type { Destination, Owed } from '../model/outbox-port.ts'
import { bloomSamplers, type FilterNumbers } from './bloom-samples.ts'
import type {
  ChangeCounters,
  FleetCounters,
  HotKeyCounters,
  ReadCounters,
  RelayCounters,
  Tally,
  WriteCounters,
} from './counters.ts'
import type { CacheEvents, TrustLoss } from './events.ts'
import { type ActiveFlag, flagChangeSamples, flagSamples } from './flag-samples.ts'
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
  /** What this process applies. */
  readonly flags: readonly ActiveFlag[]
  /** Of each hop that has one. */
  readonly breakers: readonly PresentBreaker[]
}

export interface PresentBreaker {
  readonly hop: Hop
  readonly state: CacheEvents['breaker']['state']
  /** By node, where there are several. */
  readonly calls: readonly (readonly [
    node: string | undefined,
    counts: { readonly answered: number; readonly failed: number; readonly refused: number },
  ])[]
  /** `undefined`: nobody is asked what others see. */
  readonly isHeld: boolean | undefined
}

export interface Numbers {
  readonly entities: () => Iterable<EntityNumbers>
  readonly present: () => Present
  readonly hasL2: boolean
  readonly hasLog: boolean
  readonly hops: HopWatch
  readonly writes: WriteCounters
  readonly trustLosses: Tally<TrustLoss>
  readonly changes: ChangeCounters
  readonly heard: { readonly fast: number; readonly durable: number }
  readonly relayed: Readonly<RelayCounters>
  readonly foreignEvents: Tally
  readonly shedLoads: Tally<LoadClass>
  readonly hotKeys: Readonly<HotKeyCounters>
  readonly retries: Readonly<Record<Hop, { readonly made: number; readonly refused: number }>>
  readonly fleet: FleetCounters
  readonly boundMs: number
}

export function samplersOf(numbers: Numbers): Samplers {
  const { entities, hops, present, writes } = numbers
  const each = eachOf(entities)
  const byCode = byCodeOf(entities)
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

    ...loadSamplers(numbers),
    lockstep_hop_failures_total: () =>
      hopsOf(numbers).flatMap((hop) =>
        hopOperations[hop].map(
          (operation) => [hops.failures[hop].get(operation) ?? 0, { hop, operation }] as const,
        ),
      ),
    ...resilienceSamplers(numbers),
    lockstep_flag_active: () => flagSamples(present().flags),
    lockstep_flag_changes_total: () => flagChangeSamples(numbers.changes.flags),
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

/** One sample of each entity. */
const eachOf =
  (entities: Numbers['entities']) =>
  (read: (one: EntityNumbers) => number) =>
  (): readonly Sample<'entity'>[] =>
    [...entities()].map((one) => [read(one), { entity: one.entity.name }])

/** Of each entity one for each code of an error. */
const byCodeOf =
  (entities: Numbers['entities']) =>
  (read: (counters: ReadCounters) => Tally) =>
  (): readonly Sample<'entity' | 'code'>[] =>
    [...entities()].flatMap(({ entity, counters }) =>
      samplesOf(read(counters), (code) => ({ entity: entity.name, code })),
    )

type L1Metric = Exclude<Extract<keyof Samplers, `lockstep_l1_${string}`>, 'lockstep_l1_trusted'>

/** What lies in this process. */
function l1Samplers(entities: Numbers['entities']): Pick<Samplers, L1Metric> {
  const each = eachOf(entities)
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

type LoadMetric = Extract<
  keyof Samplers,
  | `lockstep_load_${string}`
  | `lockstep_loads_${string}`
  | 'lockstep_loaded_ids_total'
  | 'lockstep_refreshes_total'
>

/** What the source is asked for. */
function loadSamplers({ entities, hops, present, shedLoads }: Numbers): Pick<Samplers, LoadMetric> {
  const each = eachOf(entities)
  const byCode = byCodeOf(entities)
  return {
    lockstep_loads_total: each(({ counters }) => counters.loads),
    lockstep_loaded_ids_total: each(({ counters }) => counters.loadedIds),
    lockstep_load_seconds_total: each(({ entity }) => hops.loadSeconds.get(entity.name) ?? 0),
    lockstep_load_failures_total: byCode(({ loadFailures }) => loadFailures),
    lockstep_loads_running: () => [[present().runningLoads]],
    lockstep_loads_waiting: () => [[present().waitingLoads]],
    lockstep_loads_limit: () => [[present().loadsLimit]],
    lockstep_loads_shed_total: () =>
      loadClasses.map((one) => [shedLoads.get(one) ?? 0, { class: one }] as const),
    lockstep_refreshes_total: () =>
      [...entities()].flatMap(({ entity, counters }) =>
        samplesOf(entriesOf(counters.refreshes), (reason) => ({ entity: entity.name, reason })),
      ),
  }
}

type RelayMetric = Extract<
  keyof Samplers,
  `lockstep_outbox_${string}` | `lockstep_delayed_${string}` | `lockstep_relay${string}`
>

/** What the relay does. */
function relaySamplers({
  changes,
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
    lockstep_relay_changes_total: () =>
      (['begun', 'ended'] as const).map((state) => [changes.relay.get(state) ?? 0, { state }]),
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
export function hopsOf({ hasL2, hasLog }: Pick<Numbers, 'hasL2' | 'hasLog'>): readonly Hop[] {
  return [...(hasL2 ? ['l2' as const] : []), 'source', ...(hasLog ? ['bus' as const] : [])]
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

type ResilienceMetric = Extract<
  keyof Samplers,
  `lockstep_breaker_${string}` | `lockstep_fleet_${string}` | 'lockstep_retries_total'
>

/** What breakers, retries and the second signal do. */
function resilienceSamplers(numbers: Numbers): Pick<Samplers, ResilienceMetric> {
  const { changes, fleet, present, retries } = numbers
  return {
    lockstep_breaker_state: () =>
      present().breakers.flatMap(({ hop, state: now }) =>
        breakerStates.map((state) => [state === now ? 1 : 0, { hop, state }] as const),
      ),
    lockstep_breaker_changes_total: () =>
      present().breakers.flatMap(({ hop }) =>
        breakerStates.flatMap((state) =>
          (['local', 'fleet'] as const).map(
            (reason) =>
              [
                changes.breakers.get(`${hop} ${state} ${reason}`) ?? 0,
                { hop, state, reason },
              ] as const,
          ),
        ),
      ),
    lockstep_breaker_calls_total: () =>
      present().breakers.flatMap(({ hop, calls }) =>
        calls.flatMap(([node = '', counts]) =>
          (['answered', 'failed', 'refused'] as const).map(
            (outcome) => [counts[outcome], { hop, node, outcome }] as const,
          ),
        ),
      ),
    lockstep_retries_total: () =>
      hopsOf(numbers).flatMap((hop) => [
        [retries[hop].made, { hop, outcome: 'made' }] as const,
        [retries[hop].refused, { hop, outcome: 'refused' }] as const,
      ]),
    lockstep_fleet_answers_total: () => samplesOf(fleet.answers, (outcome) => ({ outcome })),
    lockstep_fleet_holding: () =>
      present().breakers.flatMap(({ hop, isHeld }) =>
        isHeld === undefined ? [] : [[isHeld ? 1 : 0, { hop }] as const],
      ),
    lockstep_fleet_holds_total: () => samplesOf(fleet.holds, (hop) => ({ hop })),
  }
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
