/**
 * One cell of the matrix: instances under an open loop of calls, a fault, and the time until all is
 * well again. What they saw is measured, what they were told is judged as any history is.
 */
import { join } from 'node:path'
import { checkHistory } from '../history/check.ts'
import { endOf } from '../history/ending.ts'
import { openRecording, type Recording } from '../history/recording.ts'
import { limited, pause } from '../history/time.ts'
import { ownFolder } from '../support/servers.ts'
import { until } from '../support/until.ts'
import { breakWay } from './breakages.ts'
import { type Cell, nameOf } from './cells.ts'
import { type Instance, type Instances, maxConcurrentLoads, type Seen } from './instances.ts'
import { type Measured, measure, type Phases } from './measure.ts'
import { brokenPromises, type Conditions, type Outcome, promisedIn, successOf } from './promises.ts'
import { readSamples } from './samples.ts'
import { ids, type Stage, wellId } from './stage.ts'

export interface CellResult extends Cell {
  readonly promise: string
  /** Of the calls that are promised to succeed, 0 to 1. */
  readonly success: number
  readonly p99Ms: number
  /** Of the stalest answer: how long before it began a write had surely committed that it misses. */
  readonly staleMs: number
  readonly sourceConcurrency: number
  readonly transitions: number
  /** `null`: it was not well again in time. */
  readonly recoveryMs: number | null
  readonly violations: number
  readonly met: boolean
  /** What is not met, in words. */
  readonly broken: readonly string[]
  readonly measured: Outcome
}

export interface Round {
  readonly stage: Stage
  readonly instances: Instances
  readonly count: number
  /** What the first cell measured; `undefined` in that one. */
  readonly control: Measured | undefined
  readonly seed: number
  readonly signal: AbortSignal
  readonly tryDeadlineMs: number
}

/** The defaults of `timing`. */
const boundMs = 1_000
const readDeadlineMs = 3_000
const perSecond = 500
const healthyMs = 2_000
const recoveryDeadlineMs = 15_000
const afterwardsMs = 500
const quietDeadlineMs = 30_000

export async function runCell(cell: Cell, round: Round): Promise<CellResult> {
  const { count, instances, seed, signal, stage, tryDeadlineMs } = round
  const name = nameOf(cell).replaceAll(/[^a-z0-9]+/g, '-')
  const topic = `degradation-${name}`
  await stage.begin(topic)
  const folder = ownFolder('lockstep-degradation-')
  const recording = openRecording(ownFolder('lockstep-history-'))
  const place = { stage, recording, folder, topic, seed, tryDeadlineMs, namespace: topic }
  const open = await instances.open({ ...place, perSecond: perSecond / count })
  await until('all are well', () => areWell(open), quietDeadlineMs)
  await Promise.all(open.map((one) => one.warm()))
  await Promise.all(open.map((one) => one.load()))
  await pause(healthyMs, signal)
  const phases = await runFault(cell, { ...round, open, recording })
  const seen = await Promise.all(open.map((one) => one.rest()))
  const samples = await readSamples(open.map((one) => one.samples))
  const site = { ...place, open, signal, file: join(folder, 'history.jsonl') }
  const verdict = await judge(site).catch((error: unknown) => {
    signal.throwIfAborted()
    return { found: 0, stalestMs: 0, unjudged: [String(error)] }
  })
  await Promise.all(open.map((one) => one.close()))
  return resultOf(cell, round, measure(samples, phases, boundMs), seen, verdict)
}

interface FaultSite extends Round {
  readonly open: readonly Instance[]
  readonly recording: Recording
}

async function runFault(
  cell: Cell,
  { stage, open, recording, signal }: FaultSite,
): Promise<Phases> {
  const faultBegin = recording.now()
  const { fault } = cell
  if (fault === 'none') await pause(cell.faultMs, signal)
  else {
    await recording.fault(`proxy ${fault}`, cell.services.join('+'), async () => {
      const mends = await Promise.all(
        cell.services.map((service) => breakWay(stage.proxies[service], fault)),
      )
      await pause(cell.faultMs, signal)
      await Promise.all(mends.map((mend) => mend()))
      return { kills: 0 }
    })
  }
  signal.throwIfAborted()
  const faultEnd = recording.now()
  const late = limited(signal, recoveryDeadlineMs)
  while (!(await areWell(open)) && !late.signal.aborted) await pause(50, late.signal)
  const wellAt = late.signal.aborted ? undefined : recording.now()
  late.clear()
  await pause(afterwardsMs, signal)
  return { faultBegin, faultEnd, wellAt, end: recording.now() }
}

async function areWell(open: readonly Instance[]): Promise<boolean> {
  return (await Promise.all(open.map((one) => one.isWell()))).every((isWell) => isWell)
}

interface Ended {
  readonly stage: Stage
  readonly open: readonly Instance[]
  readonly recording: Recording
  readonly namespace: string
  readonly seed: number
  readonly file: string
  readonly signal: AbortSignal
}

async function judge({ stage, open, recording, namespace, seed, file, signal }: Ended) {
  const end = await endOf({
    ...{ ids, recording, boundMs, deadlineMs: quietDeadlineMs, signal },
    ask: (sql) => stage.ask(sql),
    waiting: `namespace = '${namespace}' and not (applied and published)`,
    left: open.map((one) => () => one.left()),
  })
  const header = { kind: 'history', format: 1, seed, epoch: String(recording.epoch) } as const
  const about = { boundMs, plane: 'kafka', ids: wellId, foreignWrites: false } as const
  await recording.join(file, { ...header, ...about }, end)
  return checkHistory(file)
}

interface Judged {
  readonly found: number
  readonly stalestMs: number
  /** Why nothing can be said. */
  readonly unjudged?: readonly string[]
}

function resultOf(
  cell: Cell,
  { count, control, tryDeadlineMs: writeDeadlineMs }: Round,
  measured: Measured,
  seen: readonly Seen[],
  { found, stalestMs, unjudged }: Judged,
): CellResult {
  const outcome: Outcome = {
    ...measured,
    violations: found,
    staleMs: stalestMs,
    sourceConcurrency: Math.max(...seen.map(({ mostLoads }) => mostLoads)),
    fleetAnswers: seen.map((one) => one.fleetAnswers),
  }
  const conditions: Conditions = {
    instances: count,
    ...{
      boundMs,
      readDeadlineMs,
      writeDeadlineMs,
      maxConcurrentLoads,
      recoveryDeadlineMs,
      control,
    },
  }
  const promised = promisedIn(cell)
  const broken = [...brokenPromises(promised, outcome, conditions), ...(unjudged ?? [])]
  const { l2, source, bus } = outcome.transitions
  return {
    services: cell.services,
    fault: cell.fault,
    faultMs: cell.faultMs,
    promise: promised.text,
    success: successOf(promised, outcome),
    p99Ms: outcome.p99Ms,
    staleMs: stalestMs,
    sourceConcurrency: outcome.sourceConcurrency,
    transitions: l2 + source + bus,
    recoveryMs: outcome.recoveryMs ?? null,
    violations: found,
    met: broken.length === 0,
    broken,
    measured: outcome,
  }
}
