/** Tells L2 of rows of the outbox. Repeated or late it changes nothing. */

import type { Clock } from '../model/clock.ts'
import { idsInFlight } from '../model/defaults.ts'
import type { L2 } from '../model/l2-port.ts'
import type { Claim, Outbox, OutboxRow, RowPage } from '../model/outbox-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'

/** A row of more is told of in rounds, so that the claim that it is in can end in time. */
const mostIdsACall = 2_000

export interface TellOptions {
  /** Nobody but L2 needs to hear of it. */
  readonly quiet?: boolean
  /** When this says so, no more is begun. */
  readonly isOver: () => boolean
}

export interface ToldRows {
  readonly rowIds: readonly string[]
  /** Values that lay there and did not see their write. */
  readonly values: number
}

/**
 * A few ids at a time: told of all at once, a Redis that is well misses its deadline, and has to be
 * told all over again. The ids of the rows that it has heard of.
 */
export async function tellL2(
  l2: L2,
  claim: Claim,
  { quiet = false, isOver }: TellOptions,
): Promise<ToldRows> {
  const rowIds: string[] = []
  let values = 0
  for (const rows of inPieces(claim.rows)) {
    if (isOver()) break
    const answers = await Promise.all(rows.map((row) => tellRow(l2, claim, row, quiet, isOver)))
    for (const [index, dropped] of answers.entries()) {
      if (dropped === undefined) continue
      values += dropped
      rowIds.push((rows[index] as OutboxRow).rowId)
    }
  }
  return { rowIds, values }
}

export interface TellAgainOptions {
  readonly l2: L2
  readonly outbox: Outbox
  readonly clock: Clock
  /** Of one page. */
  readonly deadlineMs: number
  /** After each page, of which not all may have been told. */
  readonly told: (rows: number, values: number) => void
}

/**
 * Tells L2 once more of the rows that `until` sees and `since` doesn't, a page at a time; where they
 * are `undefined`, of all. The last page, which is younger than the call. Rejects when L2 or the
 * outbox can't be reached.
 */
export async function tellAgain(
  { l2, outbox, clock, deadlineMs, told }: TellAgainOptions,
  since: Snapshot | undefined,
  until: Snapshot | undefined,
  signal: AbortSignal,
): Promise<RowPage> {
  const late = unanswered(deadlineMs, 'the outbox')
  let after: string | undefined
  for (;;) {
    const page = await withDeadline(deadlineMs, late, signal, clock, (inTime) =>
      outbox.page(since, until, after, inTime),
    )
    const { rowIds, values } = await tellL2(l2, page, { quiet: true, isOver: () => signal.aborted })
    told(rowIds.length, values)
    if (rowIds.length < page.rows.length) throw new Error('Redis could not be told of all again')
    if (page.next === undefined) return page
    after = page.next
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

/** The values that were dropped; `undefined`: it was not told of all. */
async function tellRow(
  l2: L2,
  { incarnation, versions: live }: Claim,
  { xid, entity, ids }: OutboxRow,
  quiet: boolean,
  isOver: () => boolean,
): Promise<number | undefined> {
  const versions = live.get(entity) ?? []
  let values = 0
  for (let start = 0; start < ids.length; start += mostIdsACall) {
    if (start > 0 && isOver()) return undefined
    const drops = ids.slice(start, start + mostIdsACall).map((id) => ({ entity, id, versions }))
    const dropped = await l2.invalidate({ incarnation, xid }, drops, { quiet })
    if (dropped.kind !== 'dropped') return undefined
    values += dropped.values
  }
  return values
}
