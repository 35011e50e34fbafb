/** What `lockstep doctor` asks Prometheus: questions alone. */
import type { Clock } from '../model/clock.ts'
import type { Answer, ClockFacts, Inspection, PrometheusFacts } from '../model/doctor.ts'
import { type Failure, type FailureKind, kindOf } from '../model/failure.ts'
import type { Unknown, UnknownReason } from '../model/fleet.ts'
import { askPrometheus } from './client.ts'
import { defaultQuery } from './fleet.ts'
import type { PrometheusSettings } from './options.ts'

/** Never rejects, and ends by itself: each question has the deadline of the settings. */
export async function inspectPrometheus(
  settings: PrometheusSettings,
  namespace: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Inspection<PrometheusFacts>> {
  const at = settings.url.host
  const [wallMs, sentAtMs] = [clock.wallMs(), clock.monotonicMs()]
  const now = await askPrometheus(settings, 'time()', clock, signal)
  if (now.kind === 'unknown') return { kind: 'unreachable', at, failure: failureOf(now) }
  const roundTripMs = clock.monotonicMs() - sentAtMs
  const time: ClockFacts = { roundTripMs, offsetMs: now.atMs - (wallMs + roundTripMs / 2) }
  const asked = settings.query ?? defaultQuery(namespace)
  const calls = (label: string): string =>
    `lockstep_breaker_calls_total{${label}=${JSON.stringify(namespace)}}`
  const instancesIn = (label: string): string => `count(count by (instance) (${calls(label)}))`
  const numberOf = (promql: string) => askNumber(settings, promql, clock, signal)
  const [query, instances, age, renamed] = await Promise.all([
    askPrometheus(settings, asked, clock, signal),
    numberOf(instancesIn('namespace')),
    numberOf(`time() - max(timestamp(${calls('namespace')}))`),
    numberOf(instancesIn('exported_namespace')),
  ])
  return {
    kind: 'reached',
    found: `Prometheus at ${at}`,
    facts: {
      clock: { isKnown: true, value: time },
      query: {
        isKnown: true,
        value:
          query.kind === 'unknown'
            ? { reason: query.reason, detail: query.detail }
            : { reason: undefined, detail: `${query.samples.length} series` },
      },
      scraped: scrapedOf(instances, age, renamed),
    },
  }
}

type Counted = Answer<number | undefined>

function scrapedOf(
  instances: Counted,
  age: Counted,
  renamed: Counted,
): Answer<PrometheusFacts['scraped']> {
  if (!instances.isKnown) return instances
  if (!age.isKnown) return age
  if (!renamed.isKnown) return renamed
  return {
    isKnown: true,
    value: {
      instances: instances.value ?? 0,
      ageSeconds: age.value,
      renamed: renamed.value ?? 0,
    },
  }
}

/** `undefined`: there is no series. */
async function askNumber(
  settings: PrometheusSettings,
  promql: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Counted> {
  const answer = await askPrometheus(settings, promql, clock, signal)
  if (answer.kind === 'samples') return { isKnown: true, value: answer.samples[0]?.value }
  if (answer.reason === 'empty') return { isKnown: true, value: undefined }
  return { isKnown: false, why: answer.detail }
}

const kinds: Readonly<Partial<Record<UnknownReason, FailureKind>>> = {
  refused: 'password',
  deadline: 'silent',
  http: 'stranger',
  query: 'stranger',
  type: 'stranger',
  'not-json': 'stranger',
  'too-big': 'stranger',
}

function failureOf({ reason, detail }: Unknown): Failure {
  return { kind: kinds[reason] ?? kindOf(detail) ?? 'other', detail }
}
