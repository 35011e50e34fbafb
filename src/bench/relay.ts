/**
 * The relay alone with a full outbox: rows that SQL has left there, which no writer tells anybody of.
 * It runs in a process of its own, which is to say on one core.
 */
import { setTimeout } from 'node:timers/promises'
import { Child } from './children.ts'
import type { Effort } from './contest.ts'
import { cityCount } from './data.ts'
import type { Place } from './places.ts'
import type { Answer, Question } from './relay-worker.ts'
import { measuredRow, type Row } from './row.ts'
import type { Stage } from './stage.ts'

type ScaledEffort = Effort & { readonly scale: number }
type To = 'l2' | 'log'

const rows = 10_000
const leastRows = 1_000
const rounds = 5
const drainedRows = 1_000_000
/** Rows of one statement that fills the outbox. */
const rowsAtOnce = 50_000
const lookEveryMs = 10
const lookAtMemoryEveryMs = 200
const file = new URL('./relay-worker.js', import.meta.url)

export async function measureRelay(to: To, stage: Stage, effort: ScaledEffort): Promise<Row> {
  const count = Math.max(leastRows, Math.round(rows * effort.scale))
  const relay = new Child<Question, Answer>(file, effort.signal)
  const rates: number[] = []
  try {
    await relay.ask({ kind: 'open', place: stage.place, to })
    for (let round = 0; round < rounds; round++) {
      effort.signal.throwIfAborted()
      await leaveRows(stage, to, count)
      const beganAtMs = performance.now()
      await untilTold(stage, to, effort.signal)
      rates.push((count / (performance.now() - beganAtMs)) * 1_000)
    }
  } finally {
    await relay.kill()
  }
  const name = `relay.throughput.${to}` as const
  return measuredRow(name, [...rates].sort((a, b) => a - b)[rounds >> 1] as number, rates)
}

/** The rows are there before the relay is. */
export async function measureDrain(
  stage: Stage,
  { scale, signal }: ScaledEffort,
): Promise<readonly Row[]> {
  const count = Math.round(drainedRows * scale)
  // Registered by a process that has gone.
  const first = new Child<Question, Answer>(file, signal)
  await first.ask({ kind: 'open', place: stage.place, to: 'l2' }).finally(() => first.kill())
  await leaveRows(stage, 'l2', count)
  const relay = new Child<Question, Answer>(file, signal)
  const memory: Answer[] = []
  try {
    const empty = await relay.ask({ kind: 'open', place: stage.place, to: 'l2' })
    const beganAtMs = performance.now()
    const over = new AbortController()
    const watching = watch(relay, memory, over.signal)
    await untilTold(stage, 'l2', signal)
    const rate = (count / (performance.now() - beganAtMs)) * 1_000
    over.abort()
    await watching
    const grown = (of: 'heapMb' | 'rssMb'): readonly number[] =>
      memory.map((one) => Math.max(0, one[of] - empty[of]))
    return [
      measuredRow('relay.drain.rate', rate, [rate]),
      measuredRow('relay.drain.heap', Math.max(...grown('heapMb')), grown('heapMb')),
      measuredRow('relay.drain.rss', Math.max(...grown('rssMb')), grown('rssMb')),
    ]
  } finally {
    await relay.kill()
  }
}

async function watch(
  relay: Child<Question, Answer>,
  memory: Answer[],
  signal: AbortSignal,
): Promise<void> {
  do {
    memory.push(await relay.ask({ kind: 'taken' }))
    await setTimeout(lookAtMemoryEveryMs)
  } while (!signal.aborted)
}

function namespaceOf({ namespace, others }: Place, to: To): string {
  return to === 'log' ? others.kafka : namespace
}

/** As `lockstep.invalidate` leaves them, one id each. */
async function leaveRows({ pool, place }: Stage, to: To, count: number): Promise<void> {
  // What rounds and benches of before have left behind, the claims would have to step over.
  await pool.knex.raw('vacuum lockstep.outbox')
  for (let from = 1; from <= count; from += rowsAtOnce) {
    await pool.knex.raw(
      `insert into lockstep.outbox (namespace, entity, ids, told_by_writer)
       select ?, 'city-200', array[(1 + n % ?::int)::text], false from generate_series(?::int, ?::int) n`,
      [namespaceOf(place, to), cityCount, from, Math.min(count, from + rowsAtOnce - 1)],
    )
  }
}

async function untilTold({ pool, place }: Stage, to: To, signal: AbortSignal): Promise<void> {
  const left = to === 'log' ? 'not applied or not published' : 'not applied'
  for (;;) {
    signal.throwIfAborted()
    const { rows } = await pool.knex.raw<{ rows: { is_left: boolean }[] }>(
      `select exists (select from lockstep.outbox where namespace = ? and (${left})) as is_left`,
      [namespaceOf(place, to)],
    )
    if (!rows[0]?.is_left) return
    await setTimeout(lookEveryMs)
  }
}
