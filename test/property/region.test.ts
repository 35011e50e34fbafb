/** L1's region against a plain model of the fill rule (DESIGN §3), and against a small world (I1). */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { S3Fifo } from '../../src/memory/policies/s3fifo.ts'
import { entryOverheadBytes, L1Region } from '../../src/memory/region.ts'
import { hashOf } from '../../src/model/hash.ts'
import type { L1Key } from '../../src/model/id.ts'
import type { Candidate, Slot } from '../../src/model/l1-port.ts'
import { covers, type Snapshot, visible, type WriteId, type Xid } from '../../src/model/snapshot.ts'
import { incarnationA, incarnationB, snapshots } from '../support/arbitrary.ts'

const stripeOf = (key: L1Key): number => hashOf(key) % 4_096

/** Two keys of one stripe, and three of others. */
const keys: readonly L1Key[] = (() => {
  const first = 0
  let neighbour = 1
  while (stripeOf(neighbour) !== stripeOf(first)) neighbour++
  return [first, neighbour, 'a', 'b', -3]
})()

interface Fill {
  readonly key: L1Key
  readonly snapshot: Snapshot
  readonly weightBytes: number
}
type Act =
  | ({ readonly act: 'fillFromSource' } & Fill)
  | ({ readonly act: 'fillFromL2'; readonly barrier: Snapshot | undefined } & Fill)
  | {
      readonly act: 'told'
      readonly key: L1Key
      readonly write: WriteId
    }
  | { readonly act: 'settle'; readonly floor: Snapshot }
  | { readonly act: 'reset' }
  | { readonly act: 'hit'; readonly key: L1Key }

// Mostly one life of the database, sometimes another.
const incarnation = fc.oneof(
  { weight: 9, arbitrary: fc.constant(incarnationA) },
  { weight: 1, arbitrary: fc.constant(incarnationB) },
)
const range = { from: 0, length: 16, incarnation }
const key = fc.constantFrom(...keys)
const xid = fc.integer({ min: 0, max: 15 }).map((one) => one as Xid)
const fill = {
  key,
  snapshot: snapshots(range),
  weightBytes: fc.oneof(fc.integer({ min: 0, max: 400 }), fc.constant(10_000)),
}
const sometimes = <const T extends string>(act: T) => ({ act: fc.constant(act) })
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ ...sometimes('fillFromSource'), ...fill }) },
  {
    weight: 4,
    arbitrary: fc.record({
      ...sometimes('fillFromL2'),
      barrier: fc.option(snapshots({ ...range, withOwn: false }), { nil: undefined, freq: 8 }),
      ...fill,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      ...sometimes('told'),
      key,
      write: fc.record({ incarnation, xid }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...sometimes('settle'),
      floor: snapshots({ ...range, withOwn: false }),
    }),
  },
  { weight: 1, arbitrary: fc.record(sometimes('reset')) },
  { weight: 2, arbitrary: fc.record({ ...sometimes('hit'), key }) },
)

/** Each with a value of its own, and as different as can be. */
const candidate = ({ key, snapshot, weightBytes }: Fill): Candidate => ({
  value: { key },
  isShared: weightBytes % 2 === 0,
  snapshot,
  loadedAtMs: weightBytes,
  freshUntilMs: 3 * weightBytes + 1,
  weightBytes,
})

const found = (region: L1Region, on: L1Key): Candidate | undefined => {
  const slot = region.find(on)
  return slot === undefined ? undefined : region.candidateAt(slot)
}

/** What the region knows of writes, kept in the plainest way. */
class Model {
  floor: Snapshot | undefined
  told: { stripe: number; write: WriteId }[] = []
  /** Of the floors so far, the latest last. */
  incarnations: string[] = []

  admits({ key, snapshot }: Fill, known: Candidate | undefined): boolean {
    return (
      this.told.every(
        ({ stripe, write }) => stripe !== stripeOf(key) || visible(write, snapshot),
      ) &&
      (known === undefined || covers(snapshot, known.snapshot))
    )
  }

  settle(floor: Snapshot): void {
    const isOther = this.floor?.incarnation !== floor.incarnation
    if (this.incarnations.at(-1) !== floor.incarnation) {
      const { incarnation } = floor
      this.incarnations = [...this.incarnations.filter((one) => one !== incarnation), incarnation]
    }
    this.told = this.told.filter(
      ({ write }) =>
        !visible(write, floor) && !(isOther && write.incarnation !== floor.incarnation),
    )
    this.floor = floor
  }
}

const bounds = fc.constantFrom(
  { maxEntries: 10, maxBytes: 1_000_000 },
  { maxEntries: 2, maxBytes: 1_000_000 },
  { maxEntries: 1, maxBytes: 1_000_000 },
  { maxEntries: 10, maxBytes: 1_000 },
  { maxEntries: 10, maxBytes: entryOverheadBytes },
)

test('a region lets in what the plain model lets in, drops what it drops, and keeps its bounds', async () => {
  await fc.assert(
    fc.asyncProperty(
      bounds,
      fc.array(act, { minLength: 1, maxLength: 60, size: 'max' }),
      async (limit, sequence) => {
        const region = new L1Region(limit, new S3Fifo(limit.maxEntries))
        const model = new Model()
        const lastFills = new Map<L1Key, Candidate>()
        const promises = new Map<unknown, Promise<unknown>>()
        for (const one of sequence) {
          const known = 'key' in one ? found(region, one.key) : undefined
          if (one.act === 'fillFromSource') {
            const expected =
              model.floor !== undefined &&
              covers(one.snapshot, model.floor) &&
              model.admits(one, known) &&
              one.weightBytes + entryOverheadBytes <= limit.maxBytes
            const given = candidate(one)
            expect(region.fillFromSource(one.key, given)).toBe(expected)
            expect(found(region, one.key)?.value).toBe(expected ? given.value : known?.value)
            if (expected) lastFills.set(one.key, given)
          } else if (one.act === 'fillFromL2') {
            const expected =
              one.barrier !== undefined &&
              model.floor?.incarnation === one.snapshot.incarnation &&
              covers(one.barrier, model.floor) &&
              model.admits(one, known) &&
              one.weightBytes + entryOverheadBytes <= limit.maxBytes
            const given = candidate(one)
            expect(region.fillFromL2(one.key, given, one.barrier)).toBe(expected)
            expect(found(region, one.key)?.value).toBe(expected ? given.value : known?.value)
            if (expected) lastFills.set(one.key, given)
          } else if (one.act === 'told') {
            region.told(one.key, one.write)
            const isOver = model.incarnations.slice(0, -1).includes(one.write.incarnation)
            if (!isOver && !(model.floor && visible(one.write, model.floor))) {
              model.told.push({ stripe: stripeOf(one.key), write: one.write })
            }
            const isKept = known !== undefined && visible(one.write, known.snapshot)
            expect(found(region, one.key)?.value).toBe(isKept ? known.value : undefined)
          } else if (one.act === 'settle') {
            region.settle(one.floor)
            model.settle(one.floor)
          } else if (one.act === 'reset') {
            region.reset()
            expect(region.count).toBe(0)
            model.floor = undefined
          } else if (known) {
            const slot = region.find(one.key) as Slot
            region.hit(slot)
            const promise = region.promiseAt(slot)
            expect(promises.get(known.value) ?? promise).toBe(promise)
            promises.set(known.value, promise)
          }
          // Whoever left, and whoever came to its slot: each has what it was filled with.
          for (const on of keys) {
            const lying = found(region, on)
            const filled = lastFills.get(on)
            expect(lying?.value).toBe(lying && filled?.value)
            const weightBytes = entryOverheadBytes + (filled?.weightBytes ?? 0)
            if (lying) expect(lying).toEqual({ ...filled, weightBytes })
          }
          const entries = region.candidates()
          expect(entries.length).toBe(region.count)
          expect(region.count).toBeLessThanOrEqual(limit.maxEntries)
          expect(region.weightBytes).toBeLessThanOrEqual(limit.maxBytes)
          expect(region.weightBytes).toBe(
            entries.reduce((sum, { weightBytes }) => sum + weightBytes, 0),
          )
        }
        for (const [value, promise] of promises) expect(await promise).toBe(value)
      },
    ),
    { numRuns: 250 },
  )
})

// ---------------------------------------------------------------- a small world

interface Step {
  readonly kind:
    | 'write'
    | 'firstDelete'
    | 'commit'
    | 'rollBack'
    | 'apply'
    | 'poll'
    | 'lateTold'
    | 'startLoad'
    | 'startL2'
    | 'barrier'
    | 'forget'
    | 'land'
    | 'lose'
  readonly which: number
  readonly key: L1Key
  readonly isLaggingFloor: boolean
}

const steps = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom(
      'write',
      'write',
      'firstDelete',
      'commit',
      'commit',
      'rollBack',
      'apply',
      'apply',
      'poll',
      'poll',
      'poll',
      'lateTold',
      'startLoad',
      'startL2',
      'startL2',
      'startL2',
      'barrier',
      'barrier',
      'barrier',
      'forget',
      'land',
      'land',
      'land',
      'lose',
    ),
    which: fc.nat(),
    key: fc.constantFrom(...keys.slice(0, 2)),
    isLaggingFloor: fc.boolean(),
  }),
  { maxLength: 120, size: 'max' },
)

interface Written {
  readonly key: L1Key
  readonly write: WriteId
  state: 'open' | 'committed' | 'aborted'
  /** Has L2 been told? */
  isApplied: boolean
  /** Has this process been told after the commit? */
  isTold: boolean
}

/** PostgreSQL, L2 and one process around a region, as simple as the story allows. */
class World {
  readonly region = new L1Region({ maxEntries: 10, maxBytes: 1_000_000 }, new S3Fifo(10))
  readonly writes: Written[] = []
  /** Every snapshot that was ever taken. */
  readonly history: Snapshot[] = []
  readonly underWay: (() => void)[] = []
  newest: Snapshot | undefined
  floor: Snapshot | undefined
  /** What lies beside the values of L2. */
  barrier: Snapshot | undefined
  /** What the last poll saw: it outlives the trust, so that the next one tells of all that came since. */
  #since: Snapshot | undefined
  #nextXid = 1
  #finished = 0

  snapshot(): Snapshot {
    const xmax = this.#finished + 1
    const xip = this.writes
      .filter(({ state, write }) => state === 'open' && write.xid < xmax)
      .map(({ write }) => write.xid)
    const taken: Snapshot = {
      incarnation: incarnationA,
      xmin: Math.min(xmax, ...xip) as Xid,
      xmax: xmax as Xid,
      xip,
    }
    this.history.push(taken)
    return taken
  }

  write(on: L1Key): void {
    const write = { incarnation: incarnationA, xid: this.#nextXid++ as Xid }
    this.writes.push({ key: on, write, state: 'open', isApplied: false, isTold: false })
  }

  finish(written: Written, state: 'committed' | 'aborted'): void {
    written.state = state
    this.#finished = Math.max(this.#finished, written.write.xid)
  }

  poll(isLaggingFloor: boolean): void {
    const since = this.#since
    const taken = this.snapshot()
    for (const written of this.writes) {
      if (written.state !== 'committed') continue
      if (since !== undefined && !visible(written.write, since)) this.tell(written)
    }
    this.newest = taken
    this.#since = taken
    if (!isLaggingFloor || !this.floor) this.floor = taken
    this.region.settle(this.floor)
  }

  tell(written: Written): void {
    this.region.told(written.key, written.write)
    if (written.state === 'committed') written.isTold = true
  }

  /** The newest or some other snapshot of which L2 has been told all that it sees. */
  setBarrier(which: number): void {
    const possible = this.history.filter((snapshot) =>
      this.writes.every(
        ({ isApplied, state, write }) =>
          isApplied || state !== 'committed' || !visible(write, snapshot),
      ),
    )
    this.barrier = possible[possible.length - 1 - (which % Math.min(3, possible.length))]
  }

  /** L2 is rolled back, and somebody has noticed. */
  forget(): void {
    this.barrier = undefined
    for (const written of this.writes) written.isApplied = false
  }

  startLoad(on: L1Key): void {
    const snapshot = this.newest
    if (!snapshot) return
    this.underWay.push(() => {
      this.region.fillFromSource(on, candidate({ key: on, snapshot, weightBytes: 1 }))
    })
  }

  /** Any value that L2 may have now: one that sees every write of the key that L2 was told of. */
  startL2(on: L1Key, which: number): void {
    const { barrier } = this
    const possible = this.history.filter((snapshot) =>
      this.writes.every((one) => one.key !== on || !one.isApplied || visible(one.write, snapshot)),
    )
    const snapshot = possible[which % Math.max(1, possible.length)]
    if (!snapshot) return
    this.underWay.push(() => {
      this.region.fillFromL2(on, candidate({ key: on, snapshot, weightBytes: 1 }), barrier)
    })
  }

  lose(): void {
    this.newest = undefined
    this.floor = undefined
    this.region.reset()
  }

  /** I1, I3: what lies in L1 sees every committed write that this process was told of, or that its trust stands on. */
  check(): void {
    for (const on of keys.slice(0, 2)) {
      const entry = found(this.region, on)
      if (!entry) continue
      const missed = this.writes.filter(
        (one) => one.key === on && this.#isDue(one) && !visible(one.write, entry.snapshot),
      )
      expect(missed).toEqual([])
    }
  }

  #isDue({ isTold, state, write }: Written): boolean {
    return isTold || (state === 'committed' && !!this.newest && visible(write, this.newest))
  }
}

function play(world: World, sequence: readonly Step[]): void {
  const pick = <T>(some: readonly T[], which: number): T | undefined =>
    some[which % Math.max(1, some.length)]
  for (const { kind, which, key: on, isLaggingFloor } of sequence) {
    const open = world.writes.filter(({ state }) => state === 'open')
    const committed = world.writes.filter(({ state }) => state === 'committed')
    if (kind === 'write') world.write(on)
    else if (kind === 'firstDelete') {
      const written = pick(open, which)
      // L2 forgets nothing here: a tombstone of an open write keeps every value out, as applied does.
      if (written) {
        written.isApplied = true
        world.tell(written)
      }
    } else if (kind === 'commit' || kind === 'rollBack') {
      const written = pick(open, which)
      if (written) world.finish(written, kind === 'commit' ? 'committed' : 'aborted')
    } else if (kind === 'apply') {
      const written = pick(committed, which)
      if (written) written.isApplied = true
    } else if (kind === 'lateTold') {
      const written = pick(committed, which)
      if (written?.isApplied) world.tell(written)
    } else if (kind === 'poll') world.poll(isLaggingFloor)
    else if (kind === 'startLoad') world.startLoad(on)
    else if (kind === 'startL2') world.startL2(on, which)
    else if (kind === 'barrier') world.setBarrier(which)
    else if (kind === 'forget') world.forget()
    else if (kind === 'land')
      world.underWay.splice(which % Math.max(1, world.underWay.length), 1)[0]?.()
    else world.lose()
    world.check()
  }
}

test('a value that misses a told write is never in L1, whatever comes late, twice or in another order (I1)', () => {
  fc.assert(
    fc.property(steps, (sequence) => play(new World(), sequence)),
    { numRuns: 1_500 },
  )
})

test('of what L2 had before a barrier covers the floor nothing is in L1, whenever it lands', () => {
  const world = new World()
  const [on] = keys as [L1Key]
  world.write(on)
  const [written] = world.writes as [Written]
  world.snapshot()
  world.setBarrier(0)
  world.startL2(on, 0)
  world.finish(written, 'committed')
  // Nobody tells of it: it was committed before the first poll.
  world.poll(false)
  written.isApplied = true
  world.setBarrier(0)
  world.underWay[0]?.()
  world.check()
  expect(world.region.find(on)).toBeUndefined()
})
