import { test } from 'vitest'
import { answer, asked, logOf, whileWanted } from './asked.ts'
import { type Proof, part } from './parts.ts'

/** Mutants take as long as they take; this share of the time is left for what is hoped to be right. */
const leastShare = 0.5

test('random schedules are simulated, and mutants of the rules are caught', async () => {
  const { seconds, seed } = asked()
  const log = logOf('simulation')
  const { gradeMutants, simulate } = await part<Proof>('../simulation/proof.ts')
  await whileWanted(async (signal) => {
    const start = performance.now()
    const mutants = await gradeMutants({ seed, signal, log })
    for (const [mutant, schedules] of Object.entries(mutants.schedules)) {
      log(`${mutant}: caught in ${schedules} schedules`)
    }
    const spent = (performance.now() - start) / 1_000
    const left = Math.max(seconds * leastShare, seconds - spent)
    const simulated = await simulate({ seconds: left, seed, signal, log })
    answer('simulation', { mutants, simulated })
  })
})
