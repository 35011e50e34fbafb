import type { Mutation } from '../mutation.ts'
import type { Violation } from '../oracle.ts'
import type { DrawOptions } from '../schedule.ts'

/** One rule left out or done wrong; `what` is the rule, and `because` what really happens without it. */
export interface Mutant {
  readonly name: string
  readonly what: string
  /** What it breaks; a violation of something else doesn't count. */
  readonly breaks: readonly Violation['invariant'][]
  /** Where it shows. */
  readonly where: NonNullable<DrawOptions['scenario']>
  readonly mutation: Mutation
}

/** Everybody's answers come late, and often in another order. */
export const rough = [0, 0, 0, 1, 3, 10, 40, 120]

/** None of what a scenario may be troubled by; each mutant adds what it needs. */
export const quiet = {
  hasL2: true,
  hasLog: false,
  foreignWrites: false,
  hasVersions: false,
  hasReplicas: false,
  lostCalls: 0,
  brokenStatements: 0,
  lostMarks: 0,
  failingLoads: 0,
  unknownCommits: 0,
  isForgetful: false,
} as const

export const noTrouble = {
  evict: 0,
  'fail over Redis': 0,
  'crash PostgreSQL': 0,
  'fail over PostgreSQL': 0,
  'step a clock': 0,
  suspend: 0,
  stop: 0,
  kill: 0,
  'cut off': 0,
  'end relay': 0,
  log: 0,
} as const
