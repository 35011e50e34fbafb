/** What is known of the calls of all instances together, and who can be asked for it. */

/** Why nothing is known. Words of a label: each is one of these. */
export const unknownReasons = [
  'unreachable',
  'deadline',
  'refused',
  'http',
  'query',
  'too-big',
  'not-json',
  'type',
  'empty',
  'not-a-number',
  'implausible',
  'stale',
  'closed',
] as const
export type UnknownReason = (typeof unknownReasons)[number]

/** Nothing is known; `detail`: for a log, without secrets. */
export interface Unknown {
  readonly kind: 'unknown'
  readonly reason: UnknownReason
  readonly detail: string
}

/** Of one hop, on a cluster of one of its nodes: what share of the calls had no answer, 0 to 1. */
export interface FleetRatio {
  readonly hop: string
  readonly node: string | undefined
  readonly errorRatio: number
}

export type FleetAnswer =
  /** `atMs`: of when it is, by the clock of who answered. */
  | { readonly kind: 'known'; readonly atMs: number; readonly ratios: readonly FleetRatio[] }
  | Unknown

/** Whoever holds a hop says again what it wants before this is over. */
export const longestHoldMs = 5 * 60_000

export interface FleetSignal {
  readonly intervalMs: number
  /** How long one answer holds a hop; at most `longestHoldMs`. */
  readonly holdForMs: number
  /** Within a deadline of its own. Never rejects. */
  ask(signal: AbortSignal): Promise<FleetAnswer>
}
