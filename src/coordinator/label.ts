/**
 * The snapshot that loaded values carry (DESIGN §4, "S costs nothing in the common case"): one taken
 * before the load, so it never claims to see what the load missed. The newest probe does, unless
 * there is a write that a fill would need to see, or a ticket that the value would be judged by, or a
 * write that this process was told of and L2 perhaps was not: what is filled without it would be
 * no answer here, and be loaded again by each read. Then a fresh one is taken first.
 *
 * A replica lags: what it reads after `acquire` may miss a write whose tombstone was there before and
 * has been evicted. So it may only be asked under a snapshot that the primary gave after `acquire`.
 */
import type { Lease, Tombstone } from '../model/l2-port.ts'
import { type Incarnation, type Snapshot, visible, type WriteId } from '../model/snapshot.ts'
import { everyVisible } from '../model/ticket.ts'
import { withDeadline } from '../resilience/deadline.ts'
import { passes } from './flight.ts'
import type { ReadContext, WantedGroup } from './wanted.ts'

/** Readers of one id, and the right to fill it; `undefined`: L2 takes no part in this load. */
export interface Leased extends WantedGroup {
  readonly lease: Lease | undefined
}

/** What the values of one load are labelled with, and which of them L2 may get. */
export interface Labelled {
  readonly snapshot: Snapshot
  /** Incarnations whose tombstones are over: they were there before the snapshot was taken. */
  readonly over: readonly Incarnation[]
  readonly mayFill: (leased: Leased) => boolean
  /** What a replica has to see to be asked in place of the primary; `undefined`: none may be. */
  readonly least: Snapshot | undefined
}

/** `forReplica`: a replica is to be asked first. */
export async function label(
  context: ReadContext,
  leased: readonly Leased[],
  forReplica = false,
): Promise<Labelled> {
  const { newest } = context.probes
  const tombstones = leased.flatMap(({ lease }) => lease?.tombstones ?? [])
  const doubts = newest ? leased.flatMap(({ key }) => context.region.doubt(key, newest) ?? []) : []
  const sees = newest !== undefined && doubts.length === 0 && seesAll(newest, tombstones, leased)
  const known: Labelled = {
    snapshot: newest ?? blind,
    over: [],
    mayFill: ({ lease }) => sees && lease !== undefined,
    least: undefined,
  }
  if (sees && !forReplica) return known
  const snapshot = await freshSnapshot(context)
  if (!snapshot) return known
  for (const settle of doubts) settle(snapshot)
  const others = tombstones.filter(({ incarnation }) => incarnation !== snapshot.incarnation)
  return {
    snapshot,
    over: [...new Set(others.map(({ incarnation }) => incarnation))],
    mayFill: ({ lease }) =>
      lease?.tombstones.every((tombstone) => !isPending(tombstone, snapshot)) ?? false,
    // A ticket that this snapshot doesn't see is of another incarnation, and for the primary to decide.
    least: forReplica && everyVisible(ticketsOf(leased), snapshot) ? snapshot : undefined,
  }
}

/** For each list: is there a write in it that no snapshot sees yet? With one fresh snapshot for all. */
export async function pendingAmong(
  context: ReadContext,
  lists: readonly (readonly Tombstone[])[],
): Promise<readonly boolean[]> {
  const { newest } = context.probes
  const isSeen = (tombstone: Tombstone): boolean =>
    newest !== undefined && passes(tombstone, newest)
  const unseen = lists.map((tombstones) => tombstones.filter((tombstone) => !isSeen(tombstone)))
  if (unseen.every((tombstones) => tombstones.length === 0)) return lists.map(() => false)
  const snapshot = await freshSnapshot(context)
  return unseen.map((tombstones) =>
    tombstones.some((tombstone) => !snapshot || isPending(tombstone, snapshot)),
  )
}

function seesAll(
  newest: Snapshot,
  tombstones: readonly Tombstone[],
  leased: readonly Leased[],
): boolean {
  if (!tombstones.every((tombstone) => passes(tombstone, newest))) return false
  const tickets = ticketsOf(leased)
  // No snapshot sees a ticket of another incarnation: for those the source itself decides.
  return tickets.every(
    (write) => write.incarnation !== newest.incarnation || visible(write, newest),
  )
}

function ticketsOf(leased: readonly Leased[]): readonly WriteId[] {
  return leased.flatMap(({ readers }) => readers.flatMap((reader) => reader.tickets))
}

/** Not over, and not seen: of another incarnation than a fresh snapshot's it can only be over. */
function isPending(tombstone: Tombstone, fresh: Snapshot): boolean {
  return tombstone.incarnation === fresh.incarnation && !passes(tombstone, fresh)
}

/** `undefined`: the source had none in time. */
async function freshSnapshot(context: ReadContext): Promise<Snapshot | undefined> {
  const { plane, clock, closing, loadDeadlineMs } = context
  const late = (): Error => new Error('no snapshot in time')
  return withDeadline(loadDeadlineMs, late, closing, clock, (signal) => plane.fresh(signal)).catch(
    () => undefined,
  )
}

/** Sees nothing and fits no incarnation: what is loaded without a snapshot can be kept nowhere. */
const blind: Snapshot = {
  incarnation: '0000000000000000' as Incarnation,
  xmin: 0 as Snapshot['xmin'],
  xmax: 0 as Snapshot['xmax'],
  xip: [],
}
