import { test } from 'vitest'
import { answer, asked, logOf, whileWanted } from './asked.ts'
import { checkHistory } from './check.ts'
import { runHistory } from './run.ts'

test('real processes work under faults, and what they were told is judged', async () => {
  const { seconds, seed, plane, file } = asked()
  const log = logOf('real')
  const { kills, faults } = await whileWanted((signal) =>
    runHistory({ seconds, seed, plane, file, signal, log }),
  )
  log('is judged')
  answer('real', { ...(await checkHistory(file)), kills, faults })
})
