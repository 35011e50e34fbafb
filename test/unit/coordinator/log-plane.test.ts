import { afterEach, expect, test } from 'vitest'
import { LogPlane } from '../../../src/coordinator/log-plane.ts'
import type { Log, LogListener, LogRecord } from '../../../src/model/bus-ports.ts'
import type { Reading } from '../../../src/model/clock.ts'
import { silent } from '../../../src/model/log.ts'
import type { Outbox, Probe } from '../../../src/model/outbox-port.ts'
import type { Snapshot, Xid } from '../../../src/model/snapshot.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const pollIntervalMs = 200
const pollDeadlineMs = 1_000

const probe = (at: Snapshot, more: Partial<Probe> = {}): Probe => ({
  snapshot: at,
  isRelayDue: false,
  isAwaited: false,
  ...more,
})
const write = (xid: number, ids = ['1'], incarnation = incarnationA): LogRecord => ({
  kind: 'write',
  write: { incarnation, xid: xid as Xid },
  entity: 'city',
  ids,
})
const barrier = (at: Snapshot, partitions = 2): LogRecord => ({
  kind: 'barrier',
  snapshot: at,
  partitions,
})
const at = (xmax: number): Snapshot => snapshot(`${xmax}:${xmax}:`)

let close: (() => Promise<void>) | undefined
afterEach(async () => {
  await close?.()
  close = undefined
})

function setUp() {
  const clock = new VirtualClock()
  const asked: { atMs: number; answer: Deferred<Probe>; signal: AbortSignal }[] = []
  const order: string[] = []
  const proven: { t0: Reading; snapshot: Snapshot }[] = []
  let wake = (): void => {}
  const outbox = {
    probe: (signal: AbortSignal) => {
      const answer = deferred<Probe>()
      answer.promise.catch(() => {})
      asked.push({ atMs: clock.monotonicMs(), answer, signal })
      return answer.promise
    },
    listen: (call: () => void) => {
      wake = call
    },
  } as unknown as Outbox
  let listener: LogListener | undefined
  let isLogClosed = false
  const source = {
    listen: async (given: LogListener) => {
      listener = given
    },
    close: async () => {
      isLogClosed = true
    },
  } as unknown as Log
  const plane = new LogPlane({
    outbox,
    source,
    listener: {
      told: ({ xid }, { entity, ids }) => void order.push(`told ${xid} ${entity} ${ids.join()}`),
      probed: (_, { xmax }) => void order.push(`probed ${xmax}`),
      proven: (t0, found) => {
        proven.push({ t0, snapshot: found })
        order.push(`proven ${found.xmax}`)
      },
      lost: (reason) => void order.push(`lost ${reason}`),
      stalled: () => void order.push('stalled'),
    },
    clock,
    log: silent,
    pollIntervalMs,
    pollDeadlineMs,
    join: () => Promise.resolve(),
    heard: ({ isRelayDue }) => {
      if (isRelayDue) order.push('relay due')
      return true
    },
  })
  close = async () => {
    const closed = plane.close()
    await clock.settle()
    await closed
  }
  return {
    ...{ clock, asked, order, proven, plane },
    wake: () => wake(),
    isLogClosed: () => isLogClosed,
    listener: () => listener as LogListener,
    answer: async (found: Probe) => {
      asked.at(-1)?.answer.resolve(found)
      await clock.settle()
    },
  }
}

/** Positioned in two partitions; the first probe, of 100, was asked for and answered after that. */
async function started() {
  const all = setUp()
  const start = all.plane.start()
  await all.clock.settle()
  await all.answer(probe(at(50)))
  await start
  all.listener().positioned(2)
  await all.clock.settle()
  await all.answer(probe(at(100)))
  all.order.length = 0
  const { heard } = all.listener()
  return { ...all, heard }
}

test('a probe is proven when every partition has delivered a barrier that covers it', async () => {
  const { heard, order } = await started()
  heard(0, barrier(at(100)))
  heard(0, barrier(at(101)))
  expect(order).toEqual([])
  heard(1, barrier(at(100)))
  expect(order).toEqual(['proven 100'])
  // Once.
  heard(1, barrier(at(102)))
  expect(order).toEqual(['proven 100'])
})

test('barriers that do not cover it prove nothing, from however many partitions', async () => {
  const { heard, order, answer, clock } = await started()
  await clock.advance(pollIntervalMs)
  await answer(probe(snapshot('110:115:112')))
  order.length = 0
  for (const partition of [0, 1]) {
    heard(partition, barrier(at(99)))
    heard(partition, barrier(snapshot('90:200:90')))
    heard(partition, barrier({ ...at(200), incarnation: incarnationB }))
  }
  expect(order).toEqual([])
  for (const partition of [0, 1]) heard(partition, barrier(snapshot('110:200:110')))
  expect(order).toEqual(['proven 100'])
  for (const partition of [0, 1]) heard(partition, barrier(snapshot('112:200:112')))
  expect(order).toEqual(['proven 100', 'proven 115'])
})

test('t0 is the time from before the source was asked, by both clocks', async () => {
  const { heard, proven, answer, asked, clock } = await started()
  await clock.advance(pollIntervalMs)
  const t0 = { monotonicMs: asked.at(-1)?.atMs, wallMs: clock.wallMs() }
  await clock.advance(300)
  clock.stepWall(7_000)
  await answer(probe(at(110)))
  await clock.advance(50)
  for (const partition of [0, 1]) heard(partition, barrier(at(110)))
  expect(proven).toEqual([{ t0, snapshot: at(110) }])
})

test('of several probes that a barrier covers the newest is proven, and later ones may be later', async () => {
  const { heard, order, proven, answer, clock } = await started()
  for (const xmax of [110, 120]) {
    await clock.advance(pollIntervalMs)
    await answer(probe(at(xmax)))
  }
  order.length = 0
  heard(0, barrier(at(120)))
  heard(1, barrier(at(115)))
  expect(order).toEqual(['proven 110'])
  heard(1, barrier(at(120)))
  expect(order).toEqual(['proven 110', 'proven 120'])
  expect(proven[1]?.t0.monotonicMs).toBe((proven[0]?.t0.monotonicMs ?? 0) + pollIntervalMs)
})

test('writes are told as they are heard, before what proves them', async () => {
  const { heard, order } = await started()
  heard(0, write(99, ['1', 'x']))
  heard(0, barrier(at(100)))
  heard(1, write(98))
  heard(1, barrier(at(100)))
  expect(order).toEqual(['told 99 city 1,x', 'told 98 city 1', 'proven 100'])
})

test('before the position is known nothing is told and nothing proven', async () => {
  const { plane, clock, answer, listener, order } = setUp()
  const start = plane.start()
  await clock.settle()
  await answer(probe(at(100)))
  await start
  order.length = 0
  for (const partition of [0, 1]) {
    listener().heard(partition, write(99))
    listener().heard(partition, barrier(at(200)))
  }
  expect(order).toEqual([])
})

test('a probe that was asked for before the position was known is never proven', async () => {
  const { plane, clock, answer, listener, order } = setUp()
  const start = plane.start()
  await clock.settle()
  await answer(probe(at(100)))
  await start
  // One under way when it becomes known, and one that was answered before.
  await clock.advance(pollIntervalMs)
  listener().positioned(1)
  await answer(probe(at(110)))
  order.length = 0
  listener().heard(0, barrier(at(200), 1))
  expect(order).toEqual([])
  // It asks again at once, and that one will do.
  await clock.settle()
  await answer(probe(at(120)))
  listener().heard(0, barrier(at(200), 1))
  expect(order.at(-1)).toBe('proven 120')
})

test.each(['gap', 'rebalance', 'disconnected'] as const)(
  'after %s nothing of before counts: neither probes nor barriers, until it is positioned again',
  async (reason) => {
    const { heard, listener, order, answer, clock } = await started()
    heard(0, barrier(at(100)))
    listener().lost(reason)
    expect(order).toEqual([`lost ${reason}`])
    heard(0, write(99))
    heard(1, barrier(at(100)))
    // Asked for while it is lost.
    await clock.advance(pollIntervalMs)
    await answer(probe(at(110)))
    for (const partition of [0, 1]) heard(partition, barrier(at(200)))
    expect(order).toEqual([`lost ${reason}`, 'stalled', 'probed 110'])
    listener().positioned(2)
    order.length = 0
    for (const partition of [0, 1]) heard(partition, barrier(at(300)))
    expect(order).toEqual([])
    await clock.settle()
    await answer(probe(at(120)))
    order.length = 0
    heard(0, barrier(at(300)))
    expect(order).toEqual([])
    heard(1, barrier(at(300)))
    expect(order).toEqual(['proven 120'])
  },
)

test('positioned anew without a word, what was asked for before proves nothing either', async () => {
  const { heard, listener, order, answer, clock } = await started()
  await clock.advance(pollIntervalMs)
  listener().positioned(2)
  // Of before, and under way since before.
  await answer(probe(at(110)))
  order.length = 0
  for (const partition of [0, 1]) heard(partition, barrier(at(300)))
  expect(order).toEqual([])
})

test('a barrier of another number of partitions empties L1, and the probes under way are forgotten', async () => {
  const { heard, order, answer, clock } = await started()
  heard(0, barrier(at(100)))
  heard(1, barrier(at(100), 3))
  expect(order).toEqual(['lost partitions'])
  heard(1, barrier(at(100)))
  heard(0, barrier(at(100)))
  expect(order).toEqual(['lost partitions'])
  await clock.advance(pollIntervalMs)
  await answer(probe(at(110)))
  for (const partition of [0, 1]) heard(partition, barrier(at(110)))
  expect(order.at(-1)).toBe('proven 110')
})

test('a record that nobody can read may have been a write: L1 is emptied, and probes forgotten', async () => {
  const { heard, order } = await started()
  heard(0, barrier(at(100)))
  heard(0, { kind: 'unreadable' })
  for (const partition of [0, 1]) heard(partition, barrier(at(100)))
  expect(order).toEqual(['lost unreadable'])
})

test('another incarnation empties L1 before anything is probed in it, and forgets the probes of before', async () => {
  const { heard, order, answer, clock } = await started()
  await clock.advance(pollIntervalMs)
  await answer(probe(snapshot('100:100:', incarnationB)))
  expect(order).toEqual(['stalled', 'lost incarnation', 'probed 100'])
  for (const partition of [0, 1]) heard(partition, barrier(at(500)))
  expect(order.length).toBe(3)
  for (const partition of [0, 1]) heard(partition, barrier(snapshot('100:100:', incarnationB)))
  expect(order.at(-1)).toBe('proven 100')
})

test('a probe that fails loses nothing and proves nothing', async () => {
  const { heard, order, asked, clock } = await started()
  await clock.advance(pollIntervalMs)
  asked.at(-1)?.answer.reject(new Error('refused'))
  await clock.settle()
  expect(order).toEqual(['stalled'])
  for (const partition of [0, 1]) heard(partition, barrier(at(100)))
  expect(order).toEqual(['stalled', 'proven 100'])
})

test('an answer that comes after its deadline is not acted on', async () => {
  const { heard, order, asked, clock } = await started()
  await clock.advance(pollIntervalMs)
  const late = asked.at(-1)
  await clock.advance(pollDeadlineMs)
  expect(late?.signal.aborted).toBe(true)
  order.length = 0
  late?.answer.resolve(probe(at(110), { isRelayDue: true }))
  await clock.settle()
  for (const partition of [0, 1]) heard(partition, barrier(at(110)))
  expect(order).toEqual(['proven 100'])
})

test('that nobody relays is heard with the probe', async () => {
  const { order, answer, clock } = await started()
  await clock.advance(pollIntervalMs)
  await answer(probe(at(110), { isRelayDue: true }))
  expect(order).toEqual(['relay due', 'stalled', 'probed 110'])
})

test('a wake-up asks at once', async () => {
  const { wake, asked, clock } = await started()
  const before = asked.length
  wake()
  await clock.settle()
  expect(asked.length).toBe(before + 1)
})

test('however often somebody needs a fresh snapshot, barriers that come late still prove some', async () => {
  const { heard, proven, plane, answer, clock } = await started()
  let xmax = 100
  for (let ms = 0; ms < 2_000; ms++) {
    watch(plane.fresh(new AbortController().signal))
    await clock.advance(1)
    await answer(probe(at(++xmax)))
    // Each barrier is 300 ms old.
    if (ms % 100 === 0) for (const partition of [0, 1]) heard(partition, barrier(at(xmax - 300)))
  }
  const last = proven.at(-1)
  expect(clock.monotonicMs() - (last?.t0.monotonicMs ?? 0)).toBeLessThan(500)
}, 20_000)

test('without barriers probes are forgotten, and do not pile up', async () => {
  const { heard, proven, answer, clock } = await started()
  for (let xmax = 110; xmax < 400; xmax++) {
    await clock.advance(pollIntervalMs)
    await answer(probe(at(xmax)))
  }
  // Too old to prove anything now.
  for (const partition of [0, 1]) heard(partition, barrier(at(380)))
  expect(proven).toEqual([])
  for (const partition of [0, 1]) heard(partition, barrier(at(397)))
  expect(proven.length).toBe(1)
}, 20_000)

test('a close ends the probe under way and the log, and leaves no timer', async () => {
  const { plane, clock, asked, isLogClosed } = await started()
  await clock.advance(pollIntervalMs)
  const fresh = watch(plane.fresh(new AbortController().signal))
  const closed = watch(plane.close())
  await clock.settle()
  expect([closed.state, fresh.state, clock.timers, isLogClosed()]).toEqual([
    ...['resolved', 'rejected', 0, true],
  ])
  expect(asked.at(-1)?.signal.aborted).toBe(true)
})
