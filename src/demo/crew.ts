/**
 * The demo's processes, from fork to exit: they begin together, and none of them outlives `work`,
 * however it ends.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { systemClock } from '../model/clock.ts'
import { abortable, type Deferred, deferred, sleep } from '../resilience/deadline.ts'
import type { FromWorker, Progress, ToWorker, WorkerSettings } from './messages.ts'

export interface CrewOptions {
  readonly settings: readonly WorkerSettings[]
  readonly seconds: number
  readonly hear: (process: number, chunk: Uint8Array, untilNs: number, progress: Progress) => void
  readonly news: (process: number, news: string) => void
  /** All are ready, and the run begins at that time of the machine's monotonic clock. */
  readonly begun: (epochNs: bigint, crew: Crew) => void
  /** What is heard of that process from now on is another's. */
  readonly replaced: (process: number) => void
  readonly signal: AbortSignal
}

/** What may be done to the processes while they work. */
export interface Crew {
  readonly size: number
  /** Kills one, and resolves when another works in its place. */
  replace(process: number): Promise<void>
  send(process: number, signal: 'SIGSTOP' | 'SIGCONT'): void
}

const workerFile = new URL('./worker.js', import.meta.url)
/** How long processes may take to start, and to end what is under way when the time is up. */
const startDeadlineMs = 30_000
const endDeadlineMs = 15_000
/** How long one that was told to stop may take. */
const stopDeadlineMs = 3_000
/** Between the word to go and the beginning, so that all of them begin in time. */
const headStartMs = 100

interface Worker {
  /** The one that works now, when others before it were killed. */
  child: ChildProcess
  exited: Promise<unknown>
  ready: Deferred<void>
  readonly done: Deferred<void>
}

/** Resolves when the run is over; rejects when a process fails, dies or hangs, or the signal aborts. */
export async function work(options: CrewOptions): Promise<void> {
  const { settings, seconds, signal } = options
  const workers: Worker[] = []
  const over = new AbortController()
  try {
    signal.throwIfAborted()
    for (const one of settings) workers.push(hire(one, workers, options))
    await all(workers, 'ready', 'start', startDeadlineMs, signal)
    const epochNs = process.hrtime.bigint() + BigInt(headStartMs) * 1_000_000n
    const go: ToWorker = { kind: 'go', epochNs, seconds }
    options.begun(epochNs, crewOf(workers, { ...options, signal: over.signal }, go))
    for (const { child } of workers) send(child, go)
    await all(workers, 'done', 'end', headStartMs + seconds * 1_000 + endDeadlineMs, signal)
  } finally {
    // Nobody is hired any more.
    over.abort()
    await Promise.all(workers.map(dismiss))
  }
}

function crewOf(workers: readonly Worker[], options: CrewOptions, go: ToWorker): Crew {
  return {
    size: workers.length,
    send: (process, signal) => void workers[process]?.child.kill(signal),
    replace: async (process) => {
      options.signal.throwIfAborted()
      const worker = workers[process] as Worker
      const { child, exited } = worker
      worker.ready = quietly(deferred<void>())
      const settings = options.settings[process] as WorkerSettings
      Object.assign(worker, employ({ ...settings, isSuccessor: true }, workers, options))
      child.kill('SIGKILL')
      await exited
      await all([worker], 'ready', 'start', startDeadlineMs, options.signal)
      options.replaced(process)
      send(worker.child, go)
    },
  }
}

function hire(settings: WorkerSettings, workers: readonly Worker[], options: CrewOptions): Worker {
  const [ready, done] = [quietly(deferred<void>()), quietly(deferred<void>())]
  return { ready, done, ...employ(settings, workers, options) }
}

function quietly(one: Deferred<void>): Deferred<void> {
  one.promise.catch(() => {})
  return one
}

/** One process; what it says and does is heard as long as its place is its own. */
function employ(
  settings: WorkerSettings,
  workers: readonly Worker[],
  options: CrewOptions,
): Pick<Worker, 'child' | 'exited'> {
  // stdout of the demo holds results and nothing else.
  const child = fork(workerFile, [], { serialization: 'advanced', stdio: ['ignore', 2, 2, 'ipc'] })
  const place = (): Worker | undefined => {
    const worker = workers[settings.process]
    return worker?.child === child ? worker : undefined
  }
  const fail = (why: string): void => {
    const error = new Error(`process ${settings.process} ${why}`)
    const worker = place()
    for (const one of [worker?.ready, worker?.done]) one?.reject(error)
  }
  child.on('message', (message: FromWorker) => {
    switch (message.kind) {
      case 'ready':
        return place()?.ready.resolve()
      case 'history':
        return options.hear(settings.process, message.chunk, message.untilNs, message.progress)
      case 'news':
        return options.news(settings.process, message.news)
      case 'hand':
      case 'new-row': {
        const next = workers[(settings.process + 1) % workers.length]
        if (next) send(next.child, message)
        return
      }
      case 'done':
        return place()?.done.resolve()
      case 'failed':
        return fail(`failed: ${message.message}`)
      default:
        message satisfies never
    }
  })
  child.on('error', (error) => fail(`could not be run: ${error.message}`))
  child.on('exit', (code, signal) => fail(`ended with ${signal ?? `exit code ${code}`}`))
  const exited = once(child, 'exit').catch(() => {})
  send(child, { kind: 'open', settings })
  return { child, exited }
}

function send(child: ChildProcess, message: ToWorker): void {
  // Whoever has gone by now is noticed by its exit.
  if (child.connected) child.send(message, () => {})
}

async function all(
  workers: readonly Worker[],
  what: 'ready' | 'done',
  verb: string,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<void> {
  const late = AbortSignal.timeout(deadlineMs)
  const either = AbortSignal.any([late, signal])
  try {
    await abortable(Promise.all(workers.map((worker) => worker[what].promise)), either)
  } catch (error) {
    if (!late.aborted) throw error
    throw new Error(`the processes did not ${verb} within ${deadlineMs} ms`)
  }
}

/** Waits for its exit, helps along, and in the end insists. */
async function dismiss({ child, exited, done }: Worker): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const isDone = await Promise.race([
    done.promise.then(
      () => true,
      () => false,
    ),
    false,
  ])
  if (!isDone) send(child, { kind: 'stop' })
  const waited = new AbortController()
  await Promise.race([exited, sleep(stopDeadlineMs, waited.signal, systemClock)])
  waited.abort()
  child.kill('SIGKILL')
  await exited
}
