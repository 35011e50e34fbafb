/** What scripts/history.mjs or scripts/degradation.mjs asks of a part, and where it looks for the answer. */
import { existsSync, writeFileSync } from 'node:fs'

interface Asked {
  readonly seconds: number
  readonly seed: number
  readonly plane: 'outbox' | 'kafka'
  /** Of the history. */
  readonly file: string
  /** A schedule of the simulator. */
  readonly replay: string
  /** What the names of the cells of the matrix begin with. */
  readonly only: readonly string[]
}

interface Message extends Asked {
  /** Whoever asked; and the file that says that it wants no answer any more. */
  readonly pid: number
  readonly stop: string
  readonly results: Readonly<Record<Part, string>>
}

type Part = 'simulation' | 'real' | 'check' | 'replay' | 'degradation'

export function asked(): Message {
  const message = process.env.LOCKSTEP_ASKED
  if (message === undefined)
    throw new Error('these runs are begun by: npm run history, npm run degradation')
  return JSON.parse(message)
}

export function answer(part: Part, result: object): void {
  writeFileSync(asked().results[part], JSON.stringify(result))
}

const lookEveryMs = 200

/**
 * While `run` goes on, its signal aborts when nobody waits for it any more. A signal to the process
 * would end it before its servers are.
 */
export async function whileWanted<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { pid, stop } = asked()
  const unwanted = new AbortController()
  const timer = setInterval(() => {
    if (existsSync(stop) || !isAlive(pid)) unwanted.abort(new Error('the run was ended'))
  }, lookEveryMs)
  try {
    return await run(unwanted.signal)
  } finally {
    clearInterval(timer)
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** On stderr: stdout is for the result. */
export function logOf(part: Part): (line: string) => void {
  return (line) => void process.stderr.write(`${part}: ${line}\n`)
}
