/** Who is told of each row by the relay: Redis, and the log where there is one. */
import type { Log } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import type { L2, NodeChange } from '../model/l2-port.ts'
import type { Logger } from '../model/log.ts'
import type { Claim, Destination, Outbox } from '../model/outbox-port.ts'
import { covers, type Snapshot } from '../model/snapshot.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { tellAgain, tellL2 } from './tell-l2.ts'

export interface RelayDestination {
  readonly name: Destination
  /** The ids of the rows that it has heard of. */
  tell(claim: Claim, signal: AbortSignal): Promise<readonly string[]>
  /** It has heard of all that the snapshot sees. */
  barrier(snapshot: Snapshot, signal: AbortSignal): Promise<void>
}

export function logDestination(log: Log, clock: Clock, deadlineMs: number): RelayDestination {
  const late = unanswered(deadlineMs, 'the log')
  return {
    name: 'log',
    tell: async ({ incarnation, rows }, signal) => {
      const writes = rows.map(({ xid, entity, ids }) => ({
        write: { incarnation, xid },
        entity,
        ids,
      }))
      await log.publish(writes, signal)
      return rows.map(({ rowId }) => rowId)
    },
    barrier: (snapshot, signal) =>
      withDeadline(deadlineMs, late, signal, clock, (inTime) => log.barrier(snapshot, inTime)),
  }
}

export interface L2DestinationOptions {
  readonly l2: L2
  readonly outbox: Outbox
  readonly clock: Clock
  readonly log: Logger
  /** Of one page of a replay. */
  readonly deadlineMs: number
  readonly replayed: (rows: number) => void
}

/**
 * Redis, and what makes it forget (DESIGN §7): a node that is not what the last barrier was written to
 * is told once more of all that the outbox has, and only then gets its barrier. What it may have
 * forgotten of before that is not known any more: then its values have outlived their proof.
 */
export class L2Destination implements RelayDestination {
  readonly name = 'l2'
  readonly #options: L2DestinationOptions

  constructor(options: L2DestinationOptions) {
    this.#options = options
  }

  async tell(claim: Claim, signal: AbortSignal): Promise<readonly string[]> {
    const isOver = (): boolean => signal.aborted
    return (await tellL2(this.#options.l2, claim, { isOver })).rowIds
  }

  async barrier(snapshot: Snapshot, signal: AbortSignal): Promise<void> {
    for (const answer of await this.#options.l2.barrier(snapshot)) {
      if (answer.kind === 'changed') await this.#restore(answer.change, snapshot, signal)
    }
  }

  async #restore(change: NodeChange, snapshot: Snapshot, signal: AbortSignal): Promise<void> {
    const { l2, log, replayed } = this.#options
    const { node, found } = change
    if (found) log.warn({ node }, 'Redis may have forgotten what it was told; it is told again')
    // Its snapshot is younger than the change that was noticed.
    const replay = await tellAgain(
      { ...this.#options, told: replayed },
      undefined,
      undefined,
      signal,
    )
    // Read after the replay: what was removed before it was replayed lies in it too.
    const isAll = found !== undefined && covers(found, replay.pruned)
    if (found && !isAll) {
      log.warn({ node }, 'nobody knows all that Redis has forgotten; its values are loaded anew')
    }
    await l2.restore(change, snapshot, isAll ? undefined : replay.snapshot)
  }
}
