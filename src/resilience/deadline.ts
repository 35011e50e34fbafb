import type { Clock } from '../model/clock.ts'

/** A promise whose outcome somebody else decides. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
}

export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((one, other) => {
    resolve = one
    reject = other
  })
  return { promise, resolve, reject }
}

/** Settles like `promise`, or rejects with the signal's reason as soon as it aborts. */
export function abortable<T>(promise: PromiseLike<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).then(() => signal.removeEventListener('abort', abort))
  })
}

/** Resolves after `ms`, or as soon as the signal aborts. */
export function sleep(ms: number, signal: AbortSignal, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const wake = (): void => {
      cancel()
      signal.removeEventListener('abort', wake)
      resolve()
    }
    const cancel = clock.after(ms, wake)
    signal.addEventListener('abort', wake, { once: true })
  })
}

/** A signal that aborts after `ms`; whoever needs it no longer ends it. */
export interface Deadline {
  readonly signal: AbortSignal
  readonly end: () => void
}

export function deadlineIn(ms: number, clock: Clock): Deadline {
  const controller = new AbortController()
  const late = unanswered(ms)
  const end = clock.after(ms, () => controller.abort(late()))
  return { signal: controller.signal, end }
}

/**
 * Runs `call` under a signal that aborts with `error()` after `ms`, or with `parent`'s reason when
 * that aborts; rejects then, whether `call` heeds the signal or not.
 */
export async function withDeadline<T>(
  ms: number,
  error: () => Error,
  parent: AbortSignal | undefined,
  clock: Clock,
  call: (signal: AbortSignal) => PromiseLike<T>,
): Promise<T> {
  const controller = new AbortController()
  const follow = (): void => controller.abort(parent?.reason)
  if (parent?.aborted) follow()
  parent?.addEventListener('abort', follow, { once: true })
  const cancel = clock.after(ms, () => controller.abort(error()))
  try {
    return await abortable(call(controller.signal), controller.signal)
  } finally {
    cancel()
    parent?.removeEventListener('abort', follow)
  }
}

/** For `withDeadline`: `who` did not answer in time. */
export function unanswered(ms: number, who?: string): () => Error {
  const what = who === undefined ? 'no answer' : `${who} did not answer`
  return () => new Error(`${what} in ${ms} ms`)
}

/** One timer for many deadlines; calls `late` for each that passes, until the returned function ends it. */
export function watchDeadlines<T extends { readonly deadlineAtMs: number }>(
  items: readonly T[],
  clock: Clock,
  late: (item: T) => void,
): () => void {
  const waiting = items.toSorted((one, other) => one.deadlineAtMs - other.deadlineAtMs)
  let next = 0
  let cancel = (): void => {}
  const arm = (): void => {
    const first = waiting[next]
    if (first) cancel = clock.after(Math.max(0, first.deadlineAtMs - clock.monotonicMs()), ring)
  }
  const ring = (): void => {
    const nowMs = clock.monotonicMs()
    for (let item = waiting[next]; item && item.deadlineAtMs <= nowMs; item = waiting[next]) {
      next++
      late(item)
    }
    arm()
  }
  arm()
  return () => cancel()
}
