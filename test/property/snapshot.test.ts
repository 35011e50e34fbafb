import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  covers,
  formatSnapshot,
  newer,
  parseSnapshot,
  parseXid,
  type Snapshot,
  visible,
  type Xid,
} from '../../src/model/snapshot.ts'
import {
  anySnapshot,
  incarnationA,
  incarnationB,
  incarnations,
  snapshots,
  xids,
} from '../support/arbitrary.ts'

const range = { from: 5, length: 12 }
const everyXid = Array.from({ length: range.from + range.length + 5 }, (_, xid) => xid as Xid)
const small = snapshots(range)
const far = snapshots({ from: 2 ** 53 - 20, length: 12 })

/** DESIGN, head, word for word. */
function seesByDefinition(snapshot: Snapshot, xid: number): boolean {
  const xip = new Set<number>(snapshot.xip)
  return xid === snapshot.own || xid < snapshot.xmin || (xid < snapshot.xmax && !xip.has(xid))
}

test('a write is visible exactly where PostgreSQL says so, and to the transaction itself', () => {
  fc.assert(
    fc.property(small, (snapshot) => {
      for (const xid of everyXid) {
        expect(visible({ incarnation: incarnationA, xid }, snapshot)).toBe(
          seesByDefinition(snapshot, xid),
        )
      }
    }),
    { numRuns: 300 },
  )
})

test('nothing is visible across incarnations', () => {
  fc.assert(
    fc.property(small, fc.nat(40), (snapshot, xid) => {
      expect(visible({ incarnation: incarnationB, xid: xid as Xid }, snapshot)).toBe(false)
    }),
  )
})

test('one snapshot covers another if and only if it sees every xid that the other sees', () => {
  fc.assert(
    fc.property(small, small, (left, right) => {
      const expected = everyXid.every(
        (xid) => !seesByDefinition(right, xid) || seesByDefinition(left, xid),
      )
      expect(covers(left, right)).toBe(expected)
    }),
    { numRuns: 3_000 },
  )
})

test('near 2^53 covering is as exact as anywhere', () => {
  const all = Array.from({ length: 20 }, (_, index) => (2 ** 53 - 20 + index) as Xid)
  fc.assert(
    fc.property(far, far, (left, right) => {
      const expected = all.every(
        (xid) => !seesByDefinition(right, xid) || seesByDefinition(left, xid),
      )
      expect(covers(left, right)).toBe(expected)
    }),
    { numRuns: 500 },
  )
})

test('no snapshot covers one of another incarnation', () => {
  fc.assert(
    fc.property(small, (snapshot) => {
      expect(covers(snapshot, { ...snapshot, incarnation: incarnationB })).toBe(false)
    }),
  )
})

test('covering is a preorder: every snapshot covers itself, and what its cover covers', () => {
  fc.assert(
    fc.property(small, small, small, (a, b, c) => {
      expect(covers(a, { ...a })).toBe(true)
      if (covers(a, b) && covers(b, c)) expect(covers(a, c)).toBe(true)
    }),
    { numRuns: 1_000 },
  )
})

test('two snapshots a long way apart are compared at once, not xid by xid', () => {
  const early: Snapshot = { incarnation: incarnationA, xmin: 1 as Xid, xmax: 1 as Xid, xip: [] }
  const late = { ...early, xmin: (2 ** 52) as Xid, xmax: (2 ** 52) as Xid }
  expect(covers(early, late)).toBe(false)
  expect(covers(late, early)).toBe(true)
})

test('the newer of two covers both, or is the left one', () => {
  fc.assert(
    fc.property(small, small, (left, right) => {
      const one = newer(left, right)
      if (one === right) expect(covers(right, left)).toBe(true)
      else expect(one).toBe(left)
    }),
  )
})

test('what PostgreSQL prints comes back as it was', () => {
  fc.assert(
    fc.property(anySnapshot, ({ own: _, ...snapshot }) => {
      expect(parseSnapshot(formatSnapshot(snapshot), snapshot.incarnation)).toEqual(snapshot)
    }),
  )
})

test('the own xid is not told to PostgreSQL: a snapshot of three parts is all it reads', () => {
  fc.assert(
    fc.property(anySnapshot, (snapshot) => {
      expect(formatSnapshot(snapshot)).toMatch(/^\d+:\d+:(\d+(,\d+)*)?$/)
    }),
  )
})

test('every xid below 2^53 is read exactly', () => {
  fc.assert(
    fc.property(xids, (xid) => {
      expect(parseXid(String(xid))).toBe(xid)
    }),
  )
})

test('an xid from 2^53 on is refused, never rounded', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }), (xid) => {
      expect(() => parseXid(String(xid))).toThrow(RangeError)
    }),
  )
})

test('an incarnation says nothing about the xids: the same snapshot of two lives covers neither way', () => {
  fc.assert(
    fc.property(small, incarnations, incarnations, (snapshot, one, other) => {
      fc.pre(one !== other)
      const left = { ...snapshot, incarnation: one }
      const right = { ...snapshot, incarnation: other }
      expect(covers(left, right) || covers(right, left)).toBe(false)
    }),
  )
})
