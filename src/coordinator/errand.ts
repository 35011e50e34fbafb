/** What the relay does for one destination, beside and independent of the others: rows, and barriers. */
import type { Clock } from '../model/clock.ts'
import type { Logger } from '../model/log.ts'
import type { Destination, Outbox, Progress } from '../model/outbox-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import type { RelayDestination } from './destinations.ts'

export interface ErrandOptions {
  readonly destination: RelayDestination
  readonly outbox: Outbox
  readonly clock: Clock
  readonly log: Logger
  readonly minAgeMs: number
  readonly barrierIntervalMs: number
  readonly deadlineMs: number
  readonly closing: AbortSignal
}

/** A destination that could be told of nothing is left alone for so long. */
const restMs = 250
/** Share of the deadline after which a claim begins nothing more, so that it can mark what was told. */
const shareOfTelling = 0.5

export class Errand {
  readonly #options: ErrandOptions
  /** Told of, as soon as all that it sees is. */
  #pending: Snapshot | undefined
  /** The destination has been told of all that it sees, and not that it has. */
  #ready: Snapshot | undefined
  #telling: Promise<void> | undefined
  #writing: Promise<void> | undefined
  #tellAtMs = Number.NEGATIVE_INFINITY
  #barrierAtMs = Number.NEGATIVE_INFINITY
  #isFailing = false

  constructor(options: ErrandOptions) {
    this.#options = options
  }

  get name(): Destination {
    return this.#options.destination.name
  }

  get asked(): Snapshot | undefined {
    return this.#pending
  }

  begin(): void {
    this.#pending = undefined
    this.#ready = undefined
  }

  consider({ owed, snapshot }: Progress): void {
    const { clock, barrierIntervalMs } = this.#options
    const { isTold, rows } = owed[this.name]
    const nowMs = clock.monotonicMs()
    if (rows === 0) this.#ready = snapshot
    else if (isTold) this.#ready = this.#pending
    if (rows === 0 || isTold || this.#pending?.incarnation !== snapshot.incarnation) {
      this.#pending = snapshot
    }
    if (rows > 0 && nowMs >= this.#tellAtMs) {
      this.#telling ??= this.#run(() => this.#tell()).finally(() => {
        this.#telling = undefined
      })
    }
    if (this.#ready && !this.#writing && nowMs >= this.#barrierAtMs) {
      const ready = this.#ready
      this.#ready = undefined
      this.#barrierAtMs = nowMs + barrierIntervalMs
      this.#writing = this.#run(() => this.#barrier(ready)).finally(() => {
        this.#writing = undefined
      })
    }
  }

  /** Resolves when nothing is under way any more. */
  async ended(): Promise<void> {
    await Promise.all([this.#telling, this.#writing])
  }

  /** Never rejects. */
  async #run(work: () => Promise<void>): Promise<void> {
    const { closing, log } = this.#options
    try {
      await work()
      this.#isFailing = false
    } catch (error) {
      if (closing.aborted) return
      const level = this.#isFailing ? 'debug' : 'warn'
      log[level](
        { err: error, destination: this.name },
        'the outbox cannot be relayed here; it waits',
      )
      this.#isFailing = true
    }
  }

  async #tell(): Promise<void> {
    const { clock, closing } = this.#options
    this.#tellAtMs = clock.monotonicMs() + restMs
    for (;;) {
      const { claimed, told } = await this.#claim()
      if (told > 0 && !closing.aborted) continue
      // Young rows were left to their writers, or all are done: it looks again with the next progress.
      if (claimed === 0) this.#tellAtMs = Number.NEGATIVE_INFINITY
      return
    }
  }

  async #claim(): Promise<{ claimed: number; told: number }> {
    const { clock, closing, deadlineMs, destination, minAgeMs, outbox } = this.#options
    let claimed = 0
    const late = unanswered(deadlineMs, 'the outbox')
    const told = await withDeadline(deadlineMs, late, closing, clock, (signal) =>
      outbox.claim(
        this.name,
        minAgeMs,
        async (claim) => {
          claimed = claim.rows.length
          // Not a race: what it was told of until then is marked.
          const over = new AbortController()
          const cancel = clock.after(deadlineMs * shareOfTelling, () => over.abort())
          try {
            return await destination.tell(claim, AbortSignal.any([signal, over.signal]))
          } finally {
            cancel()
          }
        },
        signal,
      ),
    )
    return { claimed, told }
  }

  #barrier(snapshot: Snapshot): Promise<void> {
    const { closing, destination } = this.#options
    return destination.barrier(snapshot, closing)
  }
}
