import { test } from 'vitest'
import { answer, asked } from './asked.ts'
import { checkHistory } from './check.ts'
import { HistoryError } from './format.ts'

test('a history is judged', async () => {
  try {
    answer('check', { verdict: await checkHistory(asked().file) })
  } catch (error) {
    if (!(error instanceof HistoryError)) throw error
    answer('check', { error: error.message })
  }
})
