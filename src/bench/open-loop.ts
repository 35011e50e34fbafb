import { setTimeout } from 'node:timers/promises'

export interface Pace {
  readonly perSecond: number
  readonly forMs: number
  readonly signal: AbortSignal
}

/**
 * Calls begin when they are due, whether those before have ended or not: a cache that is slow gets no
 * fewer of them, and a call's wait counts from when it was due. A turn of the loop begins all that are
 * due by then. Resolves when all have ended; none may reject.
 */
export async function openLoop(
  { perSecond, forMs, signal }: Pace,
  call: (dueAtMs: number) => Promise<unknown>,
): Promise<void> {
  const total = Math.round((perSecond * forMs) / 1_000)
  const beganAtMs = performance.now()
  let begun = 0
  let running = 0
  let ended = (): void => {}
  const end = (): void => {
    if (--running === 0) ended()
  }
  while (begun < total) {
    signal.throwIfAborted()
    const due = Math.min(total, Math.ceil(((performance.now() - beganAtMs) * perSecond) / 1_000))
    while (begun < due) {
      running++
      void call(beganAtMs + (begun++ * 1_000) / perSecond).then(end)
    }
    await setTimeout(1)
  }
  if (running > 0) {
    await new Promise<void>((resolve) => {
      ended = resolve
    })
  }
}
