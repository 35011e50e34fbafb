/**
 * Finishes what a writer could not (DESIGN §5.5): rows that L2 has not been told of are claimed,
 * applied and marked; and removes rows, one retention after everybody could have read them.
 */
import type { Clock } from '../model/clock.ts'
import { idsInFlight } from '../model/defaults.ts'
import type { Logger } from '../model/log.ts'
import type { Claim, L2, Outbox, OutboxRow } from '../model/ports.ts'
import { sleep, withDeadline } from '../resilience/deadline.ts'
import type { Tail } from './tail.ts'

/** Share of the deadline after which a claim begins nothing more, so that it can mark what was told. */
const shareOfApplying = 0.5

export interface JanitorOptions {
  readonly outbox: Outbox
  readonly l2: L2 | undefined
  readonly tail: Tail
  readonly clock: Clock
  readonly log: Logger
  readonly intervalMs: number
  /** Younger rows are left to their writer. */
  readonly minAgeMs: number
  readonly retentionMs: number
  readonly deadlineMs: number
}

export class Janitor {
  readonly #options: JanitorOptions
  readonly #closing = new AbortController()
  #ended: Promise<void> | undefined
  #pruneAtMs = 0

  constructor(options: JanitorOptions) {
    this.#options = options
  }

  start(): void {
    this.#ended = this.#run()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#ended
  }

  async #run(): Promise<void> {
    const { clock, intervalMs, log } = this.#options
    while (!this.#closing.signal.aborted) {
      await sleep(intervalMs, this.#closing.signal, clock)
      if (this.#closing.signal.aborted) return
      // Each by itself: rows that can't be applied must not keep those that were from being removed.
      for (const chore of [() => this.#applyLeftovers(), () => this.#prune()]) {
        await chore().catch((error: unknown) => {
          log.debug({ err: error }, 'the outbox cannot be tidied now')
        })
      }
    }
  }

  async #applyLeftovers(): Promise<void> {
    const { l2, outbox, tail, minAgeMs } = this.#options
    if (!l2 || tail.unapplied === 0) return
    await this.#inTime((signal) =>
      outbox.claim(minAgeMs, (claim) => this.#applyClaim(l2, claim), signal),
    )
  }

  /**
   * Tells L2 of claimed rows, a few ids at a time: told of all at once, a Redis that is well misses
   * its deadline, and has to be told all over again. The ids of the rows that it has heard of.
   */
  async #applyClaim(l2: L2, claim: Claim): Promise<readonly string[]> {
    const { clock, deadlineMs } = this.#options
    const untilMs = clock.monotonicMs() + shareOfApplying * deadlineMs
    const applied: string[] = []
    for (const rows of inPieces(claim.rows)) {
      if (this.#closing.signal.aborted || clock.monotonicMs() > untilMs) break
      const isTold = await Promise.all(rows.map((row) => applyRow(l2, claim, row)))
      applied.push(...rows.filter((_, index) => isTold[index]).map(({ rowId }) => rowId))
    }
    return applied
  }

  async #prune(): Promise<void> {
    const { clock, outbox, retentionMs } = this.#options
    if (clock.monotonicMs() < this.#pruneAtMs) return
    this.#pruneAtMs = clock.monotonicMs() + retentionMs / 10
    await this.#inTime((signal) => outbox.prune(retentionMs, signal))
  }

  #inTime<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, deadlineMs } = this.#options
    const late = (): Error => new Error(`the outbox did not answer in ${deadlineMs} ms`)
    return withDeadline(deadlineMs, late, this.#closing.signal, clock, call)
  }
}

/** Rows that L2 is told of side by side; one that has more ids than fit is alone, and goes out in rounds. */
function inPieces(rows: readonly OutboxRow[]): readonly (readonly OutboxRow[])[] {
  const pieces: OutboxRow[][] = []
  let room = 0
  for (const row of rows) {
    if (pieces.length === 0 || row.ids.length > room) {
      pieces.push([])
      room = idsInFlight
    }
    pieces.at(-1)?.push(row)
    room -= row.ids.length
  }
  return pieces
}

async function applyRow(l2: L2, claim: Claim, row: OutboxRow): Promise<boolean> {
  const versions = claim.versions.get(row.entity) ?? []
  const dropped = await l2.invalidate(
    { incarnation: claim.incarnation, xid: row.xid },
    row.ids.map((id) => ({ entity: row.entity, id, versions })),
  )
  return dropped.kind === 'dropped'
}
