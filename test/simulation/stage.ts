import type { Version } from './oracle.ts'
import type { SimulatedProcess } from './process.ts'
import type { SimulatedWorld } from './world.ts'

/** What the acts of one schedule share. */
export interface Stage {
  readonly world: SimulatedWorld
  /** Those that run, or ran last, by their places. */
  readonly processes: readonly SimulatedProcess[]
  readonly tickets: { readonly version: Version; readonly ticket: string }[]
  /** Goes into the trace. */
  readonly note: (text: string) => void
}

export const writeTimeoutMs = 400
