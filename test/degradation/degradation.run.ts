import { test } from 'vitest'
import { answer, asked, logOf, whileWanted } from '../history/asked.ts'
import { cellsNamed } from './cells.ts'
import { runMatrix } from './run-matrix.ts'

test('everything is broken in turn, and what was promised is held against what was measured', async () => {
  const { only, seed } = asked()
  const log = logOf('degradation')
  const wanted = cellsNamed(only)
  const cells = await whileWanted((signal) => runMatrix(wanted, { seed, signal, log }))
  answer('degradation', { cells })
})
