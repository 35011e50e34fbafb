import { setTimeout as pause } from 'node:timers/promises'

/** Asks until the answer is truthy and gives it back; undefined after `timeoutMs`. */
export async function until(ask, timeoutMs, everyMs = 50) {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    if (performance.now() > deadline) return undefined
    await pause(everyMs)
  }
}
