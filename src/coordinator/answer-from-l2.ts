/**
 * What L2's answer is to those who asked (DESIGN §4.3, §7). It may be old and right: what nobody has
 * proven is told as such, and is no answer to who needs proof.
 */
import type { AnyEntity } from '../model/entity.ts'
import type { Refusal } from '../model/filter-ports.ts'
import type { Candidate } from '../model/l1-port.ts'
import type { Lookup, Stored } from '../model/l2-port.ts'
import { rankOf } from '../model/load-class.ts'
import { everyVisible } from '../model/ticket.ts'
import { mayBeRefused, refusedBy } from './doubts.ts'
import { comesFromElected, offer, refreshes, waitsForLoad } from './refresh.ts'
import { candidateFromL2 } from './values.ts'
import type { Answer, ReadContext, Wanted, WantedGroup } from './wanted.ts'

/** The readers of the group that it has no answer for; with none left it may still want a refresh. */
export function answerFromL2(
  context: ReadContext,
  group: WantedGroup,
  lookup: Lookup,
): WantedGroup | undefined {
  switch (lookup.kind) {
    case 'miss':
      if (lookup.why === 'corrupt') context.counters.corruptValues++
      return { ...group, insist: lookup.why !== 'absent' }
    case 'refused':
      return refuse(context, group, lookup.refusal)
    case 'unavailable':
      return { ...group, isApart: true }
    case 'fresh':
    case 'stale': {
      const { stored } = lookup
      if (stored.snapshot.incarnation !== context.probes.incarnation) return group
      // Nobody could fill it, so nobody waits for who loads it now; past its soft expiry one finds out anew.
      if (stored.form === 'too-big') return { ...group, isApart: lookup.kind === 'fresh' }
      const found = takeFromL2(context, group, stored)
      if (!found) return { ...group, insist: true }
      const isFresh = lookup.kind === 'fresh'
      const { candidate, isProven } = found
      const answer: Answer = { candidate, tier: 'l2', state: isFresh ? 'fresh' : 'stale', isProven }
      const left = group.readers.filter((wanted) => !take(context, wanted, answer))
      if (left.length === 0) return refresh(context, group, answer)
      const isApart = !isProven && left.some((wanted) => needsProof(context.entity, wanted))
      const isEarly = isFresh && left.every((wanted) => wanted.isEarly)
      return { ...group, readers: left, insist: isFresh, isEarly, isApart, isInL2: true }
    }
    default:
      return lookup satisfies never
  }
}

/**
 * The id is in no filter: it does not exist for those who go by what is proven, and is a miss to all
 * others. L1 gets nothing of it: ids that somebody made up must not take the room of those that exist.
 */
function refuse(
  context: ReadContext,
  group: WantedGroup,
  refusal: Refusal,
): WantedGroup | undefined {
  context.filter?.noticed(refusal.generation)
  const answer = refusedBy(context, refusal)
  if (!answer) return group
  const left = group.readers.filter((wanted) => !mayBeRefused(wanted))
  context.counters.refused += group.readers.length - left.length
  for (const wanted of group.readers) if (mayBeRefused(wanted)) wanted.answer?.resolve(answer)
  return left.length === 0 ? undefined : { ...group, readers: left }
}

/**
 * A value out of L2, into L1 if that may have it; `undefined`: it is too big, its bytes are none that the
 * codec wrote, or it misses a write that this process was told of, and L2 was not.
 */
export function takeFromL2(
  { counters, entity, probes, region, turnClock }: ReadContext,
  { key }: Pick<WantedGroup, 'key'>,
  stored: Stored,
): { readonly candidate: Candidate; readonly isProven: boolean } | undefined {
  if (stored.form === 'too-big' || region.isOutdated(key, stored.snapshot)) return undefined
  const now = turnClock.read()
  const candidate = candidateFromL2(entity, stored, now.monotonicMs)
  if (!candidate) {
    counters.corruptValues++
    return undefined
  }
  const { barrier } = stored
  region.fillFromL2(key, candidate, barrier)
  return { candidate, isProven: probes.proves(barrier, now) }
}

/** May this reader have nothing that isn't proven? */
export function needsProof(entity: AnyEntity, wanted: Wanted): boolean {
  return wanted.isStrong || entity.foreignWrites
}

/** Everybody has an answer; is it to be loaded anew behind them? */
function refresh(
  context: ReadContext,
  group: WantedGroup,
  { candidate, state }: Answer,
): WantedGroup | undefined {
  const { ahead, limiter, switches, turnClock } = context
  const isEarly = state === 'fresh'
  const nowMs = turnClock.read().monotonicMs
  // As it is with almost all: nowhere near its end.
  if (isEarly && nowMs - candidate.freshUntilMs < ahead.fromMs) return undefined
  if (!refreshes(switches) || limiter.isFullFor(rankOf('refresh'))) return undefined
  if (isEarly && comesFromElected(context, group.key)) return undefined
  if (isEarly && !ahead.isDrawn(candidate, nowMs)) return undefined
  return { ...group, readers: [], insist: isEarly, isEarly, isApart: false, isInL2: true }
}

/** Whether it was an answer to this reader. */
function take(context: ReadContext, wanted: Wanted, answer: Answer): boolean {
  const { ahead, entity, turnClock } = context
  const { candidate, isProven, state } = answer
  // Others may have loaded it anew: then that will do.
  if (wanted.isEarly && ahead.isDue(candidate, turnClock.read().monotonicMs)) return false
  const mayHave =
    everyVisible(wanted.tickets, candidate.snapshot) &&
    (isProven || !needsProof(entity, wanted)) &&
    (state === 'fresh' || (!wanted.isStrong && wanted.answer))
  if (mayHave && state === 'stale' && waitsForLoad(context)) {
    offer(context, wanted, answer)
    return false
  }
  if (mayHave) wanted.answer?.resolve(answer)
  return Boolean(mayHave)
}
