/**
 * What the Bloom filter may say to those who read (DESIGN §8, I6): which ids level 2 is asked of, and
 * whose answer its "no" is.
 */
import type { Refusal } from '../model/filter-ports.ts'
import type { Answer, ReadContext, Wanted, WantedGroup } from './wanted.ts'

/** By the places of the groups. */
export interface Doubts {
  /** Level 2 is asked: level 1 doesn't have the id, and somebody may be told so. */
  readonly asked: readonly boolean[]
  /** Level 1 has it. */
  readonly isMaybe: readonly boolean[]
}

/** `undefined`: no filter is asked. */
export function doubtsOf(
  { filter, switches }: ReadContext,
  groups: readonly WantedGroup[],
): Doubts | undefined {
  if (!filter || switches['bloom.off']) return undefined
  const isMaybe = groups.map(({ text }) => filter.has(text))
  const asked = groups.map(({ readers }, index) => !isMaybe[index] && readers.some(mayBeRefused))
  return { asked, isMaybe }
}

/**
 * A strong read and one with a ticket may have to see a write that no barrier sees yet; and a refresh
 * is of something that was there.
 */
export function mayBeRefused({ answer, isStrong, tickets }: Wanted): boolean {
  return answer !== undefined && !isStrong && tickets.length === 0
}

/**
 * What a refusal is to them; `undefined`: nothing, because what it stands on, the barrier beside the
 * filter, isn't known to see all that was committed a staleness bound ago in this life of the database.
 */
export function refusedBy(
  { clock, probes, turnClock }: ReadContext,
  { barrier }: Refusal,
): Answer | undefined {
  if (!probes.proves(barrier, turnClock.read())) return undefined
  const nowMs = clock.monotonicMs()
  return {
    candidate: {
      value: undefined,
      isShared: true,
      snapshot: barrier,
      loadedAtMs: nowMs,
      freshUntilMs: nowMs,
      weightBytes: 0,
    },
    tier: 'l2',
    state: 'fresh',
    isProven: true,
  }
}
