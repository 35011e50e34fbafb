/** A process of its own that a test calls; it says something when it has its code loaded. */
import { type ChildProcess, fork, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { type Calls, callsOf } from './calls.ts'

export interface Forked {
  readonly child: ChildProcess
  /** It has its code loaded, or has ended. */
  readonly here: Promise<unknown>
  /** Its exit code, or the signal that ended it. */
  readonly exited: Promise<number | string>
  readonly calls: Calls
}

/** Killed behind the test. */
export function forkOne(script: string, stdio: StdioOptions): Forked {
  const child = fork(script, { stdio })
  onTestFinished(() => void child.kill('SIGKILL'))
  const exited = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
  const here = Promise.race([once(child, 'message'), exited])
  return { child, here, exited, calls: callsOf(child) }
}
