import type { Clock } from '../model/clock.ts'
import type { Logger } from '../model/log.ts'
import type { Outbox } from '../model/ports.ts'
import { withDeadline } from '../resilience/deadline.ts'

const flushAfterMs = 20
const mostRowIds = 10_000

/**
 * Marks outbox rows as applied to L2, in batches and behind the write (DESIGN §5.5). A mark that is
 * lost only makes an instance apply the row once more.
 */
export class Marks {
  readonly #outbox: Outbox
  readonly #clock: Clock
  readonly #log: Logger
  readonly #deadlineMs: number
  #rowIds: string[] = []
  #cancel: (() => void) | undefined
  #flushing: Promise<void> = Promise.resolve()

  constructor(outbox: Outbox, clock: Clock, log: Logger, deadlineMs: number) {
    this.#outbox = outbox
    this.#clock = clock
    this.#log = log
    this.#deadlineMs = deadlineMs
  }

  add(rowIds: readonly string[]): void {
    if (this.#rowIds.length + rowIds.length > mostRowIds) return
    this.#rowIds.push(...rowIds)
    this.#cancel ??= this.#clock.after(flushAfterMs, () => {
      void this.flush()
    })
  }

  /** Resolves when everything added so far is marked, or lost. */
  flush(): Promise<void> {
    this.#cancel?.()
    this.#cancel = undefined
    this.#flushing = this.#flushing.then(() => this.#flush())
    return this.#flushing
  }

  async #flush(): Promise<void> {
    const rowIds = this.#rowIds
    this.#rowIds = []
    if (rowIds.length === 0) return
    try {
      const late = (): Error => new Error('the outbox did not answer in time')
      await withDeadline(this.#deadlineMs, late, undefined, this.#clock, (signal) =>
        this.#outbox.mark(rowIds, signal),
      )
    } catch (error) {
      this.#log.debug(
        { err: error, rows: rowIds.length },
        'marks were lost; the rows are applied again',
      )
    }
  }
}
