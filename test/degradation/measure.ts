/** Numbers of a cell, from what its instances saw. */
import { type Call, type ReadKind, readKinds, type Samples } from './samples.ts'

/** Nanoseconds since the epoch. */
export interface Phases {
  readonly faultBegin: number
  readonly faultEnd: number
  /** When every instance was found well again; `undefined`: not in time. */
  readonly wellAt: number | undefined
  readonly end: number
}

export interface Measured {
  /** Of the calls that were due while it was broken, or not yet well again. */
  readonly calls: Readonly<Record<ReadKind | 'write', Counts>>
  /** All reads while it was broken, without the first second, in which breakers open. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** The same of the reads that were answered from the source. */
  readonly sourceP99Ms: number
  /** The longest of all reads, failed ones too. */
  readonly slowestReadMs: number
  readonly slowestWriteMs: number
  /** Of the calls that failed, without the first second. */
  readonly failedP50Ms: number
  /** How often calls failed with what, by kind. */
  readonly errors: Readonly<Record<string, number>>
  /** Calls that failed otherwise than with an error of ours that may be retried. */
  readonly untyped: readonly string[]
  /** Answers from L1 that began later than the staleness bound after the fault had. */
  readonly l1AfterBound: number
  /** Answers out of Redis, and from the source, that began so late and came while it was broken. */
  readonly l2AfterBound: number
  readonly sourceAfterBound: number
  /** Bounded answers for rows that nobody writes that began so late, and said that they are proven. */
  readonly provenAfterBound: number
  /** Of the oldest answer that was past its ttl. */
  readonly oldestStaleMs: number
  /** From the end of the fault until the L1 of every instance was served again. */
  readonly trustBackMs: number
  /** From the fault on, until the breaker of Redis had opened in every instance; `undefined`: it did not. */
  readonly l2OpenedMs: number | undefined
  /** Changes of breakers, by hop. */
  readonly transitions: Readonly<Record<'l2' | 'source' | 'bus', number>>
  readonly recoveryMs: number | undefined
  /** From the beginning of the fault until all was well again. */
  readonly disturbedMs: number
}

interface Counts {
  readonly asked: number
  readonly answered: number
}

const nsPerMs = 1e6
/** How long breakers may take to open. */
export const openingMs = 1_000

export function measure(samples: Samples, phases: Phases, boundMs: number): Measured {
  const { faultBegin, faultEnd, wellAt, end } = phases
  const disturbed = samples.calls.filter(({ due }) => due >= faultBegin && due < (wellAt ?? end))
  const settledNs = faultBegin + openingMs * nsPerMs
  const settled = disturbed.filter(({ due }) => due >= settledNs && due < faultEnd)
  const reads = disturbed.filter(isRead)
  const late = disturbed.filter(({ due }) => due > faultBegin + boundMs * nsPerMs && due < faultEnd)
  const within = late.filter((call) => call.end < faultEnd)
  const answeredReads = settled.filter((call) => isRead(call) && isAnswered(call))
  return {
    disturbedMs: ((wellAt ?? end) - faultBegin) / nsPerMs,
    calls: Object.fromEntries(
      [...readKinds, 'write' as const].map((kind) => [kind, countsOf(disturbed, kind)]),
    ) as Measured['calls'],
    p50Ms: percentile(answeredReads.map(msOf), 0.5),
    p99Ms: percentile(answeredReads.map(msOf), 0.99),
    sourceP99Ms: percentile(answeredReads.filter(({ tier }) => tier === 'source').map(msOf), 0.99),
    slowestReadMs: Math.max(0, ...reads.map(msOf)),
    slowestWriteMs: Math.max(0, ...disturbed.filter((call) => !isRead(call)).map(msOf)),
    failedP50Ms: percentile(settled.filter((call) => !isAnswered(call)).map(msOf), 0.5),
    errors: errorsOf(disturbed),
    untyped: [...new Set(disturbed.filter(isUntyped).map(({ error }) => error as string))],
    l1AfterBound: late.filter(({ tier }) => tier === 'l1').length,
    l2AfterBound: within.filter(({ tier }) => tier === 'l2').length,
    sourceAfterBound: within.filter(({ tier }) => tier === 'source').length,
    provenAfterBound: late.filter(({ kind, proven }) => kind === 'steady' && proven).length,
    oldestStaleMs: Math.max(
      0,
      ...disturbed.filter(({ state }) => state === 'stale').map(({ ageMs }) => ageMs ?? 0),
    ),
    trustBackMs: Math.max(0, ...samples.trust.map((changes) => backMs(changes, phases))),
    l2OpenedMs: openedMs(samples, faultBegin),
    transitions: {
      l2: transitions(samples, 'l2', faultBegin),
      source: transitions(samples, 'source', faultBegin),
      bus: transitions(samples, 'bus', faultBegin),
    },
    recoveryMs: wellAt === undefined ? undefined : Math.max(0, (wellAt - faultEnd) / nsPerMs),
  }
}

const isRead = ({ kind }: Call): boolean => kind !== 'write'
const isAnswered = ({ error }: Call): boolean => error === undefined
const msOf = ({ due, end }: Call): number => (end - due) / nsPerMs

/** Whether a COMMIT that nobody answered went through can't be told by calling again. */
function isUntyped({ kind, error, retryable }: Call): boolean {
  if (error === undefined || retryable) return false
  return !(kind === 'write' && error === 'WRITE_OUTCOME_UNKNOWN')
}

function countsOf(calls: readonly Call[], wanted: Call['kind']): Counts {
  const asked = calls.filter(({ kind }) => kind === wanted)
  return { asked: asked.length, answered: asked.filter(isAnswered).length }
}

function errorsOf(calls: readonly Call[]): Readonly<Record<string, number>> {
  const errors: Record<string, number> = {}
  for (const { kind, error } of calls) {
    if (error === undefined) continue
    const name = `${kind} ${error}`
    errors[name] = (errors[name] ?? 0) + 1
  }
  return errors
}

function transitions({ breakers }: Samples, wanted: string, since: number): number {
  return breakers.flat().filter(({ hop, at }) => hop === wanted && at >= since).length
}

function openedMs({ breakers }: Samples, since: number): number | undefined {
  const opened = breakers.map((changes) =>
    changes.find(({ hop, state, at }) => hop === 'l2' && state === 'open' && at >= since),
  )
  const last = Math.max(...opened.map((change) => change?.at ?? Number.POSITIVE_INFINITY))
  return Number.isFinite(last) ? (last - since) / nsPerMs : undefined
}

/**
 * How long after the fault this instance trusted its L1 again; 0: it never lost it, or has it back before.
 * What the end of the fault costs counts too, as long as all is not well again.
 */
function backMs(changes: Samples['trust'][number], { faultEnd, wellAt, end }: Phases): number {
  const untilNs = wellAt ?? end
  const lost = changes.findLastIndex(({ at, state }) => at < untilNs && state === 'lost')
  if (lost < 0) return 0
  const gained = changes.slice(lost).find(({ state }) => state === 'gained')
  return Math.max(0, (gained?.at ?? Number.POSITIVE_INFINITY) - faultEnd) / nsPerMs
}

/** 0 of none. */
function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? 0
}
