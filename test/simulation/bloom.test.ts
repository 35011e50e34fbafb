/** I6 under random schedules, and each rule of the filter broken once. */
import { expect, test } from 'vitest'
import { bloomMutants } from './bloom-mutants.ts'
import { runBloomSchedule } from './bloom-world.ts'

const schedules = 1_000
const mostOfMutant = 1_000
/** The rare ones are looked for from a schedule on that is known to show them soon. */
const from: Partial<Record<keyof typeof bloomMutants, number>> = {
  waitxmax: 825,
  nowait: 825,
  tailonly: 1_330,
}

test('no schedule has a false "does not exist"', async () => {
  const sums = { asked: 0, refused: 0, inserts: 0, builds: 0, failovers: 0 }
  for (let seed = 1; seed <= schedules; seed++) {
    const outcome = await runBloomSchedule(seed)
    expect(outcome.violation, `schedule ${seed}`).toBeUndefined()
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += outcome[key]
  }
  // All of it happens, and the filter does say "no".
  expect(sums.refused).toBeGreaterThan(schedules)
  expect(sums.builds).toBeGreaterThan(schedules)
  expect(sums.failovers).toBeGreaterThan(schedules)
})

test.each(Object.keys(bloomMutants) as (keyof typeof bloomMutants)[])(
  'a schedule shows what is wrong: %s',
  async (mutant) => {
    const first = from[mutant] ?? 1
    let violation: string | undefined
    for (let seed = first; violation === undefined && seed < first + mostOfMutant; seed++) {
      violation = (await runBloomSchedule(seed, mutant)).violation
    }
    expect(violation).toBeDefined()
  },
)
