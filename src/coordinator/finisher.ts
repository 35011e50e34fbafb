import type { Log, LoggedWrite } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import type { Logger } from '../model/log.ts'
import type { Destination, Outbox } from '../model/outbox-port.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'

const flushAfterMs = 5
/** Behind marks that nobody waits for. */
const markAfterMs = 20
const mostRowIds = 10_000

/** A write that has committed. */
export interface CommittedWrite {
  readonly rowIds: readonly string[]
  readonly writes: readonly LoggedWrite[]
  /** L2 has been told of it. */
  readonly isApplied: boolean
}

export interface FinisherOptions {
  readonly outbox: Outbox
  /** `undefined`: who tails the outbox hears of a write without more. */
  readonly source: Pick<Log, 'publish'> | undefined
  /** Nobody tells the others of a write but the outbox. */
  readonly wakesOthers: boolean
  readonly clock: Clock
  readonly log: Logger
  /** Of publishing, and of marking. */
  readonly deadlineMs: number
}

/**
 * What is left of a write once it has been told: it is published, and its outbox rows are marked, in
 * batches and behind it (DESIGN §5.5). What is lost here the relay does again.
 */
export class Finisher {
  readonly #options: FinisherOptions
  #writes: CommittedWrite[] = []
  #rows = 0
  #cancel: (() => void) | undefined
  #flushing: Promise<void> = Promise.resolve()

  constructor(options: FinisherOptions) {
    this.#options = options
  }

  add(write: CommittedWrite): void {
    const { clock, source, wakesOthers } = this.#options
    if (this.#rows + write.rowIds.length > mostRowIds) return
    this.#rows += write.rowIds.length
    this.#writes.push(write)
    this.#cancel ??= clock.after(source || wakesOthers ? flushAfterMs : markAfterMs, () => {
      void this.flush()
    })
  }

  /** Resolves when everything added so far is published and marked, or left to the relay. */
  flush(): Promise<void> {
    this.#cancel?.()
    this.#cancel = undefined
    this.#flushing = this.#flushing.then(() => this.#flush())
    return this.#flushing
  }

  async #flush(): Promise<void> {
    const { outbox, wakesOthers } = this.#options
    const writes = this.#writes
    this.#writes = []
    this.#rows = 0
    if (writes.length === 0) return
    if (wakesOthers) return this.#tried((signal) => outbox.notify(signal))
    const isPublished = await this.#publish(writes)
    for (const isApplied of [true, false]) {
      const told: Destination[] = []
      if (isApplied) told.push('l2')
      if (isPublished) told.push('log')
      const rowIds = writes
        .filter((one) => one.isApplied === isApplied)
        .flatMap((one) => one.rowIds)
      if (rowIds.length === 0 || told.length === 0) continue
      await this.#tried((signal) => outbox.mark(rowIds, told, signal))
    }
  }

  async #publish(writes: readonly CommittedWrite[]): Promise<boolean> {
    const { source } = this.#options
    if (!source) return false
    let isPublished = false
    await this.#tried(async (signal) => {
      await source.publish(
        writes.flatMap((one) => one.writes),
        signal,
      )
      isPublished = true
    })
    return isPublished
  }

  /** Never rejects. */
  async #tried(call: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, deadlineMs, log } = this.#options
    const late = unanswered(deadlineMs)
    try {
      await withDeadline(deadlineMs, late, undefined, clock, call)
    } catch (error) {
      log.debug({ err: error }, 'writes were left to the relay')
    }
  }
}
