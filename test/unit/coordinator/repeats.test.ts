import { expect, test } from 'vitest'
import { Repeats } from '../../../src/coordinator/repeats.ts'
import type { L2 } from '../../../src/model/l2-port.ts'
import type { Outbox, OutboxRow, Owed, RowPage } from '../../../src/model/outbox-port.ts'
import type { Snapshot, WriteId, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const delayMs = 500
const deadlineMs = 1_000
const { signal } = new AbortController()
const at = (xmax: number, incarnation = incarnationA): Snapshot =>
  snapshot(`${xmax}:${xmax}:`, incarnation)
const row = (rowId: string): OutboxRow => ({
  rowId,
  xid: Number(rowId) as Xid,
  entity: 'city',
  ids: [rowId],
})
const page = (rows: readonly OutboxRow[], next?: string): RowPage => ({
  incarnation: incarnationA,
  rows,
  versions: new Map(),
  next,
  snapshot: at(900),
  pruned: at(1),
})
const nothing: Owed = { rows: 0, oldestMs: 0, isTold: false }

function setUp({ pages = [] }: { pages?: (RowPage | 'hangs')[] } = {}) {
  const clock = new VirtualClock()
  const asked: (readonly [number | undefined, number | undefined, string | undefined])[] = []
  const told: { xid: number; quiet: boolean | undefined }[] = []
  const stored: number[] = []
  const counted: (readonly [number, number])[] = []
  const l2State = { isDown: false }
  const outbox = {
    page: (since?: Snapshot, until?: Snapshot, after?: string) => {
      asked.push([since?.xmax, until?.xmax, after])
      const found = pages.shift() ?? page([])
      return found === 'hangs' ? new Promise(() => {}) : Promise.resolve(found)
    },
    repeated: async ({ xmax }: Snapshot) => void stored.push(xmax),
  } as unknown as Outbox
  const l2 = {
    invalidate: async ({ xid }: WriteId, _drops: unknown, options?: { quiet?: boolean }) => {
      told.push({ xid, quiet: options?.quiet })
      return l2State.isDown
        ? { kind: 'unavailable', cause: 'down' }
        : { kind: 'dropped', nonces: [], values: 1 }
    },
  } as unknown as L2
  const repeats = new Repeats({
    l2,
    outbox,
    clock,
    delayMs,
    deadlineMs,
    repeated: (rows, values) => void counted.push([rows, values]),
  })
  const note = (now: Snapshot, repeated: Snapshot = at(10, now.incarnation)): void =>
    repeats.note({ snapshot: now, repeated, owed: { l2: nothing, log: nothing } })
  return { clock, repeats, note, asked, told, stored, counted, l2State }
}

test('before the delay is over nothing is repeated', async () => {
  const { clock, repeats, note, asked } = setUp()
  await repeats.run(signal)
  note(at(100))
  clock.stop(delayMs - 1)
  await repeats.run(signal)
  expect(asked).toEqual([])
})

test('then L2 is told once more of what came since it was last, quietly, and how far that is stored', async () => {
  const pages = [page([row('20'), row('21')], '21'), page([row('30')])]
  const { clock, repeats, note, asked, told, stored, counted } = setUp({ pages })
  note(at(100))
  clock.stop(delayMs)
  await repeats.run(signal)
  expect(asked).toEqual([
    [10, 100, undefined],
    [10, 100, '21'],
  ])
  expect(told).toEqual([20, 21, 30].map((xid) => ({ xid, quiet: true })))
  expect(stored).toEqual([100])
  expect(counted).toEqual([
    [2, 2],
    [1, 1],
  ])
})

test('it goes on from there, with snapshots that are a part of the delay apart', async () => {
  const { clock, repeats, note, asked } = setUp()
  for (let ms = 0; ms <= 1_200; ms += 20) {
    note(at(100 + ms))
    await repeats.run(signal)
    clock.stop(20)
  }
  expect(asked.slice(0, 4)).toEqual([
    [10, 100, undefined],
    [100, 200, undefined],
    [200, 300, undefined],
    [300, 400, undefined],
  ])
})

test('without rows nothing is stored', async () => {
  const { clock, repeats, note, stored } = setUp()
  note(at(100))
  clock.stop(delayMs)
  await repeats.run(signal)
  expect(stored).toEqual([])
})

test('what could not be told is repeated until it is, and no step is stored before', async () => {
  const pages = [page([row('20')]), page([row('20')])]
  const { clock, repeats, note, asked, stored, l2State } = setUp({ pages })
  note(at(100))
  clock.stop(delayMs)
  l2State.isDown = true
  await expect(repeats.run(signal)).rejects.toThrow('again')
  expect(stored).toEqual([])
  l2State.isDown = false
  await repeats.run(signal)
  expect(asked.map(([since]) => since)).toEqual([10, 10])
  expect(stored).toEqual([100])
})

test('while L2 can not be told the snapshots that wait are bounded, and the oldest is not forgotten', async () => {
  const { clock, repeats, note, asked } = setUp()
  for (let ms = 0; ms < 100_000; ms += 100) {
    note(at(100 + ms))
    clock.stop(100)
  }
  await repeats.run(signal)
  expect([asked.length, asked[0]?.[0]]).toEqual([1, 10])
  clock.stop(delayMs)
  await repeats.run(signal)
  // From the one to the other, with nothing in between left out, and the youngest is there too.
  expect(asked[1]?.[0]).toBe(asked[0]?.[1])
  expect(asked[1]?.[1]).toBeGreaterThan(99_000)
})

test('who begins anew goes on from where somebody else has come', async () => {
  const { clock, repeats, note, asked } = setUp()
  note(at(100))
  repeats.begin()
  clock.stop(delayMs)
  await repeats.run(signal)
  expect(asked).toEqual([])
  note(at(300), at(250))
  clock.stop(delayMs)
  await repeats.run(signal)
  expect(asked).toEqual([[250, 300, undefined]])
})

test('in another incarnation nothing of before is waited for', async () => {
  const { clock, repeats, note, asked } = setUp()
  note(at(100))
  clock.stop(delayMs)
  note(at(50, incarnationB), at(40, incarnationB))
  await repeats.run(signal)
  expect(asked).toEqual([])
  clock.stop(delayMs)
  await repeats.run(signal)
  expect(asked).toEqual([[40, 50, undefined]])
})

test('an outbox that hangs is given up at the deadline, and a close ends it', async () => {
  const { clock, repeats, note, stored } = setUp({ pages: ['hangs', 'hangs'] })
  note(at(100))
  clock.stop(delayMs)
  const hanging = watch(repeats.run(signal))
  await clock.advance(deadlineMs)
  expect([hanging.state, clock.timers]).toEqual(['rejected', 0])
  const closing = new AbortController()
  const closed = watch(repeats.run(closing.signal))
  closing.abort(new Error('closed'))
  await clock.settle()
  expect([closed.state, clock.timers, stored]).toEqual(['rejected', 0, []])
})
