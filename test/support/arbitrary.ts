/** Arbitraries of the words of the model. */
import fc from 'fast-check'
import type { Incarnation, Snapshot, Xid } from '../../src/model/snapshot.ts'

export const incarnationA = 'a1b2c3d4e5f60718' as Incarnation
export const incarnationB = '0123456789abcdef' as Incarnation

export const incarnations: fc.Arbitrary<Incarnation> = fc
  .uint8Array({ minLength: 8, maxLength: 8 })
  .map((bytes) => Buffer.from(bytes).toString('hex') as Incarnation)

export interface SnapshotRange {
  /** Every xid lies in [from, from + length). */
  readonly from: number
  readonly length: number
  readonly incarnation?: fc.Arbitrary<Incarnation>
  readonly withOwn?: boolean
}

/**
 * Snapshots as PostgreSQL makes them: xmin ≤ each xid in progress < xmax, sorted. (xmin may be
 * smaller than the smallest of them: the transaction's own xid counts there and is not listed.) Of
 * a standby they are xmin:xmin:, and a written value's sees one xid more.
 */
export function snapshots(range: SnapshotRange): fc.Arbitrary<Snapshot> {
  const { from, length, incarnation = fc.constant(incarnationA), withOwn = true } = range
  const xid = fc.integer({ min: from, max: from + length - 1 })
  return fc
    .record({
      incarnation,
      xids: fc.uniqueArray(xid, { maxLength: Math.min(8, length) }),
      ends: fc.tuple(xid, xid),
      isStandby: fc.boolean(),
      own: withOwn ? fc.option(xid, { nil: undefined }) : fc.constant(undefined),
    })
    .map(({ incarnation, xids, ends, isStandby, own }) => {
      const xmin = Math.min(...ends)
      const xmax = isStandby ? xmin : Math.max(...ends)
      const xip = xids.filter((one) => one >= xmin && one < xmax).sort((a, b) => a - b)
      return {
        incarnation,
        xmin: xmin as Xid,
        xmax: xmax as Xid,
        xip: xip as Xid[],
        ...(own === undefined ? {} : { own: own as Xid }),
      }
    })
}

/** Any xid that is exact as a double. */
export const xids: fc.Arbitrary<Xid> = fc.maxSafeNat().map((xid) => xid as Xid)

/** Small ones, so that they meet. */
export const smallXids: fc.Arbitrary<Xid> = fc.integer({ min: 0, max: 40 }).map((xid) => xid as Xid)

/** Xids anywhere below 2^53, with at most a few thousand between the ends. */
export const anySnapshot: fc.Arbitrary<Snapshot> = fc
  .tuple(fc.oneof(fc.nat(1_000), fc.maxSafeNat()), incarnations)
  .chain(([from, incarnation]) =>
    snapshots({
      from: Math.min(from, Number.MAX_SAFE_INTEGER - 5_000),
      length: 4_000,
      incarnation: fc.constant(incarnation),
    }),
  )

export function snapshot(
  text: string,
  incarnation: Incarnation = incarnationA,
  own?: number,
): Snapshot {
  const [xmin = '', xmax = '', xip = ''] = text.split(':')
  return {
    incarnation,
    xmin: Number(xmin) as Xid,
    xmax: Number(xmax) as Xid,
    xip: xip === '' ? [] : xip.split(',').map((xid) => Number(xid) as Xid),
    ...(own === undefined ? {} : { own: own as Xid }),
  }
}
