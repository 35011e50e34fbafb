/**
 * One PostgreSQL in memory, with its outbox. The contract suites hold it to the real one.
 */
import type { Clock } from '../model/clock.ts'
import * as defaults from '../model/defaults.ts'
import type {
  Asked,
  Claim,
  Destination,
  Outbox,
  OutboxRow,
  Owed,
  Poll,
  Probe,
  Progress,
  RowPage,
} from '../model/outbox-port.ts'
import { type Incarnation, type Snapshot, visible, type Xid } from '../model/snapshot.ts'
import type { EntityIds } from '../model/source-port.ts'
import { MemoryTransactions } from './memory-transactions.ts'

interface MemoryOutboxRow extends OutboxRow {
  readonly told: Set<Destination>
  readonly isForeign: boolean
  readonly incarnation: Incarnation
  readonly createdAtMs: number
}

export interface MemoryDatabaseOptions {
  readonly clock: Clock
  readonly namespaceHasL2?: boolean
  readonly namespaceHasLog?: boolean
  readonly versions?: ReadonlyMap<string, readonly number[]>
  /** Rows that one poll returns. */
  readonly mostRowsAPoll?: number
  readonly mostIdsAPoll?: number
  readonly claimBatch?: number
  readonly mostIdsAClaim?: number
  readonly mostOwedCounted?: number
}

export class MemoryDatabase extends MemoryTransactions implements Outbox {
  readonly #options: Required<MemoryDatabaseOptions>
  #outboxRows: MemoryOutboxRow[] = []
  readonly #claimed: Record<Destination, Set<string>> = { l2: new Set(), log: new Set() }
  /** The next claim begins after this row. */
  readonly #claimedUpTo: Record<Destination, number> = { l2: 0, log: 0 }
  readonly #listeners: (() => void)[] = []
  #rowIds = 0
  #pruned: Snapshot
  #pruneNext: Snapshot
  #pruneNextAtMs: number
  #repeated: Snapshot
  isAwaited = false
  /** Who relays; one that dies without a word is cut off. */
  #leader: string | undefined

  constructor(options: MemoryDatabaseOptions) {
    super()
    this.#options = {
      namespaceHasL2: true,
      namespaceHasLog: false,
      versions: new Map(),
      mostRowsAPoll: defaults.mostRowsAPoll,
      mostIdsAPoll: defaults.mostIdsAPoll,
      claimBatch: defaults.outboxBatch,
      mostIdsAClaim: defaults.mostIdsAClaim,
      mostOwedCounted: defaults.mostOwedCounted,
      ...options,
    }
    this.#pruned = this.snapshot()
    this.#pruneNext = this.#pruned
    this.#repeated = this.#pruned
    this.#pruneNextAtMs = options.clock.wallMs()
  }

  /** SQL of somebody who doesn't know the cache, with triggers installed. */
  putByTrigger(entity: string, id: unknown, row: object | undefined): Xid {
    const xid = this.takeXid()
    this.put(xid, entity, id, row)
    this.record(xid, [{ entity, ids: [String(id)] }], true)
    this.finish(xid, 'committed')
    return xid
  }

  override crash(): void {
    super.crash()
    this.#pruned = this.snapshot()
    this.#pruneNext = this.#pruned
    this.#repeated = this.#pruned
    this.#leader = undefined
  }

  record(xid: Xid, keys: readonly EntityIds[], isForeign = false): readonly string[] {
    const { clock } = this.#options
    return keys.flatMap(({ entity, ids }) =>
      Array.from({ length: Math.ceil(ids.length / defaults.idsPerOutboxRow) }, (_, index) => {
        const rowId = String(++this.#rowIds)
        this.#outboxRows.push({
          rowId,
          xid,
          entity,
          ids: ids.slice(index * defaults.idsPerOutboxRow, (index + 1) * defaults.idsPerOutboxRow),
          told: new Set(),
          isForeign,
          incarnation: this.incarnation,
          createdAtMs: clock.wallMs(),
        })
        return rowId
      }),
    )
  }

  protected override forget(xid: Xid): void {
    super.forget(xid)
    this.#outboxRows = this.#outboxRows.filter((row) => row.xid !== xid)
  }

  protected override forgetAll(lost: ReadonlySet<Xid>): void {
    this.#outboxRows = this.#outboxRows.filter(({ xid }) => !lost.has(xid))
  }

  get versions(): ReadonlyMap<string, readonly number[]> {
    return this.#options.versions
  }

  /** Those that have committed. */
  get outboxRows(): readonly OutboxRow[] {
    return this.#committed().map(copyRow)
  }

  #committed(): readonly MemoryOutboxRow[] {
    return this.#outboxRows.filter(({ xid }) => this.stateOf(xid) === 'committed')
  }

  // ---- what an instance hears

  async poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll> {
    await this.travel(signal)
    const { mostRowsAPoll, mostIdsAPoll } = this.#options
    const found = since ? this.#between(since, this.snapshot()) : []
    const rows = upTo(mostIdsAPoll, found.slice(0, mostRowsAPoll + 1))
    const poll: Poll = {
      snapshot: this.snapshot(),
      rows: rows.map(copyRow),
      missed: found.length > Math.min(rows.length, mostRowsAPoll),
      isForeign: found.some(({ isForeign }) => isForeign),
      isRelayDue: this.#leader === undefined,
      isAwaited: this.isAwaited,
      pruned: this.#pruned,
    }
    await this.travel(signal)
    return poll
  }

  probe(signal: AbortSignal): Promise<Probe> {
    return this.poll(undefined, signal)
  }

  listen(wake: () => void): void {
    this.#listeners.push(wake)
  }

  async notify(signal: AbortSignal): Promise<void> {
    await this.travel(signal)
    for (const wake of this.#listeners) wake()
  }

  // ---- what is finished

  async claim(
    destination: Destination,
    minAgeMs: number,
    tell: (claim: Claim) => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<number> {
    await this.travel(signal)
    const { claimBatch, clock, mostIdsAClaim, versions } = this.#options
    const claimed = this.#claimed[destination]
    const nowMs = clock.wallMs()
    // One that seems to come from the future was written before the clock was set back.
    const isOld = ({ createdAtMs }: MemoryOutboxRow): boolean =>
      createdAtMs <= nowMs - minAgeMs || createdAtMs > nowMs
    const waiting = this.#committed().filter(
      (row) =>
        !row.told.has(destination) && (row.isForeign || isOld(row)) && !claimed.has(row.rowId),
    )
    const later = waiting.filter((row) => Number(row.rowId) > this.#claimedUpTo[destination])
    const found = (later.length > 0 ? later : waiting).slice(0, claimBatch)
    const rows = upTo(mostIdsAClaim, found)
    this.#claimedUpTo[destination] = Number(rows.at(-1)?.rowId ?? 0)
    if (rows.length === 0) return 0
    for (const { rowId } of rows) claimed.add(rowId)
    try {
      const { incarnation } = this
      const told = await tell({ incarnation, rows: rows.map(copyRow), versions })
      this.#mark(told, [destination])
      const last = rows.findLast(({ rowId }) => told.includes(rowId))
      if (found.length < claimBatch && rows.length === found.length) {
        this.#claimedUpTo[destination] = 0
      } else if (last) this.#claimedUpTo[destination] = Number(last.rowId)
      return told.length
    } finally {
      for (const { rowId } of rows) claimed.delete(rowId)
    }
  }

  async mark(
    rowIds: readonly string[],
    told: readonly Destination[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.travel(signal)
    this.#mark(rowIds, told)
  }

  #mark(rowIds: readonly string[], told: readonly Destination[]): void {
    const all = new Set(rowIds)
    // Without a log there is nobody else to publish a row to.
    const everybody = this.#options.namespaceHasLog ? told : [...told, 'log' as const]
    for (const row of this.#outboxRows) {
      if (all.has(row.rowId)) for (const destination of everybody) row.told.add(destination)
    }
  }

  async prune(retentionMs: number, signal: AbortSignal): Promise<number> {
    await this.travel(signal)
    const { clock } = this.#options
    const nowMs = clock.wallMs()
    if (this.#pruneNextAtMs > nowMs - retentionMs) return 0
    this.#pruned = this.#pruneNext
    this.#pruneNext = this.snapshot()
    this.#pruneNextAtMs = nowMs
    const before = this.#outboxRows.length
    this.#outboxRows = this.#outboxRows.filter((row) => !this.#isRemovable(row))
    return before - this.#outboxRows.length
  }

  #isRemovable(row: MemoryOutboxRow): boolean {
    const { namespaceHasL2, namespaceHasLog } = this.#options
    const write = this.write(row)
    return (
      visible(write, this.#pruned) &&
      (!namespaceHasLog || row.told.has('log')) &&
      (!namespaceHasL2 || (row.told.has('l2') && visible(write, this.#repeated)))
    )
  }

  // ---- the relay

  async lead(instance: string, signal: AbortSignal): Promise<boolean> {
    await this.travel(signal)
    this.#leader ??= instance
    return this.#leader === instance
  }

  resign(instance: string): void {
    if (this.#leader === instance) this.#leader = undefined
  }

  async progress(asked: Asked, signal: AbortSignal): Promise<Progress> {
    await this.travel(signal)
    const { clock, mostOwedCounted, namespaceHasL2, namespaceHasLog } = this.#options
    const nowMs = clock.wallMs()
    const owed = (destination: Destination, isThere: boolean): Owed => {
      const isOwed = ({ told }: MemoryOutboxRow): boolean => isThere && !told.has(destination)
      const rows = this.#committed().filter(isOwed)
      const counted = rows.slice(0, mostOwedCounted)
      const since = asked[destination]
      return {
        rows: counted.length,
        oldestMs: Math.max(0, ...counted.map(({ createdAtMs }) => nowMs - createdAtMs)),
        isTold:
          rows.length === counted.length &&
          since?.incarnation === this.incarnation &&
          !rows.some((row) => visible(this.write(row), since)),
      }
    }
    const progress = {
      snapshot: this.snapshot(),
      owed: { l2: owed('l2', namespaceHasL2), log: owed('log', namespaceHasLog) },
      repeated: this.#repeated,
    }
    await this.travel(signal)
    return progress
  }

  async page(
    since: Snapshot | undefined,
    until: Snapshot | undefined,
    after: string | undefined,
    signal: AbortSignal,
  ): Promise<RowPage> {
    await this.travel(signal)
    const { claimBatch, mostIdsAClaim, versions } = this.#options
    const snapshot = this.snapshot()
    const [afterXid = 0, afterRow = 0] = after?.split(':').map(Number) ?? []
    const found = this.#between(since, until ?? snapshot)
      .filter(({ xid, rowId }) => xid > afterXid || (xid === afterXid && Number(rowId) > afterRow))
      .toSorted((a, b) => a.xid - b.xid || Number(a.rowId) - Number(b.rowId))
      .slice(0, claimBatch)
    const rows = upTo(mostIdsAClaim, found)
    const isLast = rows.length === found.length && found.length < claimBatch
    const last = rows.at(-1)
    return {
      incarnation: this.incarnation,
      rows: rows.map(copyRow),
      versions,
      next: isLast || !last ? undefined : `${last.xid}:${last.rowId}`,
      snapshot,
      pruned: this.#pruned,
    }
  }

  async repeated(upTo: Snapshot, signal: AbortSignal): Promise<void> {
    await this.travel(signal)
    if (upTo.incarnation === this.incarnation) this.#repeated = upTo
  }

  #between(since: Snapshot | undefined, until: Snapshot): readonly MemoryOutboxRow[] {
    return this.#committed().filter((row) => {
      const { xid } = row
      const isNew = since === undefined || xid >= since.xmax || since.xip.includes(xid)
      return isNew && visible(this.write(row), until)
    })
  }
}

const copyRow = ({ rowId, xid, entity, ids }: OutboxRow): OutboxRow => ({
  rowId,
  xid,
  entity,
  ids,
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
