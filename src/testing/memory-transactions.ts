/** Transactions, snapshots and row versions of one PostgreSQL in memory. */
import {
  type Incarnation,
  type Snapshot,
  visible,
  type WriteId,
  type Xid,
} from '../model/snapshot.ts'
import { VersionedRows } from './versioned-rows.ts'

type State = 'open' | 'committed' | 'aborted'

export class MemoryTransactions {
  readonly #states = new Map<Xid, State>()
  readonly #open = new Set<Xid>()
  readonly #rows = new VersionedRows()
  #incarnations = 1
  #nextXid = 100
  #lastFinished = 99
  /** Why it can't be reached; `undefined` when it can. */
  down: Error | undefined

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

  /** Killed and started again: what was open is gone, and the xids that only aborted come again. */
  crash(): void {
    for (const xid of this.#open) this.forget(xid)
    this.#open.clear()
    for (const [xid, state] of this.#states) if (state !== 'committed') this.#states.delete(xid)
    const last = Math.max(99, ...this.#states.keys())
    this.#incarnations++
    this.#nextXid = last + 1
    this.#lastFinished = last
  }

  /** A standby takes over that has replayed no more than this: commits that it doesn't see are lost. */
  failOver(replayed: Snapshot): void {
    const lost = new Set<Xid>()
    for (const [xid, state] of this.#states) {
      const write = { incarnation: replayed.incarnation, xid }
      if (state === 'committed' && !visible(write, replayed)) lost.add(xid)
    }
    for (const xid of lost) this.#states.delete(xid)
    this.#rows.lose(lost)
    this.forgetAll(lost)
    this.crash()
  }

  protected forgetAll(_lost: ReadonlySet<Xid>): void {}

  takeXid(): Xid {
    const xid = this.#nextXid++ as Xid
    this.#states.set(xid, 'open')
    this.#open.add(xid)
    return xid
  }

  put(xid: Xid, entity: string, id: unknown, row: object | undefined): void {
    this.#rows.put(xid, entity, id, row)
  }

  finish(xid: Xid, state: 'committed' | 'aborted'): void {
    if (this.#states.get(xid) !== 'open') return
    this.#states.set(xid, state)
    this.#lastFinished = Math.max(this.#lastFinished, xid)
    this.#open.delete(xid)
    if (state === 'aborted') this.forget(xid)
    else this.#rows.commit(xid)
  }

  protected forget(xid: Xid): void {
    this.#rows.forget(xid)
  }

  stateOf(xid: Xid): State | undefined {
    return this.#states.get(xid)
  }

  get openTransactions(): number {
    return this.#open.size
  }

  protected write({ xid }: { readonly xid: Xid }): WriteId {
    return { incarnation: this.incarnation, xid }
  }

  /** The way there or back. */
  async travel(signal: AbortSignal): Promise<void> {
    await Promise.resolve()
    signal.throwIfAborted()
    if (this.down) throw this.down
  }
}
