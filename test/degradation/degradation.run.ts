import { test } from 'vitest'
import { answer, asked, logOf, whileWanted } from '../history/asked.ts'
import { matrix, nameOf } from './cells.ts'
import { runMatrix } from './run-matrix.ts'

test('everything is broken in turn, and what was promised is held against what was measured', async () => {
  const { only, seed } = asked()
  const log = logOf('degradation')
  const wanted = matrix.filter((cell) => cell.fault === 'none' || matches(nameOf(cell), only))
  const cells = await whileWanted((signal) => runMatrix(wanted, { seed, signal, log }))
  answer('degradation', { cells })
})

function matches(name: string, only: readonly string[]): boolean {
  return only.length === 0 || only.some((prefix) => name.startsWith(prefix))
}
