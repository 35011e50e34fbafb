/** What the simulator is for: many schedules of the cache as it is, and of each mutant until it is caught. */
import { grade } from './grade.ts'
import { mutants } from './mutants/index.ts'
import { type Outcome, runSchedule } from './run.ts'
import { drawSchedule } from './schedule.ts'
import { type Shrunk, scheduleOf, shrink, tokenOf } from './shrink.ts'

interface Options {
  readonly seed: number
  readonly signal: AbortSignal
  readonly log?: (line: string) => void
}

export interface Simulated {
  readonly schedules: number
  readonly writes: number
  readonly answers: number
  readonly violations: readonly { readonly seed: string; readonly text: string }[]
}

export interface Graded {
  readonly caught: number
  readonly total: number
  readonly missed: readonly string[]
  /** By mutant: in how many schedules it was caught. */
  readonly schedules: Readonly<Record<string, number>>
}

/** The rarest takes some hundred. */
const mostSchedulesAMutant = 1_500
const mostViolations = 3
const tellEverySchedules = 100

/** Until `isDone`, by how many writes there have been and how long it took. */
export async function simulate(
  options: Options & ({ readonly seconds: number } | { readonly writes: number }),
): Promise<Simulated> {
  const { log, seed, signal } = options
  const violations: { seed: string; text: string }[] = []
  const beganAtMs = performance.now()
  let [schedules, writes, answers] = [0, 0, 0]
  const isDone = (): boolean =>
    'writes' in options
      ? writes >= options.writes
      : performance.now() - beganAtMs >= options.seconds * 1_000
  while (!isDone() && violations.length < mostViolations) {
    signal.throwIfAborted()
    const schedule = drawSchedule(seed + schedules)
    const outcome = await runSchedule(schedule)
    schedules++
    writes += outcome.writes
    answers += outcome.answers
    const [violation] = outcome.violations
    if (violation) {
      log?.(`seed ${schedule.seed}: ${violation.invariant}; it is made shorter`)
      const shrunk = await shrink(schedule, violation.invariant)
      violations.push({
        seed: tokenOf(shrunk?.schedule ?? schedule),
        text: explain(shrunk, outcome),
      })
    }
    if (schedules % tellEverySchedules === 0) log?.(`${schedules} schedules, ${writes} writes`)
  }
  return { schedules, writes, answers, violations }
}

/** The first violation, with all that had happened until then in the shortest schedule that shows it. */
function explain(shrunk: Shrunk | undefined, { trace, violations }: Outcome): string {
  const { invariant, text, atMs } = shrunk?.violation ?? (violations[0] as Shrunk['violation'])
  const before = (shrunk?.trace ?? trace).filter((line) => Number.parseFloat(line) <= atMs)
  const replay = shrunk ? `npm run history -- --replay ${tokenOf(shrunk.schedule)}` : ''
  return [`${invariant}: ${text}`, ...before.map((line) => `  ${line}`), replay].join('\n')
}

/** One schedule again, act by act. */
export async function replay(token: string): Promise<Outcome> {
  return runSchedule(scheduleOf(token))
}

export async function gradeMutants({ seed, signal, log }: Options): Promise<Graded> {
  const schedules: Record<string, number> = {}
  const missed: string[] = []
  for (const mutant of mutants) {
    signal.throwIfAborted()
    const graded = await grade(mutant, seed, mostSchedulesAMutant)
    if (graded.caught) schedules[mutant.name] = graded.schedules
    else missed.push(mutant.name)
    log?.(`${mutant.name}: ${graded.caught ? `caught in ${graded.schedules}` : 'MISSED'}`)
  }
  return { caught: mutants.length - missed.length, total: mutants.length, missed, schedules }
}
