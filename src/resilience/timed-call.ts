import type { Clock } from '../model/clock.ts'
import type { Deadlines } from './deadlines.ts'

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

/** Settles like `call`, or rejects with `error()` when its time is over. */
export function timedCall<T>(
  call: () => Promise<T>,
  deadlines: Deadlines,
  error: () => Error,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const waiting = deadlines.add(() => reject(error()))
    const failed = (cause: unknown): void => {
      waiting.late = undefined
      reject(cause)
    }
    try {
      call().then((value) => {
        waiting.late = undefined
        resolve(value)
      }, failed)
    } catch (cause) {
      failed(cause)
    }
  })
}

/** Settles like `call`, or rejects with `Abandoned` when the signal aborts, whether `call` heeds it or not. */
export function abandonedCall<T>(
  call: () => Promise<T>,
  signal: AbortSignal,
  deadlineMs: number,
  clock: Clock,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const beganAtMs = clock.monotonicMs()
    const abort = (): void => {
      const isLate = clock.monotonicMs() - beganAtMs >= deadlineMs * lateShare
      reject(new Abandoned(signal.reason, isLate))
    }
    if (signal.aborted) {
      abort()
      return
    }
    signal.addEventListener('abort', abort, { once: true })
    const end = (): void => signal.removeEventListener('abort', abort)
    try {
      void call().then(resolve, reject).then(end)
    } catch (cause) {
      end()
      reject(cause)
    }
  })
}
