/** What Prometheus' HTTP API answers to an instant query, parsed strictly: anything else is unknown. */
import type { Unknown, UnknownReason } from '../model/fleet.ts'

export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export type QueryAnswer =
  /** A scalar is one sample without labels. `atMs`: of when the answer is, by Prometheus' clock. */
  { readonly kind: 'samples'; readonly atMs: number; readonly samples: readonly Sample[] } | Unknown

/** More is no ratio per hop: a query that forgot its `sum`. */
export const mostSeries = 64
const numberPattern = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i
const special: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  '+Inf': Number.POSITIVE_INFINITY,
  '-Inf': Number.NEGATIVE_INFINITY,
}

/** `body`: of a response with this status. */
export function parseAnswer(status: number, body: string): QueryAnswer {
  const answer = parseJson(body)
  if (status === 401 || status === 403) return unknown('refused', `HTTP ${status}`)
  if (!isObject(answer)) {
    return status === 200
      ? unknown('not-json', 'the answer is no JSON object')
      : unknown('http', `HTTP ${status}`)
  }
  if (answer.status === 'error') {
    const why = `${wordOf(answer.errorType)}: ${String(answer.error).slice(0, 200)}`
    return unknown(answer.errorType === 'bad_data' ? 'query' : 'http', why)
  }
  if (status !== 200) return unknown('http', `HTTP ${status}`)
  if (answer.status !== 'success' || !isObject(answer.data)) {
    return unknown('type', 'neither success nor error')
  }
  const { resultType, result } = answer.data
  if (resultType === 'scalar') return samplesOf([{ metric: {}, value: result }])
  if (resultType !== 'vector' || !Array.isArray(result)) {
    return unknown('type', `a ${wordOf(resultType)}, where a vector or a scalar would do`)
  }
  if (result.length === 0) return unknown('empty', 'no series')
  if (result.length > mostSeries) {
    return unknown('too-big', `${result.length} series, where up to ${mostSeries} would do`)
  }
  return samplesOf(result)
}

function samplesOf(result: readonly unknown[]): QueryAnswer {
  const samples: Sample[] = []
  let atMs: number | undefined
  for (const one of result) {
    if (!isObject(one) || !isObject(one.metric)) return unknown('type', 'a series without labels')
    const labels = Object.entries(one.metric)
    const [at, text] = Array.isArray(one.value) ? one.value : []
    if (typeof at !== 'number' || !Number.isFinite(at) || typeof text !== 'string') {
      return unknown('type', 'a series without a value')
    }
    if (labels.some(([, label]) => typeof label !== 'string')) {
      return unknown('type', 'a label that is no text')
    }
    const value = numberOf(text)
    if (value === undefined) return unknown('type', 'a value that is no number')
    // All of one instant: the oldest says how old the answer is.
    atMs = Math.min(atMs ?? Number.POSITIVE_INFINITY, at * 1_000)
    samples.push({ labels: one.metric as Record<string, string>, value })
  }
  return { kind: 'samples', atMs: atMs as number, samples }
}

function numberOf(text: string): number | undefined {
  if (Object.hasOwn(special, text)) return special[text]
  return numberPattern.test(text) ? Number(text) : undefined
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

/** Of what came from outside, a word to be shown. */
function wordOf(value: unknown): string {
  return typeof value === 'string' && /^[a-z_]{1,40}$/.test(value) ? value : 'something unknown'
}

export function unknown(reason: UnknownReason, detail: string): Unknown {
  return { kind: 'unknown', reason, detail }
}
