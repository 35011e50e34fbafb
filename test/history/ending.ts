/**
 * The end of a history: nobody writes any more, everybody has been told, and all tiers are filled and
 * proven. What lies in them then, and in PostgreSQL, is judged too.
 */
import { until } from '../support/until.ts'
import type { LeftLine, Line } from './format.ts'
import type { Recording } from './recording.ts'
import { pause } from './time.ts'

export interface Ending {
  readonly ask: (sql: string) => Promise<readonly Record<string, unknown>[]>
  /** Which rows of the outbox wait, in SQL. */
  readonly waiting: string
  readonly ids: number
  /** What lies in the tiers of each process; rejects until they are filled and proven. */
  readonly left: readonly (() => Promise<readonly LeftLine[]>)[]
  readonly recording: Recording
  readonly boundMs: number
  readonly deadlineMs: number
  readonly signal: AbortSignal
}

export async function endOf(ending: Ending): Promise<readonly Line[]> {
  const { ask, boundMs, deadlineMs, recording, signal, waiting } = ending
  const countWaiting = `select count(*)::int as count from lockstep.outbox where ${waiting}`
  await until(
    'no row of the outbox waits',
    async () => {
      signal.throwIfAborted()
      const [row] = await ask(countWaiting)
      return row?.count === 0
    },
    deadlineMs,
  )
  // What is older than B has to be seen by every proven answer from here on.
  await pause(boundMs, signal)
  const left = await untilProven(ending)
  return [...(await truthOf(ending)), ...left, { kind: 'end', at: recording.now() }]
}

async function untilProven({ left, deadlineMs, signal }: Ending): Promise<readonly LeftLine[]> {
  let missing: unknown
  let found: readonly LeftLine[] = []
  const isProven = async (): Promise<boolean> => {
    signal.throwIfAborted()
    try {
      found = (await Promise.all(left.map((ask) => ask()))).flat()
      return true
    } catch (error) {
      missing = error
      return false
    }
  }
  await until('all tiers are filled and proven', isProven, deadlineMs).catch((error: Error) => {
    throw new Error(error.message, { cause: missing })
  })
  return found
}

/** What PostgreSQL has: by id, who made which version. */
async function truthOf({ ask, ids }: Ending): Promise<readonly Line[]> {
  const rows = await ask(
    'select id, array_agg(writer order by version) as versions from history_log group by id',
  )
  const written = new Map(rows.map(({ id, versions }) => [Number(id), versions as string[]]))
  return Array.from({ length: ids }, (_, index) => {
    const versions = written.get(index + 1) ?? []
    return { kind: 'truth', id: index + 1, version: versions.length, versions }
  })
}
