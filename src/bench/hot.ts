/**
 * A key that nobody has read becomes hot in one process, from no reads to all of them at once: until
 * the others have it in their L1 too, before any of them has been asked for it. Then all read it,
 * while it lives so short that it is loaded anew again and again.
 */
import { Child } from './children.ts'
import { machineMs } from './cold.ts'
import type { Effort } from './contest.ts'
import type { Answer, Question } from './hot-worker.ts'
import { type Row, valueRow } from './row.ts'
import type { Stage } from './stage.ts'

const processes = 4
const readsPerSecond = 20_000
const mostRounds = 5
const spreadMs = 1_000
const steadyMs = 4_000
const leastSteadyMs = 1_000
const headStartMs = 50
/** What this row reads is read by no other. */
const firstId = 9_001

export async function measureHotKey(
  { place, withTable }: Stage,
  { rounds, signal, scale }: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  await withTable(200)
  const file = new URL('./hot-worker.js', import.meta.url)
  const crew = Array.from({ length: processes }, () => new Child<Question, Answer>(file, signal))
  const spreads: number[] = []
  const lookups: number[] = []
  try {
    await Promise.all(crew.map((child) => child.ask({ kind: 'open', place })))
    const count = Math.max(1, Math.round(Math.min(rounds, mostRounds) * Math.min(1, scale)))
    const forMs = Math.max(leastSteadyMs, steadyMs * Math.min(1, scale))
    for (let round = 0; round < count; round++) {
      const id = firstId + round
      const ask = (forMs: number, perSecond: (child: number) => number) => {
        const shared = { kind: 'read', id, atMs: machineMs() + headStartMs, forMs } as const
        const asked = crew.map((child, index) =>
          child.ask({ ...shared, perSecond: perSecond(index) }),
        )
        return Promise.all(asked).then((answers) => ({ answers, atMs: shared.atMs }))
      }
      const spread = await ask(spreadMs, (child) => (child === 0 ? readsPerSecond : 0))
      const last = Math.max(
        ...spread.answers.map((one) => one.seenAtMs ?? Number.POSITIVE_INFINITY),
      )
      // Not seen at all: as long as was looked.
      spreads.push(Math.min(spreadMs, last - spread.atMs))
      const steady = await ask(forMs, () => readsPerSecond / processes)
      lookups.push(...steady.answers.map((one) => (one.lookups / forMs) * 1_000))
    }
  } finally {
    await Promise.all(crew.map((child) => child.kill()))
  }
  return [valueRow('hot.spread', spreads, 'largest'), valueRow('hot.lookups', lookups, 'largest')]
}
