/**
 * The port `FleetSignal` over Prometheus (DESIGN §9): what share of the calls of all instances of a
 * namespace had no answer, by hop. The default query tells of a hop only what enough calls of more than
 * one instance say, and what was scraped lately: one instance with a bad cable has a breaker of its own.
 */
import type { Clock } from '../model/clock.ts'
import type { FleetAnswer, FleetRatio, FleetSignal } from '../model/fleet.ts'
import { type Sample, unknown } from './answer.ts'
import { askPrometheus } from './client.ts'
import type { PrometheusSettings } from './options.ts'

const leastCalls = 20
const leastInstances = 2
/** Two scrapes of the usual 15 s, and one that is late. */
const longestScrapeAgeSeconds = 45

export function openFleet(
  settings: PrometheusSettings,
  namespace: string,
  clock: Clock,
): FleetSignal {
  const promql = settings.query ?? defaultQuery(namespace)
  return {
    intervalMs: settings.intervalMs,
    holdForMs: settings.holdForMs,
    ask: async (signal) => {
      const answer = await askPrometheus(settings, promql, clock, signal)
      return answer.kind === 'unknown' ? answer : ratiosOf(answer.atMs, answer.samples)
    },
  }
}

/**
 * Over a minute. From lockstep_breaker_calls_total, not from lockstep_hop_failures_total: that counts
 * what a loader refuses, and the calls that an open breaker did not make, so that a breaker which this
 * query opened would be the reason to keep it open.
 */
export function defaultQuery(namespace: string): string {
  const calls = (outcomes: string): string =>
    `lockstep_breaker_calls_total{namespace=${JSON.stringify(namespace)},outcome=~"${outcomes}"}`
  const failed = `increase(${calls('failed')}[1m])`
  const made = `increase(${calls('answered|failed')}[1m])`
  const by = 'by (hop, node)'
  return [
    `(sum ${by} (${failed}) / sum ${by} (${made}))`,
    `and (sum ${by} (${made}) >= ${leastCalls})`,
    `and (count ${by} (sum by (hop, node, instance) (${failed}) > 0) >= ${leastInstances})`,
    `and (time() - max ${by} (timestamp(${calls('answered|failed')})) < ${longestScrapeAgeSeconds})`,
  ].join('\n')
}

/** Nobody's ratio is below 0 or above 1: who says so is not asked what this is about. */
function ratiosOf(atMs: number, samples: readonly Sample[]): FleetAnswer {
  const ratios: FleetRatio[] = []
  const seen = new Set<string>()
  for (const { labels, value } of samples) {
    const { hop, node } = labels
    if (hop === undefined) return unknown('implausible', 'a ratio without the label hop')
    const name = `${hop} ${node ?? ''}`
    if (seen.has(name)) return unknown('implausible', 'two ratios of one hop')
    seen.add(name)
    // No calls at all.
    if (Number.isNaN(value)) continue
    if (!(value >= 0 && value <= 1)) return unknown('implausible', `a ratio of ${value}`)
    ratios.push({
      hop,
      node: node === undefined || node === '' ? undefined : node,
      errorRatio: value,
    })
  }
  if (ratios.length === 0) return unknown('not-a-number', 'no ratio is a number')
  return { kind: 'known', atMs, ratios }
}
