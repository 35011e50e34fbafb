/** All that is promised, held by real processes for two minutes while everything breaks around them. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ownFolder } from '../support/servers.ts'
import { checkHistory } from './check.ts'
import { runHistory } from './run.ts'

/** As what is needed to say that a run was one: a quiet machine does much more. */
const least = { faults: 8, kills: 50, writes: 1_000, reads: 5_000 }
const seconds = 120

test('two minutes of kills and faults: nobody was told what was not to be', async ({ signal }) => {
  const file = join(ownFolder('lockstep-judged-'), 'history.jsonl')
  // Another one each time: a violation names it. It repeats workload and faults, not the moments.
  const seed = Math.floor(Math.random() * 2 ** 31)
  const run = await runHistory({ seconds, seed, file, plane: 'outbox', signal })
  const { violations } = await checkHistory(file)
  expect(violations, `seed ${seed}`).toEqual([])
  expect(run.faults.length).toBeGreaterThanOrEqual(least.faults)
  expect(run.kills).toBeGreaterThanOrEqual(least.kills)
  expect(run.writes).toBeGreaterThanOrEqual(least.writes)
  expect(run.reads).toBeGreaterThanOrEqual(least.reads)
}, 300_000)
