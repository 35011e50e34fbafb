import { Child } from './children.ts'
import type { Effort } from './contest.ts'
import type { Place } from './places.ts'
import { type Row, valueRow } from './row.ts'
import type { Stage } from './stage.ts'

/** Weights differ by little: fewer rounds than of times. */
const mostRounds = 5

export async function measureHeap(stage: Stage, { rounds, signal }: Effort): Promise<Row> {
  await stage.withTable(200)
  const child = new Child<{ place: Place; rounds: number }, number[]>(
    new URL('./heap-child.js', import.meta.url),
    signal,
    { execArgv: ['--expose-gc'] },
  )
  try {
    const question = { place: stage.place, rounds: Math.min(rounds, mostRounds) }
    return valueRow('l1.heap', await child.ask(question), 'median')
  } finally {
    await child.kill()
  }
}
