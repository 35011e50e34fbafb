/**
 * The fast plane: what Lua publishes while it invalidates or fills. It only makes things faster; a
 * message that is lost, doubled or late changes nothing but the time until it is known.
 */
import type { Redis } from 'ioredis'
import type { FastPlane, HotList, Told } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import { parseIncarnation, type Xid } from '../model/snapshot.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import type { RedisClient } from './call.ts'
import { formatHotList, isHotList, parseHotList } from './hot-list.ts'
import type { KeySpace } from './keys.ts'

/** Readers of this process that wait for another process' fill, by the value's key. */
export class FillWaits {
  readonly #clock: Clock
  readonly #waiting = new Map<string, Set<() => void>>()
  /** When a key was last asked for, and last heard of: a wake-up may overtake the answer that says to wait. */
  readonly #askedAtMs = new Map<string, number>()
  readonly #wokenAtMs = new Map<string, number>()

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
      const askedAtMs = this.#askedAtMs.get(valueKey)
      const isWoken = askedAtMs !== undefined && (this.#wokenAtMs.get(valueKey) ?? 0) >= askedAtMs
      if (signal.aborted || isWoken) return done()
      signal.addEventListener('abort', done, { once: true })
      const waiting = this.#waiting.get(valueKey)
      if (waiting) waiting.add(done)
      else this.#waiting.set(valueKey, new Set([done]))
    })
  }

  /** The answer to an `acquire` that was sent then will say to wait. */
  asked(valueKey: string, sentAtMs: number): void {
    remember(this.#askedAtMs, valueKey, sentAtMs)
  }

  wake(valueKey: string): void {
    remember(this.#wokenAtMs, valueKey, this.#clock.monotonicMs())
    for (const done of [...(this.#waiting.get(valueKey) ?? [])]) done()
  }
}

const mostRemembered = 4_096

function remember(times: Map<string, number>, key: string, atMs: number): void {
  times.delete(key)
  times.set(key, atMs)
  if (times.size <= mostRemembered) return
  for (const oldest of times.keys()) {
    times.delete(oldest)
    return
  }
}

export interface FastPlaneOptions {
  /** A connection for this alone. */
  readonly subscriber: Redis
  readonly commands: RedisClient
  readonly keys: KeySpace
  readonly waits: FillWaits
  readonly clock: Clock
  /** Of an announcement. */
  readonly deadlineMs: number
}

export class RedisFastPlane implements FastPlane {
  readonly #options: FastPlaneOptions
  readonly #listeners: ((message: Told) => void)[] = []
  readonly #hotListeners: ((list: HotList) => void)[] = []

  constructor(options: FastPlaneOptions) {
    this.#options = options
    const { subscriber, keys } = options
    subscriber.on('message', (channel: string, message: string) => {
      if (channel === keys.bus) this.#hear(message)
    })
  }

  listen(told: (message: Told) => void): void {
    this.#listeners.push(told)
  }

  listenHot(heard: (list: HotList) => void): void {
    this.#hotListeners.push(heard)
  }

  async announce(list: HotList, signal: AbortSignal): Promise<void> {
    const { clock, commands, deadlineMs, keys } = this.#options
    await withDeadline(deadlineMs, unanswered(deadlineMs, 'Redis'), signal, clock, () =>
      commands.publish(keys.bus, formatHotList(list)),
    )
  }

  #hear(message: string): void {
    if (isHotList(message)) {
      const list = parseHotList(message)
      if (list) for (const heard of this.#hotListeners) heard(list)
      return
    }
    const told = parseTold(message)
    if (told) {
      for (const listener of this.#listeners) listener(told)
      return
    }
    // Lua publishes the key as Redis has it, with an ioredis prefix if there is one.
    const { commands, waits } = this.#options
    waits.wake(message.slice(commands.options.keyPrefix?.length ?? 0))
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
