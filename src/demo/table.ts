/** The results as a table for people. */
import type { DemoResults } from './results.ts'

const whole = (value: number): string => Math.round(value).toLocaleString('en-US')
const percent = (share: number): string => `${(share * 100).toFixed(1)} %`
const ms = (value: number | null): string => (value === null ? '–' : value.toFixed(3))

export function tableOf(results: DemoResults): string {
  const { reads, hits, misses, latencyMs, services, sourceQueries } = results
  const tiers = [
    ['L1', hits.l1, latencyMs.l1],
    ['L2', hits.l2, latencyMs.l2],
    ['source', misses, latencyMs.source],
  ] as const
  const saved = Math.max(0, results.calls - sourceQueries)
  const facts: readonly (readonly [string, string])[] = [
    [
      'reads',
      `${whole(reads)} rows, ${whole(results.throughput)} a second, in ${whole(results.calls)} calls`,
    ],
    ['writes', `${whole(results.writes)}${unfenced(results)}`],
    ...foreign(results),
    ['hit ratio', percent(results.hitRatio)],
    ['loads', `${whole(results.loads)}, in ${whole(sourceQueries)} queries of the source`],
    [
      'queries saved',
      `${whole(saved)}, ${percent(saved / Math.max(1, results.calls))} of the calls`,
    ],
    ['checked', `${whole(results.crossProcessChecks)} reads of what another process had written`],
    ['stale, strong', `${whole(results.staleStrong)} of ${strongAndTicketed(results)}`],
    [
      'stale, bounded',
      `${whole(results.staleBeyondBound)} beyond the bound of 1 s; ${oldest(results)}`,
    ],
    ...attack(results),
    ...chaos(results),
    ...failures(results),
  ]
  return [
    `${results.processes} processes, ${results.seconds} s, ${whole(results.rows)} rows;` +
      ` PostgreSQL ${services.postgres.version}, Redis ${services.redis.version}${kafka(services)}`,
    '',
    row(['tier', 'reads', 'share', 'P50 ms', 'P99 ms']),
    ...tiers.map(([name, count, { p50, p99 }]) =>
      row([name, whole(count), percent(count / Math.max(1, reads)), ms(p50), ms(p99)]),
    ),
    '',
    ...facts.map(([name, value]) => `  ${name.padEnd(16)}${value}`),
    '',
    results.credit,
    '',
  ].join('\n')
}

function row([name, ...cells]: readonly [string, ...string[]]): string {
  return `  ${name.padEnd(8)}${cells.map((cell) => cell.padStart(12)).join('')}`
}

function kafka({ kafka }: DemoResults['services']): string {
  return kafka === undefined ? '' : `, Kafka ${kafka.version}`
}

function unfenced({ unfencedWrites }: DemoResults): string {
  return unfencedWrites > 0 ? `, ${whole(unfencedWrites)} of them without Redis in time` : ''
}

function foreign({ foreignWrites }: DemoResults): readonly (readonly [string, string])[] {
  return foreignWrites > 0 ? [['foreign writes', `${whole(foreignWrites)} rows, by plain SQL`]] : []
}

function strongAndTicketed({ strongReads, ticketedReads }: DemoResults): string {
  return `${whole(strongReads)} strong reads and ${whole(ticketedReads)} with a ticket`
}

function oldest({ maxStaleMs }: DemoResults): string {
  return `the oldest write that one missed had returned ${maxStaleMs.toFixed(1)} ms before`
}

function chaos({ chaos }: DemoResults): readonly (readonly [string, string])[] {
  if (!chaos) return []
  const { kills, stops, faults } = chaos
  return [['chaos', `${kills} processes killed, ${stops} stopped; ${faults.join(', ')}`]]
}

function attack({ attack }: DemoResults): readonly (readonly [string, string])[] {
  if (!attack) return []
  const { requests, refused, sourceQueries, inDoubt, falsePositives, failed, newRows } = attack
  const share = percent(refused / Math.max(1, requests))
  const doubts = inDoubt > 0 ? `, ${whole(inDoubt)} of them while Redis had no proof` : ''
  const failures = failed > 0 ? `, ${whole(failed)} failed` : ''
  return [
    [
      'attack',
      `${whole(requests)} ids that don’t exist: ${whole(refused)} refused (${share}), ${whole(sourceQueries)} reached the source${doubts}${failures}`,
    ],
    [
      'Bloom filter',
      `${whole(falsePositives)} false positives; ${whole(newRows)} new rows were found`,
    ],
  ]
}

function failures(results: DemoResults): readonly (readonly [string, string])[] {
  const { failedReads, failedWrites } = results
  if (failedReads + failedWrites === 0) return []
  return [['failed', `${whole(failedReads)} reads, ${whole(failedWrites)} writes`]]
}
