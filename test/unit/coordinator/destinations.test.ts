import { beforeEach, expect, test } from 'vitest'
import { L2Destination, logDestination } from '../../../src/coordinator/destinations.ts'
import type { Log, LoggedWrite } from '../../../src/model/bus-ports.ts'
import type { BarrierAnswer, L2, L2Barriers, NodeChange } from '../../../src/model/l2-port.ts'
import { silent } from '../../../src/model/log.ts'
import type { Outbox, OutboxRow, RowPage } from '../../../src/model/outbox-port.ts'
import type { Snapshot, WriteId, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA, snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const deadlineMs = 500
const { signal } = new AbortController()
const row = (rowId: string, ids = [rowId]): OutboxRow => ({
  rowId,
  xid: Number(rowId) as Xid,
  entity: 'city',
  ids,
})
const page = (rows: readonly OutboxRow[], more: Partial<RowPage> = {}): RowPage => ({
  incarnation: incarnationA,
  rows,
  versions: new Map([['city', [1]]]),
  next: undefined,
  snapshot: snapshot('100:100:'),
  pruned: snapshot('10:10:'),
  ...more,
})
const ready = snapshot('90:90:')
const change = (found: Snapshot | undefined): NodeChange => ({ node: 'a:1', identity: 'b', found })

interface Answers {
  readonly barrier?: readonly BarrierAnswer[]
  readonly pages?: readonly (RowPage | (() => Promise<RowPage>))[]
  readonly fails?: (xid: number) => boolean
}

let clock: VirtualClock
beforeEach(() => {
  clock = new VirtualClock()
})

function setUp({ barrier = [], pages = [], fails = () => false }: Answers) {
  const acts: unknown[][] = []
  const warnings: string[] = []
  let next = 0
  const outbox = {
    page: async (since: unknown, until: unknown, after: string | undefined) => {
      acts.push(['page', since, until, after])
      const answer = pages[next++] as RowPage | (() => Promise<RowPage>)
      return typeof answer === 'function' ? answer() : answer
    },
  } as unknown as Outbox
  const l2 = {
    invalidate: async ({ xid }: WriteId, _drops: unknown, options?: { quiet?: boolean }) => {
      acts.push(['tell', xid, options?.quiet])
      return fails(xid)
        ? { kind: 'unavailable', cause: 'down' }
        : { kind: 'dropped', nonces: [], values: 1 }
    },
    barrier: async (at: Snapshot) => {
      acts.push(['barrier', at])
      return barrier
    },
    restore: async (...args: unknown[]) => {
      acts.push(['restore', ...args])
      return { kind: 'written' }
    },
  } as unknown as L2 & L2Barriers
  let replayed = 0
  const destination = new L2Destination({
    l2,
    outbox,
    clock,
    log: { ...silent, warn: (_details, message) => void warnings.push(message) },
    deadlineMs,
    replayed: (rows) => {
      replayed += rows
    },
  })
  return { acts, warnings, destination, replayed: () => replayed }
}

test('L2 is told of a claim aloud, and the rows that it heard of are those to be marked', async () => {
  const { destination, acts } = setUp({ fails: (xid) => xid === 2 })
  expect(await destination.tell(page([row('1'), row('2'), row('3')]), signal)).toEqual(['1', '3'])
  expect(acts).toEqual([
    ['tell', 1, false],
    ['tell', 2, false],
    ['tell', 3, false],
  ])
})

test('a barrier that every node has taken is all there is to it, and so is one that could not be asked', async () => {
  const cause = new Error('down')
  const { destination, acts } = setUp({
    barrier: [{ kind: 'written' }, { kind: 'unavailable', cause }],
  })
  await destination.barrier(ready, signal)
  expect(acts).toEqual([['barrier', ready]])
})

test('a server that is not the one of before is told again of all that the outbox has, then restored', async () => {
  const pages = [page([row('1'), row('2')], { next: '2' }), page([row('3')])]
  const found = snapshot('10:10:')
  const { destination, acts, replayed } = setUp({
    barrier: [{ kind: 'written' }, { kind: 'changed', change: change(found) }],
    pages,
  })
  await destination.barrier(ready, signal)
  expect(acts).toEqual([
    ['barrier', ready],
    // Marked rows too, quietly: everybody but Redis has heard of them.
    ['page', undefined, undefined, undefined],
    ['tell', 1, true],
    ['tell', 2, true],
    ['page', undefined, undefined, '2'],
    ['tell', 3, true],
    // What it remembers covers what has been removed: its values of before are as good as ever.
    ['restore', change(found), ready, undefined],
  ])
  expect(replayed()).toBe(3)
})

test.each<[what: string, found: Snapshot | undefined]>([
  ['nothing is known of what it was told', undefined],
  ['what it remembers lies before what has been removed', snapshot('9:9:')],
  ['a removed write was in progress then', snapshot('9:10:9')],
])('a new generation begins where %s', async (_, found) => {
  const { destination, acts, warnings } = setUp({
    barrier: [{ kind: 'changed', change: change(found) }],
    pages: [page([], { next: '1', snapshot: snapshot('95:95:') }), page([])],
  })
  await destination.barrier(ready, signal)
  // As of the last page: the change had been noticed by then, so what is loaded since is told of all.
  expect(acts.at(-1)).toEqual(['restore', change(found), ready, snapshot('100:100:')])
  // A Redis that is new to everybody is nothing to warn of.
  expect(warnings).toHaveLength(found ? 2 : 0)
})

test('what was removed while it was replayed counts as forgotten', async () => {
  const found = snapshot('10:10:')
  const { destination, acts } = setUp({
    barrier: [{ kind: 'changed', change: change(found) }],
    pages: [page([row('1')], { next: '1' }), page([], { pruned: snapshot('11:11:') })],
  })
  await destination.barrier(ready, signal)
  expect(acts.at(-1)).toEqual(['restore', change(found), ready, snapshot('100:100:')])
})

test('every node that has changed is restored by itself', async () => {
  const other = { node: 'b:1', identity: 'c', found: undefined }
  const { destination, acts } = setUp({
    barrier: [
      { kind: 'changed', change: change(snapshot('50:50:')) },
      { kind: 'changed', change: other },
    ],
    pages: [page([row('1')]), page([row('1')], { snapshot: snapshot('200:200:') })],
  })
  await destination.barrier(ready, signal)
  expect(acts.filter(([act]) => act === 'restore')).toEqual([
    ['restore', change(snapshot('50:50:')), ready, undefined],
    ['restore', other, ready, snapshot('200:200:')],
  ])
})

test('what could not be told of all again is not restored', async () => {
  const { destination, acts } = setUp({
    barrier: [{ kind: 'changed', change: change(snapshot('50:50:')) }],
    pages: [page([row('1'), row('2')])],
    fails: (xid) => xid === 2,
  })
  await expect(destination.barrier(ready, signal)).rejects.toThrow('again')
  expect(acts.map(([act]) => act)).not.toContain('restore')
})

test('an outbox that hangs is given up at the deadline, page by page', async () => {
  const slow = (after: RowPage) => () =>
    new Promise<RowPage>((resolve) => clock.after(0.9 * deadlineMs, () => resolve(after)))
  const { destination, acts } = setUp({
    barrier: [{ kind: 'changed', change: change(snapshot('50:50:')) }],
    pages: [
      slow(page([], { next: '1' })),
      slow(page([], { next: '2' })),
      () => new Promise(() => {}),
    ],
  })
  const barrier = watch(destination.barrier(ready, signal))
  await clock.advance(1.8 * deadlineMs + deadlineMs - 1)
  expect([barrier.state, acts.length]).toEqual(['pending', 4])
  await clock.advance(1)
  expect([barrier.state, clock.timers]).toEqual(['rejected', 0])
})

test('a close ends a replay', async () => {
  const closing = new AbortController()
  const { destination, acts } = setUp({
    barrier: [{ kind: 'changed', change: change(snapshot('50:50:')) }],
    pages: [
      async () => {
        closing.abort(new Error('closed'))
        return page([row('1')])
      },
    ],
  })
  await expect(destination.barrier(ready, closing.signal)).rejects.toThrow()
  expect(acts.map(([act]) => act)).toEqual(['barrier', 'page'])
})

test('the log is told of rows as writes of their incarnation, and none is told if any may not be', async () => {
  const published: (readonly LoggedWrite[])[] = []
  let error: Error | undefined
  const log = {
    publish: async (writes: readonly LoggedWrite[]) => {
      published.push(writes)
      if (error) throw error
    },
  } as unknown as Log
  const destination = logDestination(log, clock, deadlineMs)
  expect(await destination.tell(page([row('1', ['7', 'x']), row('2')]), signal)).toEqual(['1', '2'])
  expect(published).toEqual([
    [
      { write: { incarnation: incarnationA, xid: 1 }, entity: 'city', ids: ['7', 'x'] },
      { write: { incarnation: incarnationA, xid: 2 }, entity: 'city', ids: ['2'] },
    ],
  ])
  error = new Error('the log is down')
  await expect(destination.tell(page([row('1')]), signal)).rejects.toBe(error)
})

test('a barrier that the log does not take in time is given up', async () => {
  const signals: AbortSignal[] = []
  const log = {
    barrier: (_: Snapshot, inTime: AbortSignal) => {
      signals.push(inTime)
      return new Promise(() => {})
    },
  } as unknown as Log
  const barrier = watch(logDestination(log, clock, deadlineMs).barrier(ready, signal))
  await clock.advance(deadlineMs)
  expect([barrier.state, signals[0]?.aborted, clock.timers]).toEqual(['rejected', true, 0])
})
