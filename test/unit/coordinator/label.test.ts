import { expect, test } from 'vitest'
import { type Leased, label, pendingAmong } from '../../../src/coordinator/label.ts'
import type { ReadContext, Wanted } from '../../../src/coordinator/wanted.ts'
import type { Nonce, Tombstone } from '../../../src/model/l2-port.ts'
import type { Incarnation, Snapshot, WriteId, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const loadDeadlineMs = 500
const newest = snapshot('10:10:')
const later = snapshot('15:20:15')
/** This process was told of a write of it that the newest probe doesn't see. */
const toldKey = 7
let settled: Snapshot[] = []

/** A context whose plane has this snapshot; how often it was asked. */
function contextWith(
  known: Snapshot | undefined,
  fresh: Snapshot | Error | 'never',
): { context: ReadContext; asked: () => number; clock: VirtualClock } {
  const clock = new VirtualClock()
  settled = []
  let asked = 0
  const plane = {
    fresh: () => {
      asked++
      if (fresh === 'never') return new Promise(() => {})
      return fresh instanceof Error ? Promise.reject(fresh) : Promise.resolve(fresh)
    },
  }
  const closing = new AbortController().signal
  const region = {
    doubt: (key: unknown, one: Snapshot) =>
      key === toldKey && one === newest ? (seen: Snapshot) => void settled.push(seen) : undefined,
  }
  const context = { probes: { newest: known }, plane, region, clock, closing, loadDeadlineMs }
  return { context: context as unknown as ReadContext, asked: () => asked, clock }
}

const tombstone = (xid: number, incarnation = incarnationA, merged = false): Tombstone => ({
  incarnation,
  xid: xid as Xid,
  merged,
})
const leased = (
  tombstones: readonly Tombstone[] | undefined,
  tickets: readonly WriteId[] = [],
): Leased => ({
  key: 42,
  id: 42,
  text: '42',
  readers: [{ tickets } as unknown as Wanted],
  insist: false,
  isEarly: false,
  isApart: false,
  isInL2: false,
  isMaybe: false,
  lease: tombstones && { id: '42', nonce: 'n' as Nonce, tombstones },
})

test('the newest probe will do where it sees every tombstone and every ticket', async () => {
  const { context, asked } = contextWith(newest, later)
  const one = leased([tombstone(9), tombstone(5, incarnationA, true)], [tombstone(8)])
  const labelled = await label(context, [one, leased(undefined)])
  expect([labelled.snapshot, labelled.over, asked()]).toEqual([newest, [], 0])
  expect([labelled.mayFill(one), labelled.mayFill(leased(undefined))]).toEqual([true, false])
})

test.each<[what: string, Leased]>([
  ['a tombstone', leased([tombstone(9), tombstone(10)])],
  ['a merged tombstone', leased([tombstone(10, incarnationA, true)])],
  ['a tombstone of another incarnation', leased([tombstone(1, incarnationB)])],
  ['a ticket', leased([], [tombstone(10)])],
  ['a write that this process was told of', { ...leased([]), key: toldKey }],
])('a fresh snapshot is taken where it does not see %s', async (_, one) => {
  const { context, asked } = contextWith(newest, later)
  const labelled = await label(context, [leased([]), one])
  expect([labelled.snapshot, asked()]).toEqual([later, 1])
  expect(labelled.mayFill(one)).toBe(true)
  expect(settled).toEqual(one.key === toldKey ? [later] : [])
})

test('a ticket of another incarnation costs no snapshot: no snapshot would see it', async () => {
  const { context, asked } = contextWith(newest, later)
  await label(context, [leased([], [tombstone(3, incarnationB)])])
  expect(asked()).toBe(0)
})

test('what the fresh snapshot does not see either is pending: its id is not filled, the others are', async () => {
  const { context } = contextWith(newest, later)
  const [pending, seen] = [leased([tombstone(15)]), leased([tombstone(14)])]
  const labelled = await label(context, [pending, seen])
  expect([labelled.mayFill(pending), labelled.mayFill(seen)]).toEqual([false, true])
})

test('incarnations that the fresh snapshot is not of are over', async () => {
  const third = 'ffffffffffffffff' as Incarnation
  const { context } = contextWith(newest, later)
  const one = leased([tombstone(1, incarnationB), tombstone(2, incarnationB), tombstone(3, third)])
  const labelled = await label(context, [one, leased([tombstone(12)])])
  expect(labelled.over).toEqual([incarnationB, third])
  expect(labelled.mayFill(one)).toBe(true)
})

test('of a fresh snapshot of a new incarnation the old one is over', async () => {
  const { context } = contextWith(newest, snapshot('5:5:', incarnationB))
  const one = leased([tombstone(10)])
  const labelled = await label(context, [one])
  expect([labelled.over, labelled.mayFill(one)]).toEqual([[incarnationA], true])
})

test.each<[why: string, fresh: Error | 'never']>([
  ['fails', new Error('refused')],
  ['gives none in time', 'never'],
])(
  'when the source %s the load goes on under the newest probe, and nothing is filled',
  async (_, fresh) => {
    const { context, clock } = contextWith(newest, fresh)
    const one = leased([tombstone(12)])
    const labelled = watch(label(context, [one]))
    await clock.advance(loadDeadlineMs)
    expect(labelled.value?.snapshot).toEqual(newest)
    expect(labelled.value?.mayFill(one)).toBe(false)
    expect(clock.timers).toBe(0)
  },
)

test('without any snapshot a value sees nothing, so that no tier takes it', async () => {
  const { context } = contextWith(undefined, new Error('refused'))
  const labelled = await label(context, [leased([])])
  expect(labelled.mayFill(leased([]))).toBe(false)
  expect([labelled.snapshot.xmin, labelled.snapshot.xmax]).toEqual([0, 0])
  expect([incarnationA, incarnationB]).not.toContain(labelled.snapshot.incarnation)
})

test('for a replica a fresh snapshot is taken, whatever the newest probe sees, and has to be covered', async () => {
  const { context, asked } = contextWith(newest, later)
  const labelled = await label(context, [leased([tombstone(9)], [tombstone(8)])], true)
  expect([labelled.snapshot, labelled.least, asked()]).toEqual([later, later, 1])
  expect((await label(context, [leased([tombstone(9)])])).least).toBeUndefined()
})

test('a ticket that the fresh snapshot does not see is for the primary', async () => {
  const { context } = contextWith(newest, later)
  for (const ticket of [tombstone(3, incarnationB), tombstone(15)]) {
    expect((await label(context, [leased([], [ticket])], true)).least).toBeUndefined()
  }
})

test('without a fresh snapshot no replica is asked, and the newest probe is as good as ever', async () => {
  const { context } = contextWith(newest, new Error('refused'))
  const [seen, unseen] = [leased([tombstone(9)]), leased([tombstone(12)])]
  const labelled = await label(context, [seen], true)
  expect([labelled.snapshot, labelled.least, labelled.mayFill(seen)]).toEqual([
    newest,
    undefined,
    true,
  ])
  expect((await label(context, [unseen], true)).mayFill(unseen)).toBe(false)
})

test('which of several are pending is told by one snapshot, and by none where the probe sees all', async () => {
  const seen = contextWith(newest, later)
  expect(await pendingAmong(seen.context, [[tombstone(9)], []])).toEqual([false, false])
  expect(seen.asked()).toBe(0)
  const unseen = contextWith(newest, later)
  const tombstones = [[tombstone(9), tombstone(15)], [tombstone(14)], [tombstone(30, incarnationB)]]
  expect(await pendingAmong(unseen.context, tombstones)).toEqual([true, false, false])
  expect(unseen.asked()).toBe(1)
})

test('when nobody can say what is pending nobody waits for it, but for what the probe sees', async () => {
  const { context } = contextWith(newest, new Error('refused'))
  const tombstones = [[tombstone(15)], [tombstone(9)], []]
  expect(await pendingAmong(context, tombstones)).toEqual([true, false, false])
})
