/** What the metrics of Bloom filters are read from: what the keepers saw last. */
import { bytesOf, idsAt, rateAt } from '../model/bloom.ts'
import type { BuildProgress, FilterStatus } from '../model/filter-ports.ts'
import type { Sample, Samplers } from './registry.ts'
import type { EntityNumbers } from './samples.ts'

export interface FilterNumbers {
  /** `undefined`: Redis had no answer. */
  readonly status: FilterStatus | undefined
  /** Of a build in this process. */
  readonly progress: BuildProgress | undefined
  readonly outcomes: Readonly<Record<'ready' | 'failed', number>>
  /** The generation that is copied here. */
  readonly copied: number | undefined
}

type BloomMetric = Extract<keyof Samplers, `lockstep_bloom_${string}`>
type Current = NonNullable<FilterStatus['current']>

export function bloomSamplers(
  entities: () => Iterable<EntityNumbers>,
): Pick<Samplers, BloomMetric> {
  /** One sample of each entity that has the option. */
  const each = (read: (filter: FilterNumbers, one: EntityNumbers) => number | undefined) => () =>
    [...entities()].flatMap((one): readonly Sample<'entity'>[] => {
      const filter = one.filter?.()
      const value = filter && read(filter, one)
      return value === undefined ? [] : [[value, { entity: one.entity.name }]]
    })
  const ofCurrent = (read: (current: Current) => number) =>
    each(({ status }) => status?.current && read(status.current))
  return {
    lockstep_bloom_refused_total: each((_, { counters }) => counters.refused),
    lockstep_bloom_false_positives_total: each((_, { counters }) => counters.falsePositives),
    lockstep_bloom_ready: each(({ status }) => (status?.current && !status.isOutlived ? 1 : 0)),
    lockstep_bloom_copied: each(({ status, copied }) =>
      status?.current && copied === status.current.generation ? 1 : 0,
    ),
    lockstep_bloom_fill_ratio: ofCurrent(({ bits, setBits }) => setBits / bits),
    lockstep_bloom_estimated_rate: ofCurrent((current) => rateAt(current, current.setBits)),
    lockstep_bloom_estimated_ids: ofCurrent((current) => idsAt(current, current.setBits)),
    lockstep_bloom_bytes: ofCurrent(bytesOf),
    lockstep_bloom_generation: ofCurrent(({ generation }) => generation),
    lockstep_bloom_build_progress_ratio: each(({ status, progress }) => {
      const known = progress ?? status?.building
      return known && Math.min(1, known.scanned / Math.max(1, known.expected))
    }),
    lockstep_bloom_builds_total: () =>
      [...entities()].flatMap(({ entity: { name: entity }, filter }) =>
        Object.entries(filter?.()?.outcomes ?? {}).map(
          ([outcome, times]) => [times, { entity, outcome }] as const,
        ),
      ),
  }
}
