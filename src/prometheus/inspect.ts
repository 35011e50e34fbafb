/** What `lockstep doctor` asks Prometheus: questions alone. */
import type { Clock } from '../model/clock.ts'
import {
  type Answer,
  compareClocks,
  type Inspection,
  known,
  type PrometheusFacts,
} from '../model/doctor.ts'
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
  let failure: Failure | undefined
  const time = await compareClocks(clock, async () => {
    const now = await askPrometheus(settings, 'time()', clock, signal)
    if (now.kind === 'samples') return now.atMs
    failure = failureOf(now)
    return 0
  })
  if (failure) return { kind: 'unreachable', at, failure }
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
      clock: known(time),
      query: known(
        query.kind === 'unknown'
          ? { reason: query.reason, detail: query.detail }
          : { reason: undefined, detail: `${query.samples.length} series` },
      ),
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
  return known({
    instances: instances.value ?? 0,
    ageSeconds: age.value,
    renamed: renamed.value ?? 0,
  })
}

/** `undefined`: there is no series. */
async function askNumber(
  settings: PrometheusSettings,
  promql: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Counted> {
  const answer = await askPrometheus(settings, promql, clock, signal)
  if (answer.kind === 'samples') return known(answer.samples[0]?.value)
  if (answer.reason === 'empty') return known(undefined)
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
