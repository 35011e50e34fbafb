/**
 * The shortest schedule that still shows it: acts are left out in ever smaller parts for as long as
 * the same invariant breaks (A. Zeller and R. Hildebrandt, Simplifying and isolating
 * failure-inducing input, 2002).
 */
import type { Mutation } from './mutation.ts'
import type { Violation } from './oracle.ts'
import { runSchedule } from './run.ts'
import { type Act, type DrawOptions, drawSchedule, type Schedule } from './schedule.ts'

const mostRuns = 250

export interface Shrunk {
  readonly schedule: Schedule
  readonly violation: Violation
  readonly trace: readonly string[]
}

/** `undefined`: it shows nothing of the kind. */
export async function shrink(
  schedule: Schedule,
  invariant: Violation['invariant'],
  mutation?: Mutation,
): Promise<Shrunk | undefined> {
  let runs = 0
  const tried = async (acts: readonly Act[]): Promise<Shrunk | undefined> => {
    runs++
    const shorter = { ...schedule, acts }
    const { violations, trace } = await runSchedule(shorter, mutation)
    const violation = violations.find((one) => one.invariant === invariant)
    return violation && { schedule: shorter, violation, trace }
  }
  let best = await tried(schedule.acts)
  let parts = 2
  while (best && runs < mostRuns) {
    const { acts } = best.schedule
    const size = Math.ceil(acts.length / parts)
    let shorter: Shrunk | undefined
    for (let from = 0; from < acts.length && !shorter && runs < mostRuns; from += size) {
      shorter = await tried([...acts.slice(0, from), ...acts.slice(from + size)])
    }
    if (shorter) {
      best = shorter
      parts = Math.max(2, parts - 1)
    } else if (size <= 1) break
    else parts = Math.min(acts.length, parts * 2)
  }
  return best
}

/** What `replay` wants: the seed, and which acts of its schedule are left. */
export function tokenOf({ seed, acts }: Schedule): string {
  return `${seed}:${acts.map(({ number }) => number).join(',')}`
}

/** The schedule of a token; throws for what is none. */
export function scheduleOf(token: string, options?: DrawOptions): Schedule {
  const [, seed, numbers] = /^(\d+)(?::([\d,]*))?$/.exec(token) ?? []
  if (seed === undefined)
    throw new Error(`"${token}" is no schedule; SEED or SEED:ACT,ACT,… is one`)
  const schedule = drawSchedule(Number(seed), options)
  if (numbers === undefined) return schedule
  const kept = new Set(numbers.split(',').map(Number))
  return { ...schedule, acts: schedule.acts.filter(({ number }) => kept.has(number)) }
}
