import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Stripes } from '../../src/memory/stripes.ts'
import {
  type Incarnation,
  type Snapshot,
  visible,
  type WriteId,
  type Xid,
} from '../../src/model/snapshot.ts'
import { incarnationA, incarnationB, snapshots } from '../support/arbitrary.ts'

const stripeCount = 4_096
/** Writes that are kept one by one; one more merges them. */
const mostXids = 65_536

/** The same without a bound: every write of every stripe, one by one. */
class UnboundedStripes {
  #writes: { readonly stripe: number; readonly write: WriteId }[] = []

  add(hash: number, write: WriteId): void {
    this.#writes.push({ stripe: hash % stripeCount, write })
  }

  admits(hash: number, snapshot: Snapshot): boolean {
    return this.#writes.every(
      ({ stripe, write }) => stripe !== hash % stripeCount || visible(write, snapshot),
    )
  }

  forget(floor: Snapshot): void {
    this.#writes = this.#writes.filter(({ write }) => !visible(write, floor))
  }

  /** Of writes of one stripe that are the same, only one. */
  get count(): number {
    const keys = this.#writes.map(
      ({ stripe, write }) => `${stripe} ${write.incarnation} ${write.xid}`,
    )
    return new Set(keys).size
  }

  forgetOthers(incarnation: Incarnation): void {
    this.#writes = this.#writes.filter(({ write }) => write.incarnation === incarnation)
  }
}

type Act =
  | { readonly act: 'add'; readonly hash: number; readonly write: WriteId }
  | { readonly act: 'forget'; readonly floor: Snapshot }
  | { readonly act: 'forgetOthers'; readonly incarnation: Incarnation }
  | { readonly act: 'ask'; readonly hash: number; readonly snapshot: Snapshot }

const range = { from: 0, length: 30 }
// Few stripes, so that acts meet; several hashes of one stripe.
const hash = fc.constantFrom(1, 2, 3, 1 + stripeCount, 2 + 7 * stripeCount, 2 ** 32 - 1)
const xid = fc.integer({ min: 0, max: 29 }).map((one) => one as Xid)

function acts(incarnation: fc.Arbitrary<Incarnation>): fc.Arbitrary<Act[]> {
  const snapshot = snapshots({ ...range, incarnation })
  const act: fc.Arbitrary<Act> = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        act: fc.constant('add' as const),
        hash,
        write: fc.record({ incarnation, xid }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        act: fc.constant('forget' as const),
        floor: snapshots({ ...range, incarnation, withOwn: false }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ act: fc.constant('forgetOthers' as const), incarnation }) },
    { weight: 4, arbitrary: fc.record({ act: fc.constant('ask' as const), hash, snapshot }) },
  )
  return fc.array(act, { minLength: 1, maxLength: 60, size: 'max' })
}

const both = fc.constantFrom(incarnationA, incarnationB)

test('below the bound exactly what sees every write of its stripe is admitted', () => {
  fc.assert(
    fc.property(acts(both), (sequence) => {
      const stripes = new Stripes()
      const model = new UnboundedStripes()
      for (const one of sequence) {
        if (one.act === 'add') {
          stripes.add(one.hash, one.write)
          model.add(one.hash, one.write)
        } else if (one.act === 'forget') {
          stripes.forget(one.floor)
          model.forget(one.floor)
        } else if (one.act === 'forgetOthers') {
          stripes.forgetOthers(one.incarnation)
          model.forgetOthers(one.incarnation)
        } else {
          expect(stripes.admits(one.hash, one.snapshot)).toBe(model.admits(one.hash, one.snapshot))
        }
        expect(stripes.count).toBe(model.count)
      }
    }),
    { numRuns: 400 },
  )
})

test('a write that is told again and again is kept once', () => {
  const stripes = new Stripes()
  const write = { incarnation: incarnationA, xid: 5 as Xid }
  for (let time = 0; time < 100; time++) stripes.add(7, write)
  expect(stripes.count).toBe(1)
})

/**
 * Fills the stripes up to the bound: the next write merges them. The filler's xids are smaller than
 * any that a test asks about, so that it keeps nobody out.
 */
function fillUp(stripes: Stripes): Stripes {
  for (let count = 0; stripes.count < mostXids; count++) {
    stripes.add(count, { incarnation: incarnationA, xid: (count >> 12) as Xid })
  }
  return stripes
}

const fillerXids = mostXids >> 12
const shifted = (snapshot: Snapshot): Snapshot => ({
  ...snapshot,
  xmin: (snapshot.xmin + fillerXids) as Xid,
  xmax: (snapshot.xmax + fillerXids) as Xid,
  xip: snapshot.xip.map((one) => (one + fillerXids) as Xid),
  own: snapshot.own === undefined ? undefined : ((snapshot.own + fillerXids) as Xid),
})

test('the bound holds: one write more than it, and there is nothing left to count', () => {
  const stripes = fillUp(new Stripes())
  stripes.add(0, { incarnation: incarnationA, xid: 1_000 as Xid })
  expect(stripes.count).toBe(0)
  const floor = { incarnation: incarnationA, xmin: 1_000 as Xid, xmax: 1_000 as Xid, xip: [] }
  expect(stripes.admits(4_000, floor)).toBe(false)
  expect(stripes.admits(4_000, { ...floor, xmin: 1_001 as Xid, xmax: 1_001 as Xid })).toBe(true)
})

function playBoth(stripes: Stripes, model: UnboundedStripes, sequence: readonly Act[]): void {
  for (const one of sequence) {
    if (one.act === 'add') {
      const write = { ...one.write, xid: (one.write.xid + fillerXids) as Xid }
      stripes.add(one.hash, write)
      model.add(one.hash, write)
    } else if (one.act === 'forget') {
      stripes.forget(shifted(one.floor))
      model.forget(shifted(one.floor))
    } else if (one.act === 'forgetOthers') {
      stripes.forgetOthers(one.incarnation)
      model.forgetOthers(one.incarnation)
    } else if (stripes.admits(one.hash, shifted(one.snapshot))) {
      expect(model.admits(one.hash, shifted(one.snapshot))).toBe(true)
    }
  }
}

test('at the bound nothing is admitted that would be refused without one, after one merge or several', () => {
  const oneLife = acts(fc.constant(incarnationA))
  fc.assert(
    fc.property(oneLife, oneLife, oneLife, (first, second, third) => {
      const stripes = new Stripes()
      const model = new UnboundedStripes()
      for (const sequence of [first, second, third]) {
        fillUp(stripes)
        playBoth(stripes, model, sequence)
      }
    }),
    // Shrinking would take longer than it helps.
    { numRuns: 15, endOnFailure: true },
  )
})

test('at the bound the writes of one life of the database do not hide those of another', () => {
  const stripes = new Stripes()
  // The stripes are walked in this order: a large xid of B, those of A, small ones of B.
  stripes.add(0, { incarnation: incarnationB, xid: 500 as Xid })
  for (let count = 1; count < mostXids - 1; count++) {
    stripes.add(count, { incarnation: incarnationA, xid: (count >> 12) as Xid })
  }
  for (const xid of [5, 6] as Xid[])
    stripes.add(stripeCount - 1, { incarnation: incarnationB, xid })
  expect(stripes.count).toBe(0)
  const missesTheFirst: Snapshot = {
    incarnation: incarnationB,
    xmin: 100 as Xid,
    xmax: 100 as Xid,
    xip: [],
  }
  expect(stripes.admits(0, missesTheFirst)).toBe(false)
})

test('what is merged is forgotten when the floor is past all of it, and not before', () => {
  const stripes = fillUp(new Stripes())
  stripes.add(1, { incarnation: incarnationA, xid: 900 as Xid })
  const at = (xmin: number): Snapshot => ({
    incarnation: incarnationA,
    xmin: xmin as Xid,
    xmax: 2_000 as Xid,
    xip: [],
  })
  const old = at(100)
  stripes.forget(at(900))
  expect(stripes.admits(1, old)).toBe(false)
  stripes.forget(at(901))
  expect(stripes.admits(1, old)).toBe(true)
})
