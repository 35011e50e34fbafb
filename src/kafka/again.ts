/** What is to go on for as long as nobody ends it, however often it breaks. */
import type { Clock } from '../model/clock.ts'
import { sleep } from '../resilience/deadline.ts'

/** How it was broken off. */
export interface Break {
  readonly why: string
  /** To be said even if it was broken off so the last time. */
  readonly isNews?: boolean
  readonly say: () => void
}

export interface AgainOptions {
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly firstDelayMs: number
  readonly longestDelayMs: number
  /** What held this long was good: the next break is the first again. */
  readonly steadyMs: number
}

/**
 * Runs `once` again and again, after longer and longer pauses, until the signal aborts or it answers
 * `undefined`. Says once for each cause, however often it is tried.
 */
export async function again(
  { clock, signal, firstDelayMs, longestDelayMs, steadyMs }: AgainOptions,
  once: () => Promise<Break | undefined>,
): Promise<void> {
  let breaks = 0
  let said: string | undefined
  while (!signal.aborted) {
    const begunAtMs = clock.monotonicMs()
    const broken = await once()
    if (!broken || signal.aborted) return
    breaks = clock.monotonicMs() - begunAtMs > steadyMs ? 1 : breaks + 1
    if (broken.isNews || broken.why !== said) broken.say()
    said = broken.why
    const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(breaks, 10))
    await sleep(delayMs * (0.5 + Math.random() / 2), signal, clock)
  }
}
