import type { Clock } from '../model/clock.ts'
import type { Build, L2Filters } from '../model/filter-ports.ts'
import { sleep } from '../resilience/deadline.ts'

/** Keeps a builder's lease until it is ended; who opens it ends it. */
export class BuildLease {
  static readonly ms = 10_000
  readonly #filters: L2Filters
  readonly #build: Build
  readonly #lost = new AbortController()
  readonly #end = new AbortController()

  constructor(filters: L2Filters, build: Build, clock: Clock) {
    this.#filters = filters
    this.#build = build
    void this.#keep(clock)
  }

  /** Aborts when the bitmap or the lease is gone. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  end(): void {
    this.#end.abort()
  }

  /** Two may fail to arrive before it lapses. */
  async #keep(clock: Clock): Promise<void> {
    const { signal } = this.#end
    for (;;) {
      await sleep(BuildLease.ms / 3, signal, clock)
      if (signal.aborted) return
      const { kind } = await this.#filters.renew(this.#build, BuildLease.ms)
      if (kind === 'lost' && !signal.aborted)
        return this.#lost.abort(new Error('the lease is lost'))
    }
  }
}
