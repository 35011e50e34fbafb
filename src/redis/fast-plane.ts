/**
 * The fast plane: what Lua publishes while it invalidates or fills. It only makes things faster; a
 * message that is lost, doubled or late changes nothing but the time until it is known.
 */
import type { Redis } from 'ioredis'
import type { Clock } from '../model/clock.ts'
import type { FastPlane, Told } from '../model/ports.ts'
import { parseIncarnation, type Xid } from '../model/snapshot.ts'
import type { KeySpace } from './keys.ts'

/** Readers of this process that wait for another process' fill, by the value's key. */
export class FillWaits {
  readonly #clock: Clock
  readonly #waiting = new Map<string, Set<() => void>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves when the key was filled or released, after `pollAfterMs`, or when the signal aborts. */
  wait(valueKey: string, pollAfterMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancel()
        signal.removeEventListener('abort', done)
        const waiting = this.#waiting.get(valueKey)
        waiting?.delete(done)
        if (waiting?.size === 0) this.#waiting.delete(valueKey)
        resolve()
      }
      const cancel = this.#clock.after(pollAfterMs, done)
      if (signal.aborted) return done()
      signal.addEventListener('abort', done, { once: true })
      const waiting = this.#waiting.get(valueKey)
      if (waiting) waiting.add(done)
      else this.#waiting.set(valueKey, new Set([done]))
    })
  }

  wake(valueKey: string): void {
    for (const done of [...(this.#waiting.get(valueKey) ?? [])]) done()
  }
}

export class RedisFastPlane implements FastPlane {
  readonly #listeners: ((message: Told) => void)[] = []

  /** `subscriber` is a connection for this alone. */
  constructor(subscriber: Redis, keys: KeySpace, waits: FillWaits) {
    subscriber.on('message', (channel: string, message: string) => {
      if (channel !== keys.bus) return
      const told = parseTold(message)
      if (!told) return waits.wake(message)
      for (const listener of this.#listeners) listener(told)
    })
  }

  listen(told: (message: Told) => void): void {
    this.#listeners.push(told)
  }
}

/** `undefined` for anything but an invalidation: another version's message, or noise, does no harm. */
function parseTold(message: string): Told | undefined {
  if (!message.startsWith('{')) return undefined
  try {
    const { i, x, k } = JSON.parse(message) as { i: unknown; x: unknown; k: unknown }
    if (typeof i !== 'string' || !Number.isSafeInteger(x) || !Array.isArray(k)) return undefined
    const keys = k.filter(
      (pair): pair is [string, string] =>
        Array.isArray(pair) && typeof pair[0] === 'string' && typeof pair[1] === 'string',
    )
    return {
      write: { incarnation: parseIncarnation(i), xid: x as Xid },
      keys: keys.map(([entity, id]) => ({ entity, id })),
    }
  } catch {
    return undefined
  }
}
