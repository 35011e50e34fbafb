/**
 * One load of this process that others may join (DESIGN §4.2), and the rule who may: a reader takes
 * a value only if it can't be older than what the reader was promised.
 *
 * Order within the process is a counter, not a clock: what was sent after a read began has a larger
 * number.
 */
import type { Candidate } from '../model/l1-port.ts'
import type { Tombstone } from '../model/l2-port.ts'
import { type Snapshot, visible, type WriteId } from '../model/snapshot.ts'
import { everyVisible } from '../model/ticket.ts'
import { type Deferred, deferred } from '../resilience/deadline.ts'
import { Turn } from '../resilience/limiter.ts'

export interface Landed {
  readonly candidate: Candidate
  readonly tier: 'l2' | 'source'
  readonly isProven: boolean
  /** When the load was sent to the primary; 0 when the value came out of L2, or from a replica. */
  readonly loadTurn: number
  /** When the fill was sent that L2 accepted; 0 when there was none. */
  readonly fillTurn: number
}

export interface Flight {
  /**
   * What had been committed by then is in its value. Until the primary is asked that lies ahead, and
   * whoever comes may join.
   */
  askedAtMs: number
  /** Where its load waits, with the rank of the most urgent of those who wait for it. */
  turn: Turn
  /** Of whom it was begun for. */
  readonly rank: number
  /** Whoever needs no more than a value out of L2 has one there, and need not wait for this. */
  readonly isInL2: boolean
  /** Settled as soon as there is a value: enough for a bounded reader. `undefined`: look again. */
  readonly loaded: Deferred<Landed | undefined>
  /** Settled once L2 has said whether it takes it: what strong readers wait for. */
  readonly landed: Deferred<Landed | undefined>
}

export function newFlight(rank: number, isInL2 = false): Flight {
  const flight = {
    askedAtMs: Number.POSITIVE_INFINITY,
    turn: new Turn(rank),
    rank,
    isInL2,
    loaded: deferred<Landed | undefined>(),
    landed: deferred<Landed | undefined>(),
  }
  // Nobody may be waiting; whoever is gets the error.
  flight.loaded.promise.catch(() => {})
  flight.landed.promise.catch(() => {})
  return flight
}

/** What was promised to one reader. */
export interface Promised {
  readonly beganTurn: number
  readonly beganAtMs: number
  readonly isStrong: boolean
  readonly tickets: readonly WriteId[]
}

/** May this reader have what somebody else's flight brought? */
export function mayTake(promised: Promised, landed: Landed): boolean {
  // The source was asked after the read began: as good as a load of its own.
  if (landed.loadTurn > promised.beganTurn) return true
  if (!promised.isStrong && promised.tickets.length === 0) return true
  return (
    landed.fillTurn > promised.beganTurn &&
    everyVisible(promised.tickets, landed.candidate.snapshot)
  )
}

/** May this bounded reader join a load that is under way at all? */
export function mayJoin(promised: Promised, flight: Flight, boundMs: number): boolean {
  return flight.askedAtMs >= promised.beganAtMs - boundMs
}

/** Does a fill under this snapshot pass the tombstone? As in `redis/scripts/checked-fill.lua`. */
export function passes(tombstone: Tombstone, snapshot: Snapshot): boolean {
  if (!tombstone.merged) return visible(tombstone, snapshot)
  return tombstone.incarnation === snapshot.incarnation && tombstone.xid < snapshot.xmin
}
