/** How good the simulator is: each rule that is left out or done wrong is noticed. */
import { expect, test } from 'vitest'
import { grade, graded } from './grade.ts'
import { mutants } from './mutants/index.ts'
import type { Mutant } from './mutants/mutant.ts'
import { shrink } from './shrink.ts'

/** The rarest takes some hundred. */
const mostSchedules = 1_500
/** The same schedules each time, as in `simulation.test.ts`. */
const seed = 1

test.each(mutants)('mutant “$name”: $what', async (mutant) => {
  const { caught, schedules } = await grade(mutant, seed, mostSchedules)
  expect(caught, `not caught in ${schedules} schedules from seed ${seed}`).toBeDefined()
  console.log(`caught in ${schedules} schedules: ${mutant.name} (${caught?.violation.invariant})`)
})

test('a schedule that catches one is made shorter, and still does', async () => {
  const mutant = mutants.find(({ name }) => name === 'any barrier of the log') as Mutant
  const { caught } = await grade(mutant, seed, mostSchedules)
  if (!caught) throw new Error('it was not caught')
  const { schedule, violation } = caught
  const shrunk = await shrink(schedule, violation.invariant, graded(mutant))
  // How short depends on the schedule, and on when the time for it is over.
  expect(shrunk?.schedule.acts.length).toBeLessThan(schedule.acts.length)
  expect(shrunk?.violation.invariant).toBe(violation.invariant)
})
