/** What the instances of a cell saw, as they wrote it down: one JSON object a line (children/load.mjs). */
import { createReadStream, existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Tier } from '../history/format.ts'

/** `steady`: of a row that nobody writes, past its ttl. `cold`: the only read of its row. */
export type ReadKind = 'steady' | 'bounded' | 'strong' | 'ticket' | 'cold'
export const readKinds: readonly ReadKind[] = ['steady', 'bounded', 'strong', 'ticket', 'cold']

/** Times are nanoseconds since the epoch of the cell. */
export interface Call {
  readonly kind: ReadKind | 'write'
  /** When it was to begin; its time counts from here. */
  readonly due: number
  readonly end: number
  /** An answered read. */
  readonly tier?: Tier
  readonly proven?: boolean
  readonly state?: 'fresh' | 'stale'
  readonly ageMs?: number
  /** A write that went through. */
  readonly fenced?: boolean
  /** A code, or what was thrown. */
  readonly error?: string
  readonly retryable?: boolean
}

interface BreakerChange {
  readonly kind: 'breaker'
  readonly at: number
  readonly hop: 'l2' | 'source' | 'bus'
  readonly state: 'closed' | 'open' | 'half-open'
  readonly reason: 'local' | 'fleet'
}

interface TrustChange {
  readonly kind: 'trust'
  readonly at: number
  readonly state: 'gained' | 'lost'
}

export interface Samples {
  readonly calls: readonly Call[]
  /** Of each instance, as below. */
  readonly breakers: readonly (readonly BreakerChange[])[]
  readonly trust: readonly (readonly TrustChange[])[]
}

export async function readSamples(files: readonly string[]): Promise<Samples> {
  const calls: Call[] = []
  const breakers: BreakerChange[][] = []
  const trust: TrustChange[][] = []
  for (const file of files) {
    const own: TrustChange[] = []
    const changes: BreakerChange[] = []
    trust.push(own)
    breakers.push(changes)
    if (!existsSync(file)) throw new Error(`${file} is missing: its instance saw nothing`)
    for await (const text of createInterface({ input: createReadStream(file) })) {
      const line = JSON.parse(text) as Call | BreakerChange | TrustChange
      if (line.kind === 'breaker') changes.push(line)
      else if (line.kind === 'trust') own.push(line)
      else calls.push(line)
    }
  }
  return { calls, breakers, trust }
}
