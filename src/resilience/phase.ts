/**
 * Where a breaker is. Each phase has only what belongs to it, and its counters die with it: a call
 * that ends when another phase has come changes nothing there.
 */
export type Phase =
  | { readonly kind: 'closed' }
  /** `untilMs`: on the monotonic clock, as below. */
  | { readonly kind: 'open'; readonly untilMs: number }
  | HalfOpen
  /** They were answered: more and more calls are let through. `credit`: what of one call is saved up. */
  | { readonly kind: 'closing'; readonly sinceMs: number; running: number; credit: number }
  /** From outside: no more than a few at once until then, whatever comes of them. */
  | { readonly kind: 'limited'; readonly untilMs: number; running: number }

/** A few calls try; `isOwn`: none but the hop's own. */
export interface HalfOpen {
  readonly kind: 'half-open'
  running: number
  answered: number
  isOwn: boolean
}

/** As it is told: all calls are let through, none, or some. */
export type BreakerState = 'closed' | 'open' | 'half-open'

/** What opened it last: calls of this process, or what Prometheus says of all of them. */
export type BreakerReason = 'local' | 'fleet'

/** A change of a breaker's state. */
export interface BreakerChange {
  readonly state: BreakerState
  readonly before: BreakerState
  readonly reason: BreakerReason
  /** What opened it last, as an error or in words. */
  readonly cause: unknown
}

const states: Readonly<Record<Phase['kind'], BreakerState>> = {
  closed: 'closed',
  open: 'open',
  'half-open': 'half-open',
  closing: 'half-open',
  limited: 'half-open',
}

export function stateOf({ kind }: Phase): BreakerState {
  return states[kind]
}

const firstShare = 0.1

/**
 * Whether this call is among those that are let through while the breaker closes. By a share that
 * grows, without chance; but for `probes` at once, who always are: where little is asked for nobody
 * is refused.
 */
export function isLetThrough(
  phase: Phase & { readonly kind: 'closing' },
  nowMs: number,
  { probes, rampUpMs }: { readonly probes: number; readonly rampUpMs: number },
): boolean {
  const share = firstShare + (1 - firstShare) * ((nowMs - phase.sinceMs) / rampUpMs)
  phase.credit = Math.min(1, phase.credit + share)
  if (phase.credit < 1) return phase.running < probes
  phase.credit = 0
  return true
}
