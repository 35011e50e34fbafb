/**
 * PostgreSQL's snapshots are the cache's clock (DESIGN, head). A write is known by its transaction
 * id, a loaded value by the snapshot it was read under; whether the value is older than the write
 * has an exact answer, for any delay, order or repetition. Both carry the incarnation of the
 * database, because PostgreSQL hands xids out again after a crash and after a failover.
 * Source: PostgreSQL manual, 9.27 "Transaction ID and Snapshot Information Functions".
 */

declare const brand: unique symbol

/** A 64-bit transaction id that is exact as a double: below 2^53, checked where it comes in. */
export type Xid = number & { readonly [brand]: 'Xid' }

/** One life of one database, as 16 hexadecimal digits; new after a crash, a promotion, a restore. */
export type Incarnation = string & { readonly [brand]: 'Incarnation' }

/** A write as the cache knows it: a transaction of one incarnation. */
export interface WriteId {
  readonly incarnation: Incarnation
  readonly xid: Xid
}

/** What a statement saw: every xid below `xmin`, none from `xmax` on, and in between all but `xip`. */
export interface Snapshot {
  readonly incarnation: Incarnation
  readonly xmin: Xid
  readonly xmax: Xid
  /** Sorted. */
  readonly xip: readonly Xid[]
  /** The transaction that wrote the value itself (write-through): seen, though it was in progress. */
  readonly own?: Xid | undefined
}

export function parseXid(text: string): Xid {
  const xid = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(xid)) {
    throw new RangeError(`xid ${JSON.stringify(text)} is no whole number below 2^53`)
  }
  return xid as Xid
}

const incarnationPattern = /^[0-9a-f]{16}$/

export function parseIncarnation(text: string): Incarnation {
  if (!incarnationPattern.test(text))
    throw new RangeError('an incarnation has 16 hexadecimal digits')
  return text as Incarnation
}

/** `text` as `pg_current_snapshot()` prints it: `xmin:xmax:xip,xip`. */
export function parseSnapshot(text: string, incarnation: Incarnation): Snapshot {
  const [xmin, xmax, xip, more] = text.split(':')
  if (xmin === undefined || xmax === undefined || xip === undefined || more !== undefined) {
    throw new RangeError('a snapshot has three parts')
  }
  return {
    incarnation,
    xmin: parseXid(xmin),
    xmax: parseXid(xmax),
    xip: xip === '' ? [] : xip.split(',').map(parseXid),
  }
}

/** `snapshot` as PostgreSQL reads it (without `own`, which only a cached value has). */
export function formatSnapshot(snapshot: Snapshot): string {
  return `${snapshot.xmin}:${snapshot.xmax}:${snapshot.xip.join(',')}`
}

/** Does a reader with this snapshot see what that write wrote? Never across incarnations. */
export function visible(write: WriteId, snapshot: Snapshot): boolean {
  return write.incarnation === snapshot.incarnation && sees(snapshot, write.xid)
}

function sees(snapshot: Snapshot, xid: Xid): boolean {
  if (xid < snapshot.xmin || xid === snapshot.own) return true
  return xid < snapshot.xmax && !snapshot.xip.includes(xid)
}

/** Does `snapshot` see every write that `floor` sees? */
export function covers(snapshot: Snapshot, floor: Snapshot): boolean {
  if (snapshot === floor) return true
  if (snapshot.incarnation !== floor.incarnation) return false
  if (floor.own !== undefined && !sees(snapshot, floor.own)) return false
  for (const xid of snapshot.xip) if (xid !== snapshot.own && sees(floor, xid)) return false
  // What lies between the two ends is unseen by `snapshot`, so `floor` may see none of it either.
  const gap = floor.xmax - snapshot.xmax
  if (gap > floor.xip.length + 1) return false
  for (let xid: number = snapshot.xmax; xid < floor.xmax; xid++) {
    if (xid !== snapshot.own && sees(floor, xid as Xid)) return false
  }
  return true
}

/** More than this are not asked for one by one: the standby counts as behind. */
const mostDoubts = 1_000

/**
 * What has to have ended on a standby for it to see every write that `floor`, a snapshot of its
 * primary, sees: none when it surely does; `undefined` when it surely doesn't. Between xmin and xmax
 * a standby's snapshot says nothing, because it lists no transaction as in progress (PostgreSQL 13
 * to 18).
 */
export function doubts(standby: Snapshot, floor: Snapshot): readonly Xid[] | undefined {
  if (floor.xmax - standby.xmin > mostDoubts + floor.xip.length) return undefined
  const open: Xid[] = []
  for (let xid: number = standby.xmin; xid < floor.xmax; xid++) {
    if (!sees(floor, xid as Xid)) continue
    if (xid >= standby.xmax) return undefined
    open.push(xid as Xid)
  }
  return open
}

/** The later of two snapshots of the primary: the one that sees more, `left` when neither does. */
export function newer(left: Snapshot, right: Snapshot): Snapshot {
  return covers(right, left) ? right : left
}
