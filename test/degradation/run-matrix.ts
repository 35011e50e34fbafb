/** Cells, one after the other, on one stage. The first is the control: others are compared to it. */
import { type Cell, nameOf } from './cells.ts'
import { Instances } from './instances.ts'
import { type CellResult, runCell } from './run-cell.ts'
import { openStage } from './stage.ts'

export interface MatrixOptions {
  readonly seed: number
  /** Ends it at once; it rejects. */
  readonly signal: AbortSignal
  readonly log?: (line: string) => void
  /** Of a load and of a write, where it is not the default. */
  readonly tryDeadlineMs?: number
}

const instanceCount = 2

export async function runMatrix(
  cells: readonly Cell[],
  { seed, signal, log = () => {}, tryDeadlineMs = 500 }: MatrixOptions,
): Promise<readonly CellResult[]> {
  const stage = await openStage(instanceCount)
  const instances = new Instances(instanceCount)
  const results: CellResult[] = []
  for (const cell of cells) {
    const control = results[0]?.measured
    const round = { stage, instances, count: instanceCount, control, seed, signal, tryDeadlineMs }
    const result = await runCell(cell, round)
    log(`${nameOf(cell)}: ${result.met ? 'met' : result.broken.join('; ')}`)
    results.push(result)
  }
  return results
}
