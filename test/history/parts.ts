/** What the runs of a proof call: the simulator, and the runner of real processes. */

interface Options {
  readonly seed: number
  readonly signal: AbortSignal
  readonly log?: (line: string) => void
}

interface Simulated {
  readonly schedules: number
  readonly writes: number
  readonly violations: readonly { readonly seed: string; readonly text: string }[]
}

interface Graded {
  readonly caught: number
  readonly total: number
  readonly missed: readonly string[]
  /** By mutant: in how many schedules it was caught. */
  readonly schedules: Readonly<Record<string, number>>
}

/** What test/simulation/proof.ts exports. */
export interface Proof {
  simulate(options: Options & { readonly seconds: number }): Promise<Simulated>
  gradeMutants(options: Options): Promise<Graded>
}

interface RealRun {
  readonly kills: number
  /** Their kinds. */
  readonly faults: readonly string[]
}

/** What test/history/run.ts exports. */
export interface Runner {
  runHistory(
    options: Options & {
      readonly seconds: number
      readonly file: string
      readonly plane: 'outbox' | 'kafka'
    },
  ): Promise<RealRun>
}

/** By address: the parts need not know each other to be checked. */
export async function part<P>(address: string): Promise<P> {
  return (await import(/* @vite-ignore */ new URL(address, import.meta.url).href)) as P
}
