import { afterEach, expect, test } from 'vitest'
import type { Plane } from '../../../src/coordinator/plane.ts'
import { Tail } from '../../../src/coordinator/tail.ts'
import type { Reading } from '../../../src/model/clock.ts'
import { silent } from '../../../src/model/log.ts'
import type { Outbox, OutboxRow, Poll } from '../../../src/model/outbox-port.ts'
import type { Snapshot, WriteId, Xid } from '../../../src/model/snapshot.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import type { TrustLoss } from '../../../src/telemetry/events.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const pollIntervalMs = 200
const pollDeadlineMs = 1_000

interface Asked {
  readonly since: Snapshot | undefined
  readonly atMs: number
  readonly answer: Deferred<Poll>
  readonly signal: AbortSignal
}

/** An outbox that answers when, and what, the test says. */
class Answers {
  readonly asked: Asked[] = []
  readonly notified: AbortSignal[] = []
  wake = (): void => {}
  notify = (): Promise<void> => Promise.resolve()
  readonly outbox: Outbox

  constructor(clock: VirtualClock) {
    this.outbox = {
      poll: (since: Snapshot | undefined, signal: AbortSignal) => {
        const answer = deferred<Poll>()
        answer.promise.catch(() => {})
        this.asked.push({ since, signal, atMs: clock.monotonicMs(), answer })
        return answer.promise
      },
      listen: (wake: () => void) => {
        this.wake = wake
      },
      notify: (signal: AbortSignal) => {
        this.notified.push(signal)
        return this.notify()
      },
    } as unknown as Outbox
  }

  get last(): Asked {
    return this.asked.at(-1) as Asked
  }
}

const poll = (options: Partial<Poll> = {}): Poll => ({
  snapshot: snapshot('100:100:'),
  rows: [],
  missed: false,
  isForeign: false,
  isRelayDue: false,
  isAwaited: false,
  pruned: snapshot('1:1:'),
  ...options,
})
const row = (xid: number, ids = ['1']): OutboxRow => ({
  rowId: String(xid),
  xid: xid as Xid,
  entity: 'city',
  ids,
})

let close: (() => Promise<void>) | undefined
afterEach(async () => {
  await close?.()
  close = undefined
})

interface Options {
  readonly wakesOthers?: boolean
  readonly relayIntervalMs?: () => number | undefined
  readonly join?: (signal: AbortSignal) => Promise<void>
  readonly isJoined?: () => boolean
}

function setUp(options: Options = {}) {
  const clock = new VirtualClock()
  const answers = new Answers(clock)
  const order: string[] = []
  const told: { row: { entity: string; ids: readonly string[] }; write: WriteId }[] = []
  const probed: { t0: Reading; snapshot: Snapshot }[] = []
  const proven: { t0: Reading; snapshot: Snapshot }[] = []
  const warnings: string[] = []
  const tail: Plane = new Tail({
    outbox: answers.outbox,
    listener: {
      told: (write, keys) => {
        told.push({ row: keys, write })
        order.push(`told ${write.xid}`)
      },
      probed: (t0, found) => {
        probed.push({ t0, snapshot: found })
        order.push('probed')
      },
      proven: (t0, found) => {
        proven.push({ t0, snapshot: found })
        order.push('proven')
      },
      lost: (reason) => void order.push(`lost ${reason}`),
      stalled: () => void order.push('stalled'),
    },
    clock,
    log: { ...silent, warn: (_details, message) => void warnings.push(message) },
    pollIntervalMs,
    pollDeadlineMs,
    join: options.join ?? (() => Promise.resolve()),
    heard: ({ isAwaited, isRelayDue }) => {
      if (isAwaited) order.push('awaited')
      if (isRelayDue) order.push('relay due')
      return options.isJoined?.() ?? true
    },
    relayIntervalMs: options.relayIntervalMs ?? (() => undefined),
    wakesOthers: options.wakesOthers ?? false,
  })
  close = async () => {
    const closed = tail.close()
    await clock.settle()
    await closed
  }
  return { clock, answers, tail, told, order, warnings, probed, proven }
}

/** A tail whose first poll has been answered. */
async function started(first: Poll = poll(), options: Options = {}) {
  const all = setUp(options)
  const start = all.tail.start()
  await all.clock.settle()
  all.answers.last.answer.resolve(first)
  await start
  await all.clock.settle()
  return all
}

test('the start resolves with the first probe, and rejects when there is none', async () => {
  const { tail, answers, clock, proven } = setUp()
  const start = watch(tail.start())
  await clock.settle()
  expect([start.state, answers.last.since]).toEqual(['pending', undefined])
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect([start.state, proven.length]).toEqual(['resolved', 1])

  const failing = setUp()
  const failed = watch(failing.tail.start())
  await failing.clock.settle()
  failing.answers.last.answer.reject(new Error('refused'))
  await failing.clock.settle()
  expect((failed.error as Error).message).toBe('refused')
})

test('a start that gets no answer rejects at the deadline', async () => {
  const { tail, clock } = setUp()
  const start = watch(tail.start())
  await clock.advance(pollDeadlineMs)
  expect(start.error).toMatchObject({ code: 'SOURCE_TIMEOUT', retryable: true })
})

test('each poll asks for what its predecessor did not see', async () => {
  const { clock, answers } = await started()
  for (const xid of [110, 120, 130]) {
    await clock.advance(pollIntervalMs)
    answers.last.answer.resolve(poll({ snapshot: snapshot(`${xid}:${xid}:`) }))
  }
  await clock.advance(pollIntervalMs)
  expect(answers.asked.map(({ since }) => since?.xmin)).toEqual([undefined, 100, 110, 120, 130])
})

test('the probe counts from before it was asked for, by both clocks, however late the answer comes', async () => {
  const { clock, answers, proven, probed } = await started()
  await clock.advance(pollIntervalMs)
  const askedAtMs = answers.last.atMs
  const wallMs = clock.wallMs()
  await clock.advance(700)
  // Somebody sets the wall clock meanwhile.
  clock.stepWall(5_000)
  answers.last.answer.resolve(poll({ snapshot: snapshot('110:110:') }))
  await clock.settle()
  const last = { t0: { monotonicMs: askedAtMs, wallMs }, snapshot: snapshot('110:110:') }
  expect([proven.at(-1), probed.at(-1)]).toEqual([last, last])
})

test('an instance says that it runs before it asks for what it will trust in', async () => {
  const joined = deferred<void>()
  const { clock, answers, tail } = setUp({ join: () => joined.promise })
  const start = watch(tail.start())
  await clock.settle()
  expect(answers.asked).toEqual([])
  joined.resolve()
  await clock.settle()
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect(start.state).toBe('resolved')

  const unknown = setUp({ join: () => Promise.reject(new Error('refused')) })
  const failed = watch(unknown.tail.start())
  await unknown.clock.settle()
  expect([failed.state, unknown.answers.asked.length, unknown.proven]).toEqual(['rejected', 0, []])
})

test('where a crash may have forgotten that it runs, it says so again, and asks again before it trusts', async () => {
  const order: string[] = []
  let isJoined = true
  const join = async (): Promise<void> => {
    order.push('joined')
    isJoined = true
  }
  const { clock, answers, proven } = await started(poll(), { join, isJoined: () => isJoined })
  const before = proven.length
  await clock.advance(pollIntervalMs)
  const askedAtMs = clock.monotonicMs()
  isJoined = false
  await clock.advance(10)
  answers.last.answer.resolve(poll({ snapshot: snapshot('110:110:') }))
  await clock.settle()
  expect([order, proven.length]).toEqual([['joined', 'joined', 'joined'], before])
  answers.last.answer.resolve(poll({ snapshot: snapshot('111:111:') }))
  await clock.settle()
  expect(proven.at(-1)).toMatchObject({
    t0: { monotonicMs: askedAtMs },
    snapshot: snapshot('111:111:'),
  })
})

test('L1 is told of every row before anything is proven by the poll, and what came along before that', async () => {
  const { order, told } = await started(
    poll({ rows: [row(97), row(98, ['2', 'x'])], isAwaited: true, isRelayDue: true }),
  )
  expect(order.filter((one) => one !== 'stalled')).toEqual([
    ...['awaited', 'relay due', 'told 97', 'told 98', 'probed', 'proven'],
  ])
  expect(told[1]).toEqual({
    row: { entity: 'city', ids: ['2', 'x'] },
    write: { incarnation: incarnationA, xid: 98 },
  })
})

test.each<[gap: string, reason: TrustLoss, since: Snapshot, next: Partial<Poll>]>([
  [
    'another incarnation of the database',
    'incarnation',
    snapshot('100:100:'),
    { snapshot: snapshot('100:100:', incarnationB), pruned: snapshot('1:1:', incarnationB) },
  ],
  [
    'rows that were removed before they were read',
    'pruned',
    snapshot('100:100:'),
    { snapshot: snapshot('300:300:'), pruned: snapshot('101:101:') },
  ],
  [
    'a removed row of a transaction that was open at the last poll',
    'pruned',
    snapshot('90:100:90,95'),
    { snapshot: snapshot('300:300:'), pruned: snapshot('95:100:95') },
  ],
  [
    'more rows than a poll returns',
    'too-many-rows',
    snapshot('100:100:'),
    { snapshot: snapshot('300:300:'), rows: [row(150)], missed: true },
  ],
])('a gap empties L1 before anything else: %s', async (_, reason, since, next) => {
  const { clock, answers, order, proven } = await started(poll({ snapshot: since }))
  order.length = 0
  await clock.advance(pollIntervalMs)
  answers.last.answer.resolve(poll(next))
  await clock.settle()
  const told = next.rows?.map(({ xid }) => `told ${xid}`) ?? []
  // What was polled is a probe all the same: L1 starts anew under it.
  expect(order).toEqual(['stalled', `lost ${reason}`, ...told, 'probed', 'proven'])
  expect(proven.at(-1)?.snapshot).toEqual(next.snapshot)
})

test('the first poll has no gap: it asks for no rows, so none can be missing', async () => {
  const { order } = await started(poll({ pruned: snapshot('100:100:') }))
  expect(order).not.toContain('lost pruned')
})

test('what was removed and the last poll had seen is no gap', async () => {
  const { clock, answers, order } = await started(poll({ snapshot: snapshot('100:100:') }))
  await clock.advance(pollIntervalMs)
  const pruned = snapshot('90:100:90')
  answers.last.answer.resolve(poll({ pruned, snapshot: snapshot('300:300:') }))
  await clock.settle()
  expect(order.filter((one) => one.startsWith('lost'))).toEqual([])
})

test('a poll that fails loses nothing and proves nothing, and the next asks for all since the last answer', async () => {
  const { clock, answers, order, proven } = await started()
  await clock.advance(pollIntervalMs)
  order.length = 0
  answers.last.answer.reject(new Error('connection reset'))
  await clock.advance(2 * pollIntervalMs)
  expect(order).toEqual(['stalled'])
  expect(answers.last.since).toEqual(snapshot('100:100:'))
  answers.last.answer.resolve(poll({ snapshot: snapshot('200:200:') }))
  await clock.settle()
  expect(proven.map(({ snapshot }) => snapshot.xmin)).toEqual([100, 200])
})

test('an answer that comes after its deadline is not acted on', async () => {
  const { clock, answers, told, proven } = await started()
  await clock.advance(pollIntervalMs)
  const late = answers.last
  await clock.advance(pollDeadlineMs)
  expect(late.signal.aborted).toBe(true)
  late.answer.resolve(poll({ rows: [row(150)], snapshot: snapshot('200:200:') }))
  await clock.settle()
  expect(told).toEqual([])
  expect(proven.length).toBe(1)
})

test('whoever relays looks more often where nobody else tells the others', async () => {
  for (const [wakesOthers, polls] of [
    [true, 5],
    [false, 1],
  ] as const) {
    const { clock, answers } = await started(poll(), { wakesOthers, relayIntervalMs: () => 40 })
    for (let step = 0; step < 5; step++) {
      await clock.advance(40)
      answers.last.answer.resolve(poll())
      await clock.settle()
    }
    expect(answers.asked.length).toBe(1 + polls)
    await close?.()
  }
})

test('whoever relays wakes the others for what has no writer to tell of it, and nobody else does', async () => {
  for (const [relayIntervalMs, isForeign, times] of [
    [40, true, 1],
    [40, false, 0],
    [undefined, true, 0],
  ] as const) {
    const { answers } = await started(poll({ isForeign }), {
      wakesOthers: true,
      relayIntervalMs: () => relayIntervalMs,
    })
    expect(answers.notified.length).toBe(times)
    await close?.()
  }
})

test('others that can not be woken hold up nothing', async () => {
  const options = { wakesOthers: true, relayIntervalMs: () => 40 }
  const all = setUp(options)
  const { clock, answers, tail, proven } = all
  answers.notify = () => Promise.reject(new Error('refused'))
  const start = tail.start()
  await clock.settle()
  answers.last.answer.resolve(poll({ isForeign: true }))
  await clock.settle()
  await start
  answers.notify = () => new Promise(() => {})
  await clock.advance(40)
  answers.last.answer.resolve(poll({ isForeign: true }))
  await clock.settle()
  expect([answers.notified.length, proven.length]).toEqual([2, 2])
  // Nor does a close wait for them, or leave them waiting.
  const closed = watch(tail.close())
  await clock.settle()
  expect([closed.state, clock.timers, answers.notified.at(-1)?.aborted]).toEqual([
    ...['resolved', 0, true],
  ])
})

test('who is woken polls at once, and however often that is, a hundred times a second at most', async () => {
  const { clock, answers } = await started()
  const before = answers.asked.length
  answers.wake()
  await clock.settle()
  expect(answers.asked.length).toBe(before + 1)
  for (let ms = 0; ms < 200; ms++) {
    answers.wake()
    answers.last.answer.resolve(poll())
    await clock.advance(1)
  }
  expect(answers.asked.length - before).toBeLessThanOrEqual(22)
  expect(answers.asked.length - before).toBeGreaterThan(15)
})

test('a wake-up that comes too soon is not lost', async () => {
  const { clock, answers } = await started()
  answers.wake()
  await clock.settle()
  answers.last.answer.resolve(poll())
  await clock.settle()
  const before = answers.asked.length
  answers.wake()
  await clock.settle()
  expect(answers.asked.length).toBe(before)
  await clock.advance(10)
  expect(answers.asked.length).toBe(before + 1)
})

test('who is woken after a close does nothing, and leaves no timer', async () => {
  const { clock, answers } = await started()
  answers.wake()
  await clock.settle()
  await close?.()
  const before = answers.asked.length
  answers.wake()
  answers.wake()
  await clock.advance(5)
  expect([answers.asked.length, clock.timers]).toEqual([before, 0])
})

test('a failing outbox is asked once an interval, and the log says so once', async () => {
  const { clock, answers, warnings } = await started()
  const before = answers.asked.length
  for (let ms = 0; ms < 5_000; ms += 50) {
    answers.last.answer.reject(new Error('refused'))
    await clock.advance(50)
  }
  expect(answers.asked.length - before).toBeLessThanOrEqual(5_000 / pollIntervalMs)
  expect(answers.asked.length - before).toBeGreaterThan(5)
  expect(warnings).toHaveLength(1)
})

test('a failing outbox is not asked in a tight loop by those who need a snapshot', async () => {
  const { clock, answers, tail } = await started()
  const before = answers.asked.length
  for (let ms = 0; ms < 2_000; ms += 10) {
    watch(tail.fresh(new AbortController().signal))
    answers.last.answer.reject(new Error('refused'))
    await clock.advance(10)
  }
  expect(answers.asked.length - before).toBeLessThanOrEqual(2_000 / pollIntervalMs + 1)
})

test('who asks for a snapshot gets one at once, not at the next interval', async () => {
  const { clock, answers, tail } = await started()
  const before = answers.asked.length
  const fresh = watch(tail.fresh(new AbortController().signal))
  await clock.settle()
  expect(answers.asked.length).toBe(before + 1)
  answers.last.answer.resolve(poll({ snapshot: snapshot('200:200:') }))
  await clock.settle()
  expect(fresh.value).toEqual(snapshot('200:200:'))
})

test('a fresh snapshot was never asked for before the call', async () => {
  const { clock, answers, tail } = await started()
  await clock.advance(pollIntervalMs)
  const early = answers.last
  const fresh = watch(tail.fresh(new AbortController().signal))
  await clock.settle()
  // The poll that was under way comes back after the call: it was sent before.
  early.answer.resolve(poll({ snapshot: snapshot('150:150:') }))
  await clock.settle()
  expect(fresh.state).toBe('pending')
  expect(answers.last).not.toBe(early)
  answers.last.answer.resolve(poll({ snapshot: snapshot('200:200:') }))
  await clock.settle()
  expect(fresh.value).toEqual(snapshot('200:200:'))
})

test('many who ask at once share one poll', async () => {
  const { clock, answers, tail } = await started()
  const before = answers.asked.length
  const all = Array.from({ length: 100 }, () => watch(tail.fresh(new AbortController().signal)))
  await clock.settle()
  answers.last.answer.resolve(poll({ snapshot: snapshot('200:200:') }))
  await clock.settle()
  expect(answers.asked.length).toBe(before + 1)
  expect(all.every(({ value }) => value?.xmin === 200)).toBe(true)
})

test('who asks is told when the poll fails, and may ask again', async () => {
  const { clock, answers, tail } = await started()
  const first = watch(tail.fresh(new AbortController().signal))
  await clock.settle()
  answers.last.answer.reject(new Error('refused'))
  await clock.settle()
  expect((first.error as Error).message).toBe('refused')
  const second = watch(tail.fresh(new AbortController().signal))
  await clock.advance(2 * pollIntervalMs)
  answers.last.answer.resolve(poll({ snapshot: snapshot('200:200:') }))
  await clock.settle()
  expect(second.value).toEqual(snapshot('200:200:'))
})

test('who asks may go before the answer comes', async () => {
  const { clock, answers, tail } = await started()
  const controller = new AbortController()
  const fresh = watch(tail.fresh(controller.signal))
  await clock.settle()
  controller.abort('gone')
  await clock.settle()
  expect(fresh.error).toBe('gone')
  answers.last.answer.reject(new Error('nobody hears this'))
  await clock.settle()
})

test('a close ends the poll under way, whoever waits for a snapshot, and every timer', async () => {
  const { clock, answers, tail } = await started()
  const early = watch(tail.fresh(new AbortController().signal))
  await clock.settle()
  const late = watch(tail.fresh(new AbortController().signal))
  const closed = watch(tail.close())
  await clock.settle()
  expect([closed.state, early.state, late.state]).toEqual(['resolved', 'rejected', 'rejected'])
  expect(answers.last.signal.aborted).toBe(true)
  expect(clock.timers).toBe(0)
  const after = watch(tail.fresh(new AbortController().signal))
  await clock.settle()
  expect(after.state).toBe('rejected')
})

test('a close during the pause after a failure waits for nothing', async () => {
  const { clock, answers, tail } = await started()
  await clock.advance(pollIntervalMs)
  answers.last.answer.reject(new Error('refused'))
  await clock.settle()
  const closed = watch(tail.close())
  await clock.settle()
  expect([closed.state, clock.timers]).toEqual(['resolved', 0])
})

test('a tail that was never started can be closed', async () => {
  const { tail } = setUp()
  await tail.close()
})

test('that time has passed is told with each answer and each failure, before what it proves', async () => {
  const { clock, answers, order } = await started()
  order.length = 0
  await clock.advance(pollIntervalMs)
  // No timer ends trust: the process was stopped.
  clock.stop(5_000)
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect(order).toEqual(['stalled', 'probed', 'proven'])
  order.length = 0
  for (let time = 0; time < 3; time++) {
    await clock.advance(pollIntervalMs)
    answers.last.answer.reject(new Error('refused'))
    await clock.advance(pollIntervalMs)
  }
  expect(order).toEqual(['stalled', 'stalled', 'stalled'])
})
