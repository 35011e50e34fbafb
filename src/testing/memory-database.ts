/**
 * One PostgreSQL in memory: transactions, snapshots, row versions, and the outbox. The contract
 * suites hold it to the real one.
 */
import type { Clock } from '../model/clock.ts'
import * as defaults from '../model/defaults.ts'
import type { EntityIds, Outbox, OutboxRow, Poll } from '../model/ports.ts'
import {
  type Incarnation,
  type Snapshot,
  visible,
  type WriteId,
  type Xid,
} from '../model/snapshot.ts'
import { VersionedRows } from './versioned-rows.ts'

type State = 'open' | 'committed' | 'aborted'

interface MemoryOutboxRow extends OutboxRow {
  applied: boolean
  readonly incarnation: Incarnation
  readonly createdAtMs: number
}

export interface MemoryDatabaseOptions {
  readonly clock: Clock
  readonly namespaceHasL2?: boolean
  readonly versions?: ReadonlyMap<string, readonly number[]>
  /** Rows that one poll returns. */
  readonly mostRowsAPoll?: number
  readonly mostIdsAPoll?: number
  readonly claimBatch?: number
  readonly mostIdsAClaim?: number
}

export class MemoryDatabase implements Outbox {
  readonly #options: Required<MemoryDatabaseOptions>
  readonly #states = new Map<Xid, State>()
  readonly #open = new Set<Xid>()
  readonly #rows = new VersionedRows()
  #outboxRows: MemoryOutboxRow[] = []
  #claimed = new Set<string>()
  /** The next claim begins after this row. */
  #claimedUpTo = 0
  #incarnations = 1
  #nextXid = 100
  #lastFinished = 99
  #rowIds = 0
  #pruned: Snapshot
  #pruneNext: Snapshot
  #pruneNextAtMs: number
  /** Why it can't be reached; `undefined` when it can. */
  down: Error | undefined

  constructor(options: MemoryDatabaseOptions) {
    this.#options = {
      namespaceHasL2: true,
      versions: new Map(),
      mostRowsAPoll: defaults.mostRowsAPoll,
      mostIdsAPoll: defaults.mostIdsAPoll,
      claimBatch: defaults.outboxBatch,
      mostIdsAClaim: defaults.mostIdsAClaim,
      ...options,
    }
    this.#pruned = this.snapshot()
    this.#pruneNext = this.#pruned
    this.#pruneNextAtMs = options.clock.wallMs()
  }

  get incarnation(): Incarnation {
    return this.#incarnations.toString(16).padStart(16, '0') as Incarnation
  }

  /** xmax is one past the last finished xid: an open one may lie at or past it, unlisted. */
  snapshot(): Snapshot {
    const xmax = (this.#lastFinished + 1) as Xid
    // In the order in which they began, which is that of their xids.
    const xip = [...this.#open].filter((xid) => xid < xmax)
    return { incarnation: this.incarnation, xmin: xip[0] ?? xmax, xmax, xip }
  }

  /** What a reader sees under a snapshot; without one, the latest that was committed. */
  rows(
    entity: string,
    ids: readonly unknown[],
    snapshot = this.snapshot(),
    own?: Xid,
  ): readonly object[] {
    const isSeen = (xid: Xid): boolean =>
      xid === own ||
      (this.#states.get(xid) === 'committed' &&
        visible({ incarnation: snapshot.incarnation, xid }, snapshot))
    return ids.flatMap((id) => this.#rows.find(entity, id, isSeen) ?? [])
  }

  /** SQL of somebody who doesn't know the cache: a row, and no outbox row but by a trigger. */
  putUnnoticed(entity: string, id: unknown, row: object | undefined): Xid {
    const xid = this.takeXid()
    this.put(xid, entity, id, row)
    this.finish(xid, 'committed')
    return xid
  }

  /** The same with triggers installed. */
  putByTrigger(entity: string, id: unknown, row: object | undefined): Xid {
    const xid = this.takeXid()
    this.put(xid, entity, id, row)
    this.record(xid, [{ entity, ids: [String(id)] }])
    this.finish(xid, 'committed')
    return xid
  }

  /** Killed and started again: what was open is gone, and the xids that only aborted come again. */
  crash(): void {
    for (const xid of this.#open) this.#forget(xid)
    this.#open.clear()
    const committed = [...this.#states].filter(([, state]) => state === 'committed')
    const last = Math.max(99, ...committed.map(([xid]) => xid))
    for (const [xid, state] of this.#states) if (state !== 'committed') this.#states.delete(xid)
    this.#incarnations++
    this.#nextXid = last + 1
    this.#lastFinished = last
    this.#pruned = this.snapshot()
    this.#pruneNext = this.#pruned
  }

  // ---- transactions

  takeXid(): Xid {
    const xid = this.#nextXid++ as Xid
    this.#states.set(xid, 'open')
    this.#open.add(xid)
    return xid
  }

  put(xid: Xid, entity: string, id: unknown, row: object | undefined): void {
    this.#rows.put(xid, entity, id, row)
  }

  record(xid: Xid, keys: readonly EntityIds[]): readonly string[] {
    const { clock } = this.#options
    return keys.flatMap(({ entity, ids }) =>
      Array.from({ length: Math.ceil(ids.length / defaults.idsPerOutboxRow) }, (_, index) => {
        const rowId = String(++this.#rowIds)
        this.#outboxRows.push({
          rowId,
          xid,
          entity,
          ids: ids.slice(index * defaults.idsPerOutboxRow, (index + 1) * defaults.idsPerOutboxRow),
          applied: false,
          incarnation: this.incarnation,
          createdAtMs: clock.wallMs(),
        })
        return rowId
      }),
    )
  }

  finish(xid: Xid, state: 'committed' | 'aborted'): void {
    if (this.#states.get(xid) !== 'open') return
    this.#states.set(xid, state)
    this.#lastFinished = Math.max(this.#lastFinished, xid)
    this.#open.delete(xid)
    if (state === 'aborted') this.#forget(xid)
    else this.#rows.commit(xid)
  }

  #forget(xid: Xid): void {
    this.#rows.forget(xid)
    this.#outboxRows = this.#outboxRows.filter((row) => row.xid !== xid)
  }

  stateOf(xid: Xid): State | undefined {
    return this.#states.get(xid)
  }

  get versions(): ReadonlyMap<string, readonly number[]> {
    return this.#options.versions
  }

  get openTransactions(): number {
    return this.#open.size
  }

  // ---- the outbox

  get outboxRows(): readonly OutboxRow[] {
    return this.#outboxRows.filter(({ xid }) => this.#states.get(xid) === 'committed')
  }

  async poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll> {
    await this.#travel(signal)
    const snapshot = this.snapshot()
    const { mostRowsAPoll, mostIdsAPoll, namespaceHasL2 } = this.#options
    const isNew = ({ xid }: OutboxRow): boolean =>
      since !== undefined && (xid >= since.xmax || since.xip.includes(xid))
    const seen = this.#outboxRows.filter((row) => visible(this.#write(row), snapshot))
    const fresh = seen.filter(isNew)
    const unapplied = seen.filter((row) => namespaceHasL2 && !row.applied && !isNew(row))
    const asSeen = (row: OutboxRow): OutboxRow => ({
      ...copyRow(row),
      applied: row.applied || !namespaceHasL2,
    })
    const newRows = upTo(mostIdsAPoll, fresh.slice(0, mostRowsAPoll + 1))
    const unappliedRows = upTo(mostIdsAPoll, unapplied.slice(0, mostRowsAPoll + 1))
    const poll: Poll = {
      snapshot,
      rows: [...newRows, ...unappliedRows].map(asSeen),
      missedNew: fresh.length > Math.min(newRows.length, mostRowsAPoll),
      missedUnapplied: unapplied.length > Math.min(unappliedRows.length, mostRowsAPoll),
      pruned: this.#pruned,
    }
    await this.#travel(signal)
    return poll
  }

  async claim(
    minAgeMs: number,
    apply: Parameters<Outbox['claim']>[1],
    signal: AbortSignal,
  ): Promise<number> {
    await this.#travel(signal)
    const { claimBatch, clock, mostIdsAClaim, versions } = this.#options
    const bornBefore = clock.wallMs() - minAgeMs
    const waiting = this.#outboxRows
      .filter((row) => this.#states.get(row.xid) === 'committed' && !row.applied)
      .filter((row) => row.createdAtMs <= bornBefore && !this.#claimed.has(row.rowId))
    const later = waiting.filter((row) => Number(row.rowId) > this.#claimedUpTo)
    const found = (later.length > 0 ? later : waiting).slice(0, claimBatch)
    const rows = upTo(mostIdsAClaim, found)
    this.#claimedUpTo = Number(rows.at(-1)?.rowId ?? 0)
    if (rows.length === 0) return 0
    for (const { rowId } of rows) this.#claimed.add(rowId)
    try {
      const { incarnation } = this
      const applied = await apply({ incarnation, rows: rows.map(copyRow), versions })
      this.#mark(applied)
      const last = rows.findLast(({ rowId }) => applied.includes(rowId))
      if (found.length < claimBatch && rows.length === found.length) this.#claimedUpTo = 0
      else if (last) this.#claimedUpTo = Number(last.rowId)
      return applied.length
    } finally {
      for (const { rowId } of rows) this.#claimed.delete(rowId)
    }
  }

  async mark(rowIds: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#travel(signal)
    this.#mark(rowIds)
  }

  async prune(retentionMs: number, signal: AbortSignal): Promise<number> {
    await this.#travel(signal)
    const { clock, namespaceHasL2 } = this.#options
    const nowMs = clock.wallMs()
    if (this.#pruneNextAtMs > nowMs - retentionMs) return 0
    this.#pruned = this.#pruneNext
    this.#pruneNext = this.snapshot()
    this.#pruneNextAtMs = nowMs
    const before = this.#outboxRows.length
    this.#outboxRows = this.#outboxRows.filter(
      (row) => (namespaceHasL2 && !row.applied) || !visible(this.#write(row), this.#pruned),
    )
    return before - this.#outboxRows.length
  }

  #mark(rowIds: readonly string[]): void {
    for (const row of this.#outboxRows) if (rowIds.includes(row.rowId)) row.applied = true
  }

  #write({ xid }: OutboxRow): WriteId {
    return { incarnation: this.incarnation, xid }
  }

  async #travel(signal: AbortSignal): Promise<void> {
    await Promise.resolve()
    signal.throwIfAborted()
    if (this.down) throw this.down
  }
}

const copyRow = ({ rowId, xid, entity, ids, applied }: OutboxRow): OutboxRow => ({
  rowId,
  xid,
  entity,
  ids,
  applied,
})

/** The first rows, until they have so many ids. */
function upTo<R extends OutboxRow>(mostIds: number, rows: readonly R[]): readonly R[] {
  let count = 0
  return rows.filter(({ ids }) => {
    const isWanted = count < mostIds
    count += ids.length
    return isWanted
  })
}
