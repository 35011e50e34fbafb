/** Shares that rules look at, in numbers that only grow. */
import { sumOf } from './counters.ts'
import type { HopWatch } from './hops.ts'
import type { EntityNumbers } from './samples.ts'

export type Ratio = 'l2.failures' | 'source.failures' | 'reads.failed' | 'reads.stale'

export function shareOf(
  ratio: Ratio,
  hops: HopWatch,
  entities: Iterable<EntityNumbers>,
): { readonly part: number; readonly all: number } {
  if (ratio === 'l2.failures' || ratio === 'source.failures') {
    const hop = ratio === 'l2.failures' ? 'l2' : 'source'
    const part = sumOf(hops.failures[hop])
    return { part, all: part + hops.answers[hop] }
  }
  let [part, all] = [0, 0]
  for (const { counters } of entities) {
    const stale = counters.l1StaleHits + counters.l2StaleHits
    const failed = sumOf(counters.readFailures)
    const fresh = counters.l1Hits + counters.l2Hits + counters.sourceReads
    const absent = counters.l1Absent + counters.l2Absent + counters.sourceAbsent
    part += ratio === 'reads.failed' ? failed : stale
    all += stale + failed + fresh + absent
  }
  return { part, all }
}
