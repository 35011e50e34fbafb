/**
 * One call of the loader (DESIGN §4.5), within the limiter and a deadline: on a replica where one may
 * be asked, and whatever comes of that, the primary has the last word.
 */
import { retries } from '../model/defaults.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { L1Key } from '../model/id.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { Loaded } from '../model/source-port.ts'
import { withDeadline } from '../resilience/deadline.ts'
import type { Turn } from '../resilience/limiter.ts'
import { retry } from '../resilience/retry.ts'
import { codeOf, count } from '../telemetry/counters.ts'
import { rowsById } from './values.ts'
import type { ReadContext, WantedGroup } from './wanted.ts'

export interface Queried {
  readonly rows: ReadonlyMap<L1Key, unknown>
  /** The load's own; else it began after the one that it is labelled with. */
  readonly snapshot: Snapshot | undefined
  readonly isFromReplica: boolean
}

export interface QueryRequest {
  /** What a replica has to see to be asked; `undefined`: none may be. */
  readonly least: Snapshot | undefined
  readonly turn: Turn
  /** Told each time that the source is about to be asked, and whether a replica is first. */
  readonly asking: (isReplicaFirst: boolean) => void
}

export async function query(
  context: ReadContext,
  chunk: readonly WantedGroup[],
  { least, turn, asking }: QueryRequest,
): Promise<Queried> {
  const { source, entity, limiter, clock, closing, counters, events, random, loadDeadlineMs } =
    context
  const { loadRetries = retries.load, loadBudget } = context
  const late = (): Error =>
    new LockstepError(
      'SOURCE_TIMEOUT',
      `a load of entity "${entity.name}" took longer than ${loadDeadlineMs} ms`,
    )
  const ids = chunk.map(({ id }) => id)
  const countLoad = (): void => {
    counters.loads++
    counters.loadedIds += ids.length
  }
  let floor = least
  let isAtReplica = false
  const askReplica = async (signal: AbortSignal): Promise<readonly unknown[] | undefined> => {
    if (!floor) return undefined
    const asked = source.replicas?.load(entity, ids, floor, signal)
    // One try: the next is the primary's.
    floor = undefined
    isAtReplica = true
    const rows = await asked
    isAtReplica = false
    return rows
  }
  const once = (): Promise<Loaded & { isFromReplica: boolean }> => {
    isAtReplica = false
    // The deadline is of the load alone: what has waited for its turn would begin with no time left.
    return limiter.run(turn, closing, () =>
      withDeadline(loadDeadlineMs, late, closing, clock, async (signal) => {
        asking(floor !== undefined)
        const rows = await askReplica(signal)
        countLoad()
        if (rows) return { rows, snapshot: undefined, isFromReplica: true }
        return { ...(await source.load(entity, ids, signal)), isFromReplica: false }
      }),
    )
  }
  const isRetryable = (error: unknown): boolean => isAtReplica || source.isRetryable(error)
  try {
    const loaded = await retry(
      { retries: loadRetries, isRetryable, signal: closing, clock, random, budget: loadBudget },
      once,
    )
    const wanted = new Set(chunk.map(({ key }) => key))
    return { ...loaded, rows: rowsById(entity, loaded.rows, wanted) }
  } catch (cause) {
    const error = loadError(context, cause)
    // What was shed is counted as such, and has asked the source nothing.
    if (codeOf(error) === 'SOURCE_BUSY') throw error
    count(counters.loadFailures, codeOf(error))
    events.emit('load-failed', () => ({ entity: entity.name, ids, error }))
    throw error
  }
}

function loadError({ source, entity }: ReadContext, error: unknown): unknown {
  if (error instanceof LockstepError) return error
  return source.isRetryable(error)
    ? new LockstepError('SOURCE_UNAVAILABLE', `entity "${entity.name}": ${messageOf(error)}`, {
        cause: error,
      })
    : new LockstepError(
        'LOADER_FAILED',
        `the loader of entity "${entity.name}" failed: ${messageOf(error)}`,
        { cause: error },
      )
}
