import { test } from 'vitest'
import { gradeMutants, simulate } from '../simulation/proof.ts'
import { answer, asked, logOf, whileWanted } from './asked.ts'

/** Mutants take as long as they take; this share of the time is left for what is hoped to be right. */
const leastShare = 0.5

test('random schedules are simulated, and mutants of the rules are caught', async () => {
  const { seconds, seed } = asked()
  const log = logOf('simulation')
  await whileWanted(async (signal) => {
    const start = performance.now()
    const mutants = await gradeMutants({ seed, signal, log })
    const spent = (performance.now() - start) / 1_000
    const left = Math.max(seconds * leastShare, seconds - spent)
    const simulated = await simulate({ seconds: left, seed, signal, log })
    answer('simulation', { mutants, simulated })
  })
})
