/**
 * Runs a mutant until it is caught: in how many schedules. What a process was told of itself is left
 * out: it hides most of what goes wrong in Redis, and the rule has to stand without it.
 */
import { withoutDoubts } from '../support/parts.ts'
import type { Mutant } from './mutants/mutant.ts'
import type { Mutation } from './mutation.ts'
import type { Violation } from './oracle.ts'
import { runSchedule } from './run.ts'
import { drawSchedule, type Schedule } from './schedule.ts'

export interface Grade {
  readonly schedules: number
  readonly caught: { readonly schedule: Schedule; readonly violation: Violation } | undefined
}

export function graded({ mutation }: Mutant): Mutation {
  return {
    ...mutation,
    parts: (parts, place) => withoutDoubts(mutation.parts?.(parts, place) ?? parts),
  }
}

export async function grade(mutant: Mutant, seed: number, mostSchedules: number): Promise<Grade> {
  for (let run = 0; run < mostSchedules; run++) {
    const schedule = drawSchedule(seed + run, { scenario: mutant.where })
    const { violations } = await runSchedule(schedule, graded(mutant))
    const violation = violations.find(({ invariant }) => mutant.breaks.includes(invariant))
    if (violation) return { schedules: run + 1, caught: { schedule, violation } }
  }
  return { schedules: mostSchedules, caught: undefined }
}
