import type { Clock, TurnClock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import type { LocalFilter } from '../model/filter-ports.ts'
import type { Switches } from '../model/flags.ts'
import type { L1Key } from '../model/id.ts'
import type { Candidate, Region } from '../model/l1-port.ts'
import type { L2 } from '../model/l2-port.ts'
import { type LoadClass, rankOf } from '../model/load-class.ts'
import type { Logger } from '../model/log.ts'
import type { WriteId } from '../model/snapshot.ts'
import type { Source } from '../model/source-port.ts'
import { parseTicket } from '../model/ticket.ts'
import type { Limiter } from '../resilience/limiter.ts'
import type { RetryBudget } from '../resilience/retry-budget.ts'
import type { ReadCounters } from '../telemetry/counters.ts'
import type { Events } from '../telemetry/events.ts'
import type { Promised } from './flight.ts'
import type { HotEntity } from './hot-entity.ts'
import type { Plane } from './plane.ts'
import type { Probes } from './probes.ts'
import type { RefreshAhead } from './refresh-ahead.ts'
import type { Reply } from './reply.ts'
import type { Trust } from './trust.ts'

/** What a caller asks of one read, checked. */
export interface ReadRequest {
  readonly consistency?: 'bounded' | 'strong' | undefined
  /** Tickets whose writes must not be missed. */
  readonly ticket?: string | readonly string[] | undefined
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number | undefined
}

export interface Answer {
  readonly candidate: Candidate
  readonly tier: 'l1' | 'l2' | 'source'
  readonly state: 'fresh' | 'stale'
  readonly isProven: boolean
}

/** One reader of one id, on its way. */
export interface Wanted extends Promised {
  readonly key: L1Key
  /** As the caller has it: what the loader gets. */
  readonly id: unknown
  readonly deadlineAtMs: number
  /** `undefined`: a refresh that nobody waits for. */
  readonly answer: Reply | undefined
  readonly loadClass: LoadClass
  /** A refresh of what is still fresh. */
  readonly isEarly: boolean
}

/** The readers of one id that travel together. */
export interface WantedGroup {
  readonly key: L1Key
  readonly id: unknown
  readonly text: string
  readonly readers: readonly Wanted[]
  /** What lies in L2 won't do: load, whatever is there. */
  readonly insist: boolean
  /** A refresh of what is still fresh, for nobody who waits: what others have refreshed will do. */
  readonly isEarly: boolean
  /** L2 takes no part: it can't be asked, or what it would say isn't proven. */
  readonly isApart: boolean
  /** L2 has a value that these readers can't have, or wait for a newer one behind: others may have it at once. */
  readonly isInL2: boolean
  /** The copy of the Bloom filter here has the id. */
  readonly isMaybe: boolean
}

interface EntityFilter extends LocalFilter {
  /** Level 2 has answered by the bitmap of this generation. */
  noticed(generation: number): void
}

/** Of the most urgent reader; with none it is a refresh. */
export function rankOfAll(readers: readonly Wanted[]): number {
  if (readers.length === 0) return rankOf('refresh')
  return Math.min(...readers.map(({ loadClass }) => rankOf(loadClass)))
}

/** Numbers that only grow: what was sent after a read began has a larger one. */
export class Turns {
  #last = 0

  next(): number {
    return ++this.#last
  }
}

/** All that the reads of one entity need. */
export interface ReadContext {
  readonly entity: AnyEntity
  readonly region: Region
  readonly l2: L2 | undefined
  readonly source: Source<unknown>
  readonly plane: Plane
  readonly probes: Probes
  readonly trust: Trust
  readonly limiter: Limiter
  /** Flags that are set for this entity, at any moment. */
  readonly switches: Switches
  /** Level 1 of the entity's Bloom filter; `undefined`: it has none. */
  readonly filter?: EntityFilter | undefined
  readonly clock: Clock
  readonly turnClock: TurnClock
  readonly turns: Turns
  readonly counters: ReadCounters
  readonly ahead: RefreshAhead
  /** How many keys may be cached that were not before. */
  readonly newKeys: { admits(key: L1Key, nowMs: number): boolean }
  /** `undefined`: nobody counts how often ids are read. */
  readonly hot?: HotEntity | undefined
  readonly events: Events
  readonly log: Logger
  readonly random: () => number
  readonly closing: AbortSignal
  readonly boundMs: number
  readonly readDeadlineMs: number
  readonly loadDeadlineMs: number
  readonly loadQueueDeadlineMs: number
  /** Tries of a load after the first; without it the default. */
  readonly loadRetries?: number
  readonly loadBudget?: RetryBudget
}

export function ticketsOf(ticket: ReadRequest['ticket']): readonly WriteId[] {
  if (ticket === undefined) return none
  return Array.isArray(ticket)
    ? ticket.flatMap((one) => parseTicket(one))
    : parseTicket(ticket as string)
}

const none: readonly WriteId[] = []
