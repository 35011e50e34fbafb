/**
 * The delayed delete (DESIGN §5.6): Redis is told of each write once more, `delayMs` later. A no-op,
 * unless a failover brought an old value back that nobody has noticed yet. How far this has come is
 * a snapshot in the database, so it survives whoever does it; what lies between two snapshots is
 * found as the tail finds it, and read in pages.
 */
import type { Clock } from '../model/clock.ts'
import type { L2 } from '../model/l2-port.ts'
import type { Outbox, Progress } from '../model/outbox-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { tellAgain } from './tell-l2.ts'

/** How exact the delay is: this share of it. */
const stepsPerDelay = 5

export interface RepeatsOptions {
  readonly l2: L2
  readonly outbox: Outbox
  readonly clock: Clock
  readonly delayMs: number
  /** Of one page. */
  readonly deadlineMs: number
  readonly repeated: (rows: number, values: number) => void
}

export class Repeats {
  readonly #options: RepeatsOptions
  /** What this sees has been repeated. */
  #upTo: Snapshot | undefined
  /** Snapshots whose time comes, the oldest first: as many as there are steps. */
  #waiting: { readonly snapshot: Snapshot; readonly atMs: number }[] = []

  constructor(options: RepeatsOptions) {
    this.#options = options
  }

  /** Somebody else may have gone on with it. */
  begin(): void {
    this.#upTo = undefined
    this.#waiting = []
  }

  note({ snapshot, repeated }: Progress): void {
    const { clock, delayMs } = this.#options
    if (this.#upTo?.incarnation !== snapshot.incarnation) {
      this.#upTo = repeated
      this.#waiting = []
    }
    const nowMs = clock.monotonicMs()
    const last = this.#waiting.at(-1)
    if (last && nowMs - last.atMs < delayMs / stepsPerDelay) return
    // Where Redis can't be told the oldest wait, and the youngest takes the place of the one before.
    if (this.#waiting.length > 2 * stepsPerDelay) this.#waiting.pop()
    this.#waiting.push({ snapshot, atMs: nowMs })
  }

  /** Repeats what is due; rejects when Redis or the source can't be reached, and goes on from there. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, deadlineMs, delayMs, outbox, repeated } = this.#options
    const due = this.#waiting.findLast(({ atMs }) => clock.monotonicMs() - atMs >= delayMs)
    if (!due || !this.#upTo) return
    let count = 0
    const told = (rows: number, values: number): void => {
      count += rows
      repeated(rows, values)
    }
    await tellAgain({ ...this.#options, told }, this.#upTo, due.snapshot, signal)
    this.#upTo = due.snapshot
    this.#waiting = this.#waiting.filter(({ atMs }) => atMs > due.atMs)
    // Without rows the next one who does this repeats nothing that has been.
    if (count === 0) return
    const late = unanswered(deadlineMs, 'the outbox')
    await withDeadline(deadlineMs, late, signal, clock, (inTime) =>
      outbox.repeated(due.snapshot, inTime),
    )
  }
}
