/** I6 under random schedules, and each rule of the filter broken once. */
import { expect, test } from 'vitest'
import { bloomMutants } from './bloom-mutants.ts'
import { runBloomSchedule } from './bloom-world.ts'

const schedules = 100
const mostOfMutant = 4_000

test('no schedule has a false "does not exist"', async () => {
  const sums = { asked: 0, refused: 0, inserts: 0, builds: 0, failovers: 0 }
  for (let seed = 1; seed <= schedules; seed++) {
    const outcome = await runBloomSchedule(seed)
    expect(outcome.violation, `schedule ${seed}`).toBeUndefined()
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += outcome[key]
  }
  console.log(sums)
})

test.each(Object.keys(bloomMutants) as (keyof typeof bloomMutants)[])(
  'a schedule shows what is wrong: %s',
  async (mutant) => {
    let violation: string | undefined
    let seed = 0
    while (violation === undefined && ++seed <= mostOfMutant) {
      violation = (await runBloomSchedule(seed, mutant)).violation
    }
    console.log(mutant, seed, violation)
    expect(violation, mutant).toBeDefined()
  },
)
