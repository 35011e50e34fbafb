/**
 * What L2's answer is to those who asked (DESIGN §4.3, §7). It may be old and right: what nobody has
 * proven is told as such, and is no answer to who needs proof.
 */
import type { AnyEntity } from '../model/entity.ts'
import type { Candidate, Lookup, Stored } from '../model/ports.ts'
import { everyVisible } from '../model/ticket.ts'
import { candidateFromL2, refreshes } from './values.ts'
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
    case 'unavailable':
      return { ...group, isApart: true }
    case 'fresh':
    case 'stale': {
      const { stored } = lookup
      if (stored.snapshot.incarnation !== context.probes.incarnation) return group
      const found = takeFromL2(context, group, stored)
      if (!found) return { ...group, insist: true }
      const isFresh = lookup.kind === 'fresh'
      const { candidate, isProven } = found
      const answer: Answer = { candidate, tier: 'l2', state: isFresh ? 'fresh' : 'stale', isProven }
      const left = group.readers.filter((wanted) => !take(context, wanted, answer))
      if (left.length === 0 && (isFresh || !refreshes(context.switches))) return undefined
      const isApart = !isProven && left.some((wanted) => needsProof(context.entity, wanted))
      return { ...group, readers: left, insist: left.length > 0 && isFresh, isApart }
    }
    default:
      return lookup satisfies never
  }
}

/** A value out of L2, into L1 if that may have it; `undefined`: its bytes are none that the codec wrote. */
export function takeFromL2(
  { clock, counters, entity, probes, region, turnClock }: ReadContext,
  { key }: WantedGroup,
  stored: Stored,
): { readonly candidate: Candidate; readonly isProven: boolean } | undefined {
  const candidate = candidateFromL2(entity, stored, clock.monotonicMs())
  if (!candidate) {
    counters.corruptValues++
    return undefined
  }
  const { barrier } = stored
  region.fillFromL2(key, candidate, barrier)
  return { candidate, isProven: probes.proves(barrier, turnClock.read()) }
}

/** May this reader have nothing that isn't proven? */
export function needsProof(entity: AnyEntity, wanted: Wanted): boolean {
  return wanted.isStrong || entity.foreignWrites
}

/** Do readers of a value past its ttl wait for the load, up to `softTimeout`? */
export function waitsForLoad({ entity, switches }: ReadContext): boolean {
  return entity.softTimeoutMs > 0 && refreshes(switches)
}

/** What a reader gets when the load takes longer than `softTimeout`, or fails. */
export function offer(
  { clock, entity, region }: ReadContext,
  wanted: Wanted,
  answer: Answer,
): void {
  const waitMs = wanted.beganAtMs + entity.softTimeoutMs - clock.monotonicMs()
  const isInL1 = (): boolean => region.find(wanted.key) !== undefined
  // An invalidation that comes in meanwhile drops it there.
  const isGood = isInL1() ? isInL1 : (): boolean => true
  wanted.answer?.offer(answer, isGood, Math.max(0, waitMs), clock)
}

/** Whether it was an answer to this reader. */
function take(context: ReadContext, wanted: Wanted, answer: Answer): boolean {
  const { entity } = context
  const { candidate, isProven, state } = answer
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
