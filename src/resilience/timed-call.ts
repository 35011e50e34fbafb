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

/** Hears of each outcome before the caller does; `failed` passes it on, when it likes. */
export interface Outcomes {
  readonly answered: () => void
  readonly failed: (error: unknown, reject: (error: unknown) => void) => void
}

/** Settles like `call`, or rejects with `error()` when its time is over. */
export function timedCall<T>(
  call: () => Promise<T>,
  deadlines: Deadlines,
  error: () => Error,
  { answered, failed }: Outcomes,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const waiting = deadlines.add(() => failed(error(), reject))
    const fail = (cause: unknown): void => {
      if (waiting.late === undefined) return
      waiting.late = undefined
      failed(cause, reject)
    }
    try {
      call().then((value) => {
        if (waiting.late === undefined) return
        waiting.late = undefined
        answered()
        resolve(value)
      }, fail)
    } catch (cause) {
      fail(cause)
    }
  })
}

/** Settles like `call`, or rejects with `Abandoned` when the signal aborts, whether `call` heeds it or not. */
export function abandonedCall<T>(
  call: () => Promise<T>,
  signal: AbortSignal,
  deadlineMs: number,
  clock: Clock,
  { answered, failed }: Outcomes,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const beganAtMs = clock.monotonicMs()
    let isOver = false
    const end = (): boolean => {
      signal.removeEventListener('abort', abort)
      const isFirst = !isOver
      isOver = true
      return isFirst
    }
    const fail = (cause: unknown): void => {
      if (end()) failed(cause, reject)
    }
    const abort = (): void => {
      const isLate = clock.monotonicMs() - beganAtMs >= deadlineMs * lateShare
      fail(new Abandoned(signal.reason, isLate))
    }
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    try {
      call().then((value) => {
        if (!end()) return
        answered()
        resolve(value)
      }, fail)
    } catch (cause) {
      fail(cause)
    }
  })
}
