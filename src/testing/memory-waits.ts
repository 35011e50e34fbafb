/** Readers that wait for a fill, by the value's key, and what wakes them. */
import type { Clock } from '../model/clock.ts'

export class MemoryWaits {
  readonly #clock: Clock
  readonly #waiting = new Map<string, Set<() => void>>()
  /** How often each was woken, and had been when a process was told to wait for it. */
  readonly #wakes = new Map<string, number>()
  readonly #asked = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get count(): number {
    return [...this.#waiting.values()].reduce((sum, waits) => sum + waits.size, 0)
  }

  wake(key: string): void {
    this.#wakes.set(key, this.#wakesOf(key) + 1)
    for (const done of [...(this.#waiting.get(key) ?? [])]) done()
  }

  /** It is told to wait. */
  asked(owner: string, key: string): void {
    this.#asked.set(`${owner} ${key}`, this.#wakesOf(key))
  }

  /** Resolves at once where it was woken since it was told to wait. */
  wait(owner: string, key: string, pollAfterMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waits = this.#waiting.get(key) ?? new Set()
      const done = (): void => {
        cancel()
        signal.removeEventListener('abort', done)
        waits.delete(done)
        if (waits.size === 0) this.#waiting.delete(key)
        resolve()
      }
      const cancel = this.#clock.after(pollAfterMs, done)
      const isWoken =
        this.#wakesOf(key) > (this.#asked.get(`${owner} ${key}`) ?? Number.POSITIVE_INFINITY)
      if (signal.aborted || isWoken) return done()
      signal.addEventListener('abort', done, { once: true })
      waits.add(done)
      this.#waiting.set(key, waits)
    })
  }

  #wakesOf(key: string): number {
    return this.#wakes.get(key) ?? 0
  }
}
