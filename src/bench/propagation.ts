/**
 * How long after a COMMIT the last of several processes has dropped the value from its L1: noted in
 * each of them where it is dropped, by a clock that the machine's processes have in common. What is
 * dropped before the COMMIT has returned, as by the first delete, counts as 0.
 */
import { setTimeout } from 'node:timers/promises'
import { assemble } from '../lockstep.ts'
import { parseTicket } from '../model/ticket.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Parts } from '../running-cache.ts'
import { Child } from './children.ts'
import { machineMs } from './cold.ts'
import { type Effort, NotMeasured } from './contest.ts'
import { type City, chunksOf, cityCount } from './data.ts'
import { type CityCache, cityEntity, tableOf } from './places.ts'
import { type Answer, optionsOf, type Question, type Way } from './propagation-worker.ts'
import { measuredRow, type Row } from './row.ts'
import type { RowName } from './row-plans.ts'
import type { Stage } from './stage.ts'
import { quantile } from './statistics.ts'

interface How {
  readonly way: Way
  /** A transaction is open elsewhere meanwhile. */
  readonly isBeside: boolean
}

const ways = ['fast', 'tail', 'kafka', 'cut'] as const

export const propagationRows: readonly { how: How; names: readonly RowName[] }[] = [
  ...ways.map((way) => ({
    how: { way, isBeside: false },
    names: [`propagation.${way}.p50`, `propagation.${way}.p99`, `propagation.${way}.p999`] as const,
  })),
  ...(['fast', 'tail', 'kafka'] as const).map((way) => ({
    how: { way, isBeside: true },
    names: [`propagation.${way}.p99-beside`] as const,
  })),
]

const processes = 3
const writes = 1_500
const writesBeside = 500
/** Between two writes: 0 to this many ms, so that they don't fall into step with polls. */
const longestPauseMs = 8
/** Messages that are still on their way when the last write has returned. */
const settleMs = 1_500
const table = tableOf(200)
/** Of the writes, those that may not be seen to drop anything, as when trust lapsed meanwhile. */
const mostUnseen = 0.1

export async function measurePropagation(
  how: How,
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  await stage.withTable(200)
  const count = Math.min(
    cityCount,
    Math.max(40, Math.round((how.isBeside ? writesBeside : writes) * effort.scale)),
  )
  const end = how.isBeside ? await openTransaction(stage.pool) : undefined
  try {
    const lags = await lagsOf(how.way, count, stage, effort)
    const rounds = chunksOf(lags, Math.ceil(lags.length / effort.rounds))
    const row = (name: RowName, share: number): Row =>
      measuredRow(
        name,
        quantile(lags, share),
        rounds.map((some) => quantile(some, share)),
      )
    if (how.isBeside) return [row(`propagation.${how.way}.p99-beside` as RowName, 0.99)]
    return [
      row(`propagation.${how.way}.p50`, 0.5),
      row(`propagation.${how.way}.p99`, 0.99),
      row(`propagation.${how.way}.p999`, 0.999),
    ]
  } finally {
    end?.()
  }
}

/** With an id of its own, as a long write has one. */
async function openTransaction(pool: Pool): Promise<() => void> {
  const connection = await pool.connect()
  await connection.query('begin; select pg_current_xact_id()')
  return () => void connection.end().catch(() => {})
}

/** In ms, by the order of the writes. */
async function lagsOf(
  way: Way,
  count: number,
  { place }: Stage,
  { signal }: Effort,
): Promise<readonly number[]> {
  const file = new URL('./propagation-worker.js', import.meta.url)
  const crew = Array.from({ length: processes }, () => new Child<Question, Answer>(file, signal))
  const ask = (question: Question) => Promise.all(crew.map((child) => child.ask(question)))
  const ids = Array.from({ length: count }, (_, index) => index + 1)
  let committedAtMs = 0
  const writer = await assemble(
    { ...optionsOf(place, way), entities: { city: cityEntity('city-200', 200) } },
    noting(() => {
      committedAtMs = machineMs()
    }),
  )
  try {
    await ask({ kind: 'open', place, way })
    await ask({ kind: 'warm', ids })
    const committed: Committed[] = []
    for (const id of ids) {
      signal.throwIfAborted()
      const xid = await write(writer, id)
      committed.push({ xid, atMs: committedAtMs })
      await setTimeout(Math.random() * longestPauseMs)
    }
    await setTimeout(settleMs)
    return lags(committed, await ask({ kind: 'dropped' }))
  } finally {
    await Promise.all([...crew.map((child) => child.kill()), writer.close()])
  }
}

interface Committed {
  readonly xid: number
  readonly atMs: number
}

/** Its xid. */
async function write(cache: CityCache, id: number): Promise<number> {
  const { ticket } = await cache.city.write(id, (tx) =>
    tx<City>(table).where({ id }).increment('version'),
  )
  return parseTicket(ticket)[0]?.xid as number
}

function lags(committed: readonly Committed[], answers: readonly Answer[]): readonly number[] {
  const found = committed.flatMap(({ xid, atMs }) => {
    const dropped = answers.map(({ droppedAtMs }) => droppedAtMs.get(xid))
    const seen = dropped.filter((one) => one !== undefined)
    return seen.length < answers.length ? [] : Math.max(0, ...seen.map((one) => one - atMs))
  })
  const unseen = committed.length - found.length
  if (unseen > mostUnseen * committed.length) {
    throw new NotMeasured(`${unseen} of ${committed.length} writes were not seen to drop a value`)
  }
  return found
}

/** Notes when each COMMIT has returned. */
function noting(note: () => void): (parts: Parts) => Parts {
  return (parts) => {
    const { source } = parts
    const begin = source.begin.bind(source)
    source.begin = async (...args) => {
      const transaction = await begin(...args)
      const commit = transaction.commit.bind(transaction)
      transaction.commit = async () => {
        const outcome = await commit()
        note()
        return outcome
      }
      return transaction
    }
    return parts
  }
}
