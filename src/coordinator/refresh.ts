/**
 * Values that there is an answer with, and that are loaded anew: whether that is begun, and what those
 * get who wait for it (`softTimeout`, DESIGN §4.3).
 */
import type { Switches } from '../model/flags.ts'
import type { L1Key } from '../model/id.ts'
import { everyVisible } from '../model/ticket.ts'
import { graceOf } from './values.ts'
import type { Answer, ReadContext, Wanted } from './wanted.ts'

/** Is anything loaded that there is an answer for? */
export function refreshes(switches: Switches): boolean {
  return !switches['refresh.off'] && !switches['serve.stale'] && !switches['misses.shed']
}

/** Does the one that is elected load it anew before it expires, and does that come here, by L2? */
export function comesFromElected({ hot, switches }: ReadContext, key: L1Key): boolean {
  if (switches['fill.off'] || switches['l2.bypass']) return false
  return hot?.isElectedElsewhere(key) ?? false
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

/** Offers what L1 has past its soft expiry, if this reader may have it. */
export function offerFromL1(context: ReadContext, wanted: Wanted): void {
  const { entity, region, switches, trust, turnClock } = context
  const slot = region.find(wanted.key)
  if (slot === undefined || wanted.isStrong || switches['l1.bypass']) return
  const now = turnClock.read()
  const candidate = region.candidateAt(slot)
  const graceMs = graceOf(entity, candidate.value, switches)
  if (now.monotonicMs - candidate.freshUntilMs >= graceMs || !trust.isProven(now)) return
  if (!everyVisible(wanted.tickets, candidate.snapshot)) return
  offer(context, wanted, { candidate, tier: 'l1', state: 'stale', isProven: true })
}
