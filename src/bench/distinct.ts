/** Many ids that nobody has, each asked for by every process at the same time: how often each is loaded. */
import { Child } from './children.ts'
import { machineMs } from './cold.ts'
import { type Effort, NotMeasured } from './contest.ts'
import type { Answer, Question } from './distinct-worker.ts'
import { type Row, valueRow } from './row.ts'
import type { Stage } from './stage.ts'
import { dropKeys } from './sweep.ts'

const ids = 100_000
const leastIds = 1_000
const processes = 2
const headStartMs = 50

export async function measureDistinct(
  { place, redis, withIds }: Stage,
  { signal, scale }: Effort & { readonly scale: number },
): Promise<Row> {
  if (!redis) throw new NotMeasured('there is no Redis')
  const count = Math.max(leastIds, Math.round(ids * scale))
  await withIds(count)
  await dropKeys(redis, place.others.many)
  const file = new URL('./distinct-worker.js', import.meta.url)
  const crew = Array.from({ length: processes }, () => new Child<Question, Answer>(file, signal))
  try {
    await Promise.all(crew.map((child) => child.ask({ kind: 'open', place })))
    const atMs = machineMs() + headStartMs
    const answers = await Promise.all(crew.map((child) => child.ask({ kind: 'get', count, atMs })))
    const loaded = answers.reduce((sum, { loadedIds }) => sum + loadedIds, 0)
    return valueRow('stampede.distinct.ids', [loaded / count], 'largest')
  } finally {
    await Promise.all(crew.map((child) => child.kill()))
    // They would be a tenth of a million in the way of all rows that follow.
    await dropKeys(redis, place.others.many)
  }
}
