/** What each cell of the matrix promises, and whether what was measured keeps it. */
import type { Cell, Service } from './cells.ts'
import { type Measured, openingMs } from './measure.ts'
import { type ReadKind, readKinds } from './samples.ts'

/** What the cells of one run share. */
export interface Conditions {
  readonly instances: number
  readonly boundMs: number
  readonly readDeadlineMs: number
  readonly writeDeadlineMs: number
  /** C, of one process. */
  readonly maxConcurrentLoads: number
  readonly recoveryDeadlineMs: number
  /** Of the cell in which nothing is broken; `undefined` in that cell. */
  readonly control: Measured | undefined
}

/** What was measured, with what the judge of the history says. */
export interface Outcome extends Measured {
  readonly violations: number
  /** By how much the stalest bounded answer missed a write. */
  readonly staleMs: number
  /** The most loads that ran at once in one process. */
  readonly sourceConcurrency: number
  /** What came of asking Prometheus, of each instance by outcome. */
  readonly fleetAnswers: readonly Readonly<Record<string, number>>[]
}

export interface Promised {
  /** In words, for the table. */
  readonly text: string
  /** Calls of these kinds all succeed. */
  readonly succeed: readonly Kind[]
  readonly checks: readonly Check[]
}

type Kind = ReadKind | 'write'
/** What is wrong, in words; `undefined`: nothing. */
type Check = (outcome: Outcome, conditions: Conditions) => string | undefined

/** Timers, the proxy and a busy machine: by so much may a call be later than its deadline. */
const slackMs = 500
const all: readonly Kind[] = [...readKinds, 'write']

export function promisedIn({ services, fault }: Cell): Promised {
  const broken = new Set<Service>(services)
  const isGone = fault === 'refused' || fault === 'hung' || fault === '+1 s'
  const felt = [
    ...(isGone && broken.has('redis') ? [isAwayFromRedis] : []),
    ...(isGone && broken.has('postgres') ? [isAwayFromSource] : []),
  ]
  const within = [
    ...felt,
    noViolation,
    readsInTime,
    writesInTime,
    boundedLoads,
    boundedTransitions,
    recovers,
  ]
  const typed = 'the rest fails at once, typed and retryable'
  if (broken.has('postgres')) {
    const checks = [...within, onlyTyped]
    if (broken.has('redis')) {
      return {
        text: `nothing wrong is answered; what can't be had ${typed.replace('the rest ', '')}`,
        succeed: [],
        checks: isGone ? [...checks, failsFast] : checks,
      }
    }
    if (fault === '+100 ms') {
      return {
        text: `all reads answered; a write that takes too long ${typed.replace('the rest ', '')}`,
        succeed: readKinds,
        checks,
      }
    }
    return {
      text: `all keys within ttl or grace answered${isGone ? ', unproven after the bound' : ''}; ${typed}`,
      succeed: ['steady'],
      checks: isGone ? [...checks, failsFast, unproven] : checks,
    }
  }
  const answered = 'all reads and writes succeed'
  if (broken.has('redis')) {
    const text = isGone ? `${answered}; P99 ≤ 2 × a read from the source` : answered
    const gone = isGone ? [opensSoon, likeTheSource] : []
    // Who hears of writes knows what Redis has missed of them.
    const told = broken.has('kafka') ? [] : [withinBound]
    return { text, succeed: all, checks: [...within, ...gone, ...told] }
  }
  if (broken.has('kafka')) {
    const text = isGone
      ? `${answered}; L1 rests after the bound, and is back within 2 s`
      : `${answered}; L1 is back within 2 s`
    const gone = isGone ? [restsAfterBound] : []
    return { text, succeed: all, checks: [...within, trustIsBack, ...gone] }
  }
  const text = fault === 'none' ? answered : 'no difference but a metric'
  const counted = broken.has('prometheus') && isGone && fault !== '+1 s' ? [isCounted] : []
  return { text, succeed: all, checks: [...within, noTransition, noDifference, ...counted] }
}

/** All that is wrong, in words. */
export function brokenPromises(
  promised: Promised,
  outcome: Outcome,
  conditions: Conditions,
): readonly string[] {
  const failed = promised.succeed.flatMap((kind) => {
    const { asked, answered } = outcome.calls[kind]
    return answered < asked ? [`${asked - answered} of ${asked} ${kind} calls failed`] : []
  })
  const empty = all.filter((kind) => outcome.calls[kind].asked === 0)
  const unasked = empty.length > 0 ? [`no call of kind ${empty.join(', ')} was made`] : []
  const wrong = promised.checks.flatMap((check) => check(outcome, conditions) ?? [])
  return [...unasked, ...failed, ...wrong]
}

/** Of the calls that are promised to succeed; of all where none is. */
export function successOf({ succeed }: Promised, { calls }: Outcome): number {
  const kinds = succeed.length > 0 ? succeed : all
  const sum = (of: 'asked' | 'answered'): number =>
    kinds.reduce((total, kind) => total + calls[kind][of], 0)
  return sum('answered') / sum('asked')
}

const ms = (value: number): string => `${value.toFixed(1)} ms`

/** A fault that reaches nobody breaks no promise. */
const isAwayFromRedis: Check = ({ l2AfterBound }) =>
  l2AfterBound > 0 ? `${l2AfterBound} answers came out of Redis, which was to be away` : undefined

const isAwayFromSource: Check = ({ sourceAfterBound }) =>
  sourceAfterBound > 0
    ? `${sourceAfterBound} answers came from PostgreSQL, which was to be away`
    : undefined

const noViolation: Check = ({ violations }) =>
  violations > 0 ? `${violations} violations in the history` : undefined

const readsInTime: Check = ({ slowestReadMs }, { readDeadlineMs }) =>
  slowestReadMs > readDeadlineMs + slackMs
    ? `a read took ${ms(slowestReadMs)}; its deadline is ${ms(readDeadlineMs)}`
    : undefined

/** Each of its tries has its deadline; then it waits for whether it committed, and tells Redis. */
const writesInTime: Check = ({ slowestWriteMs }, { writeDeadlineMs }) => {
  const mostMs = 4 * writeDeadlineMs
  return slowestWriteMs > mostMs + slackMs
    ? `a write took ${ms(slowestWriteMs)}; ${ms(mostMs)} are the most`
    : undefined
}

const boundedLoads: Check = ({ sourceConcurrency }, { maxConcurrentLoads }) =>
  sourceConcurrency > maxConcurrentLoads
    ? `${sourceConcurrency} loads at once in a process; ${maxConcurrentLoads} are the most`
    : undefined

/**
 * Open, half-open, and open again: twice in what a breaker stays open for, which is soon as long as
 * it gets (2 s here, less a tenth by chance).
 */
const boundedTransitions: Check = ({ disturbedMs, transitions }, { instances }) => {
  const most = instances * (12 + Math.ceil(disturbedMs / 900))
  const [hop, count] = Object.entries(transitions).sort(([, a], [, b]) => b - a)[0] ?? ['', 0]
  return count > most
    ? `the breakers of ${hop} changed ${count} times; ${most} are the most`
    : undefined
}

const recovers: Check = ({ recoveryMs }, { recoveryDeadlineMs }) =>
  recoveryMs === undefined || recoveryMs > recoveryDeadlineMs
    ? `not well again after ${ms(recoveryDeadlineMs)}`
    : undefined

const onlyTyped: Check = ({ untyped }) =>
  untyped.length > 0 ? `calls failed with ${untyped.join(', ')}` : undefined

const failsFast: Check = ({ failedP50Ms }) =>
  failedP50Ms > 50 ? `half of the failing calls took longer than ${ms(failedP50Ms)}` : undefined

const unproven: Check = ({ provenAfterBound, l1AfterBound }) =>
  provenAfterBound + l1AfterBound > 0
    ? `${provenAfterBound} answers said that they are proven, and ${l1AfterBound} came from L1`
    : undefined

const opensSoon: Check = ({ l2OpenedMs }) =>
  l2OpenedMs === undefined || l2OpenedMs > openingMs
    ? `the breaker of Redis had opened after ${l2OpenedMs === undefined ? 'no time' : ms(l2OpenedMs)}`
    : undefined

const likeTheSource: Check = ({ p99Ms }, { control }) => {
  const mostMs = 2 * (control?.sourceP99Ms ?? 0)
  return p99Ms > mostMs
    ? `P99 is ${ms(p99Ms)}, twice a read from the source ${ms(mostMs)}`
    : undefined
}

const restsAfterBound: Check = ({ l1AfterBound }) =>
  l1AfterBound > 0 ? `${l1AfterBound} answers came from L1 after the bound` : undefined

const trustIsBack: Check = ({ trustBackMs }) =>
  trustBackMs > 2_000 ? `L1 was back after ${ms(trustBackMs)}` : undefined

const noTransition: Check = ({ transitions: { l2, source, bus } }) =>
  l2 + source + bus > 0 ? `${l2 + source + bus} changes of breakers` : undefined

/** The median moves little from run to run on a busy machine, and the tail much. */
const noDifference: Check = ({ p50Ms, p99Ms }, { control }) => {
  if (!control) return undefined
  const [most50Ms, most99Ms] = [2 * control.p50Ms + 1, 2 * control.sourceP99Ms]
  return p50Ms > most50Ms || p99Ms > most99Ms
    ? `half of the reads took ${ms(p50Ms)} (without a fault ${ms(control.p50Ms)}), P99 is ${ms(p99Ms)}, twice a read from the source ${ms(most99Ms)}`
    : undefined
}

const withinBound: Check = ({ staleMs }, { boundMs }) =>
  staleMs > boundMs ? `an answer missed a write by ${ms(staleMs)}` : undefined

const isCounted: Check = ({ fleetAnswers }) =>
  fleetAnswers.every(({ unreachable = 0, deadline = 0 }) => unreachable + deadline > 0)
    ? undefined
    : 'the metric does not say that Prometheus is away'
