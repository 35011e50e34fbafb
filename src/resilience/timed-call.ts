import type { Clock } from '../model/clock.ts'

/** The caller has given the call up, for `reason`; late enough, it has had no answer. */
export class Abandoned {
  readonly reason: unknown
  readonly isLate: boolean

  constructor(reason: unknown, isLate: boolean) {
    this.reason = reason
    this.isLate = isLate
  }
}

/** For `catch`: the reason itself. */
export function unwrap(error: unknown): never {
  throw error instanceof Abandoned ? error.reason : error
}

/** A call that was given up after this much of the deadline has failed; sooner, nobody knows. */
const lateShare = 0.5

export interface TimedCallOptions {
  readonly clock: Clock
  readonly deadlineMs: number
  readonly late: () => Error
  /** With it its owner keeps the deadline: rejects with `Abandoned` when it aborts. */
  readonly signal: AbortSignal | undefined
}

/** Settles like `call`, or rejects at its end in time, whether `call` heeds it or not. */
export function timedCall<T>(call: () => Promise<T>, options: TimedCallOptions): Promise<T> {
  const { clock, deadlineMs, late, signal } = options
  return new Promise<T>((resolve, reject) => {
    const end = signal
      ? watch(signal, options, reject)
      : clock.after(deadlineMs, () => reject(late()))
    const failed = (error: unknown): void => {
      end()
      reject(error)
    }
    if (signal?.aborted) return
    try {
      call().then((value) => {
        end()
        resolve(value)
      }, failed)
    } catch (error) {
      failed(error)
    }
  })
}

function watch(
  signal: AbortSignal,
  { clock, deadlineMs }: TimedCallOptions,
  reject: (error: unknown) => void,
): () => void {
  const beganAtMs = clock.monotonicMs()
  const abort = (): void => {
    const isLate = clock.monotonicMs() - beganAtMs >= deadlineMs * lateShare
    reject(new Abandoned(signal.reason, isLate))
  }
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  return () => signal.removeEventListener('abort', abort)
}
