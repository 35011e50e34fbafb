/**
 * Two sides against each other: block by block in turn, so that a slow moment of the machine hits
 * both alike, and whoever is first alternates. A round is the median of a few turns, so that a
 * pause of the collector or the scheduler is not its result. Where the target lies within the spread
 * of the rounds it is measured again.
 */
import { setImmediate } from 'node:timers/promises'
import { isUndecided, type Round, type Row, ratioRow, ratiosOf } from './row.ts'
import { planOf, type RowName } from './row-plans.ts'
import { median } from './statistics.ts'

export interface Contest {
  /** Operations of one block of one side: the same ones on both sides. */
  readonly operations: number
  /** Before each turn, and not timed. */
  readonly prepare?: () => Promise<void>
  readonly ours: () => Promise<void>
  readonly bare: () => Promise<void>
  /** Why the turn that has just ended doesn't count, as when a hit was a miss; `undefined`: it does. */
  readonly spoiled?: () => string | undefined
}

export interface Effort {
  readonly rounds: number
  readonly signal: AbortSignal
  readonly nowMs: () => number
}

/** A row that can't be measured here, and why; the others go on. */
export class NotMeasured extends Error {}

const warmUpRounds = 3
const turnsPerRound = 5
/** Undecided rows get as many rounds again, so many times. */
const mostRepeats = 3

export async function decide(name: RowName, contest: Contest, effort: Effort): Promise<Row> {
  const plan = planOf(name)
  await play(contest, { ...effort, rounds: warmUpRounds })
  const rounds = [...(await play(contest, effort))]
  for (let repeat = 0; repeat < mostRepeats; repeat++) {
    if (!isUndecided(plan.target, ratiosOf(plan, rounds))) break
    rounds.push(...(await play(contest, effort)))
  }
  return ratioRow(name, rounds, contest.operations)
}

/** Rejects with `NotMeasured` when more turns are spoiled than not. */
export async function play(contest: Contest, effort: Effort): Promise<readonly Round[]> {
  const rounds: Round[] = []
  const mostSpoiled = effort.rounds * turnsPerRound
  let turns: Round[] = []
  let spoiled = 0
  while (rounds.length < effort.rounds) {
    effort.signal.throwIfAborted()
    const turn = await playOne(contest, (turns.length + rounds.length) % 2 === 0, effort.nowMs)
    const why = contest.spoiled?.()
    if (why !== undefined) {
      if (++spoiled > mostSpoiled) throw new NotMeasured(`${spoiled} turns were spoiled: ${why}`)
      continue
    }
    turns.push(turn)
    if (turns.length < turnsPerRound) continue
    rounds.push({
      oursMs: median(turns.map(({ oursMs }) => oursMs)),
      bareMs: median(turns.map(({ bareMs }) => bareMs)),
    })
    turns = []
  }
  return rounds
}

async function playOne(
  { prepare, ours, bare }: Contest,
  isOursFirst: boolean,
  nowMs: () => number,
): Promise<Round> {
  await prepare?.()
  if (isOursFirst) {
    const oursMs = await timed(ours, nowMs)
    return { oursMs, bareMs: await timed(bare, nowMs) }
  }
  const bareMs = await timed(bare, nowMs)
  return { oursMs: await timed(ours, nowMs), bareMs }
}

async function timed(block: () => Promise<void>, nowMs: () => number): Promise<number> {
  // What else the process has to do, it does now.
  await setImmediate()
  const beganAtMs = nowMs()
  await block()
  return nowMs() - beganAtMs
}

/** `total` calls, `concurrency` at a time: each ends before its successor begins. */
export async function inLanes(
  concurrency: number,
  total: number,
  call: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < total) await call(next++)
  }
  await Promise.all(Array.from({ length: concurrency }, lane))
}
