/** Ends of waiting. */

export interface Limited {
  readonly signal: AbortSignal
  /** Takes the timer back. */
  clear(): void
}

/**
 * Aborted with `parent`, or `ms` later. Not `AbortSignal.any` of an `AbortSignal.timeout`: Node 20
 * collects the latter as garbage, and then neither ever is.
 */
export function limited(parent: AbortSignal, ms: number): Limited {
  const own = new AbortController()
  const end = (): void => {
    clear()
    own.abort(parent.reason)
  }
  const timer = setTimeout(end, ms)
  const clear = (): void => {
    clearTimeout(timer)
    parent.removeEventListener('abort', end)
  }
  parent.addEventListener('abort', end)
  if (parent.aborted) end()
  return { signal: own.signal, clear }
}

/** Resolves after so long, or when the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const over = limited(signal, ms)
  if (over.signal.aborted) return
  await new Promise((resolve) => over.signal.addEventListener('abort', resolve, { once: true }))
}
