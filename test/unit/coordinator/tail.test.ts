import { afterEach, expect, test } from 'vitest'
import { Tail } from '../../../src/coordinator/tail.ts'
import { Trust } from '../../../src/coordinator/trust.ts'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../../src/memory/region.ts'
import { silent } from '../../../src/model/log.ts'
import type { Outbox, OutboxRow, Poll, Region } from '../../../src/model/ports.ts'
import type { Snapshot, WriteId, Xid } from '../../../src/model/snapshot.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import type { TrustChange, TrustLoss } from '../../../src/telemetry/events.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const pollIntervalMs = 200
const pollDeadlineMs = 1_000
const boundMs = 1_000

interface Asked {
  readonly since: Snapshot | undefined
  readonly atMs: number
  readonly answer: Deferred<Poll>
  readonly signal: AbortSignal
}

/** An outbox that answers when, and what, the test says. */
class Answers {
  readonly asked: Asked[] = []
  readonly outbox: Outbox

  constructor(clock: VirtualClock) {
    this.outbox = {
      poll: (since: Snapshot | undefined, signal: AbortSignal) => {
        const answer = deferred<Poll>()
        answer.promise.catch(() => {})
        this.asked.push({ since, signal, atMs: clock.monotonicMs(), answer })
        return answer.promise
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
  missedNew: false,
  missedUnapplied: false,
  pruned: snapshot('1:1:'),
  ...options,
})
const row = (xid: number, applied = true, ids = ['1']): OutboxRow => ({
  rowId: String(xid),
  xid: xid as Xid,
  entity: 'city',
  ids,
  applied,
})

let close: (() => Promise<void>) | undefined
afterEach(async () => {
  await close?.()
  close = undefined
})

function setUp() {
  const clock = new VirtualClock()
  const answers = new Answers(clock)
  const settled: { floor: Snapshot; unapplied: ReadonlySet<Xid> | undefined }[] = []
  const order: string[] = []
  const region = {
    settle: (floor: Snapshot, unapplied: ReadonlySet<Xid> | undefined) => {
      settled.push({ floor, unapplied })
      order.push('settle')
    },
    reset: () => order.push('reset'),
  } as unknown as Region
  const changes: TrustChange[] = []
  const changed = (change: TrustChange) => void changes.push(change)
  const trust = new Trust({ regions: [region], boundMs, floorLagMs: 0, changed })
  const told: { row: OutboxRow; write: WriteId }[] = []
  const news: Xid[] = []
  const warnings: string[] = []
  const tail = new Tail({
    outbox: answers.outbox,
    trust,
    told: (one, write, isNew) => {
      told.push({ row: one, write })
      if (isNew) news.push(one.xid)
      order.push(`told ${one.xid}`)
    },
    clock,
    log: { ...silent, warn: (_details, message) => void warnings.push(message) },
    pollIntervalMs,
    pollDeadlineMs,
  })
  close = async () => {
    const closed = tail.close()
    await clock.settle()
    await closed
  }
  const now = () => ({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() })
  return { clock, answers, trust, tail, told, news, settled, order, warnings, changes, now }
}

/** A tail whose first poll has been answered. */
async function started(first: Poll = poll()) {
  const all = setUp()
  const start = all.tail.start()
  all.answers.last.answer.resolve(first)
  await start
  await all.clock.settle()
  return all
}

test('the start resolves with the first probe, and rejects when there is none', async () => {
  const { tail, answers, clock, trust } = setUp()
  const start = watch(tail.start())
  await clock.settle()
  expect([start.state, answers.last.since]).toEqual(['pending', undefined])
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect([start.state, trust.newest]).toEqual(['resolved', snapshot('100:100:')])

  const failing = setUp()
  const failed = watch(failing.tail.start())
  failing.answers.last.answer.reject(new Error('refused'))
  await failing.clock.settle()
  expect((failed.error as Error).message).toBe('refused')
})

test('a start that gets no answer rejects at the deadline', async () => {
  const { tail, clock } = setUp()
  const start = watch(tail.start())
  await clock.advance(pollDeadlineMs)
  expect(start.state).toBe('rejected')
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

test('the probe counts from before it was asked for, however late the answer comes', async () => {
  const { clock, answers, trust, now } = await started()
  await clock.advance(pollIntervalMs)
  const askedAtMs = answers.last.atMs
  await clock.advance(700)
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect(now().monotonicMs).toBe(askedAtMs + 700)
  expect(trust.ageMs(now())).toBe(700)
  await clock.advance(boundMs - 700)
  expect(trust.isProven(now())).toBe(true)
  clock.stop(0.1)
  expect(trust.isProven(now())).toBe(false)
})

test('both clocks are read before the poll: a wall clock set during it proves nothing more', async () => {
  const { clock, answers, trust, now } = await started()
  await clock.advance(pollIntervalMs)
  clock.stepWall(boundMs + 1)
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect(trust.isProven(now())).toBe(false)
})

test('L1 is told of every row before anything is proven by the poll', async () => {
  const { order, told } = await started(
    poll({ rows: [row(97), row(98, false)], snapshot: snapshot('100:100:', incarnationA) }),
  )
  expect(order).toEqual(['told 97', 'told 98', 'settle'])
  expect(told[1]).toEqual({ row: row(98, false), write: { incarnation: incarnationA, xid: 98 } })
})

test('the regions learn which writes L2 was not told of, and when that is not known', async () => {
  const { clock, answers, settled, tail } = await started(
    poll({ rows: [row(97), row(98, false), row(99, false)] }),
  )
  expect(settled.at(-1)?.unapplied).toEqual(new Set([98, 99]))
  expect(tail.unapplied).toBe(2)
  await clock.advance(pollIntervalMs)
  answers.last.answer.resolve(poll({ rows: [row(98, false)], missedUnapplied: true }))
  await clock.settle()
  expect(settled.at(-1)?.unapplied).toBeUndefined()
})

test('after more new rows than a poll returns nobody knows which of them L2 was not told of', async () => {
  // What `missedUnapplied` counts are old rows; those that are new and left out may be unapplied too.
  const { clock, answers, settled } = await started()
  await clock.advance(pollIntervalMs)
  answers.last.answer.resolve(poll({ rows: [row(101)], missedNew: true, missedUnapplied: false }))
  await clock.settle()
  expect(settled.at(-1)?.unapplied).toBeUndefined()
})

test('after an overflow a value that L2 was not yet told to drop does not enter L1', async () => {
  const clock = new VirtualClock()
  const answers = new Answers(clock)
  const region = new L1Region({ maxEntries: 10, maxBytes: 1e6 }, new S3Fifo(10))
  const trust = new Trust({ regions: [region], boundMs, floorLagMs: 0, changed: () => {} })
  const told = (one: OutboxRow, write: WriteId) => {
    for (const id of one.ids) region.told(Number(id), write, !one.applied)
  }
  const log = silent
  const tail = new Tail({
    outbox: answers.outbox,
    trust,
    told,
    clock,
    log,
    pollIntervalMs,
    pollDeadlineMs,
  })
  close = () => tail.close()
  const start = tail.start()
  answers.last.answer.resolve(poll({ snapshot: snapshot('100:100:') }))
  await start
  await clock.advance(pollIntervalMs)
  // 100 to 199 were written, unapplied; the poll returned some, and not that of id 7.
  const some = { snapshot: snapshot('200:200:'), rows: [row(150, false, ['1'])], missedNew: true }
  answers.last.answer.resolve(poll(some))
  await clock.settle()
  const old = {
    value: 'of before the write',
    isShared: true,
    snapshot: snapshot('100:100:'),
    loadedAtMs: 0,
    freshUntilMs: 1e9,
    weightBytes: 1,
  }
  expect(region.fillFromL2(7, old, region.mark)).toBe(false)
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
    { snapshot: snapshot('300:300:'), rows: [row(150)], missedNew: true },
  ],
])('a gap empties L1 before anything else: %s', async (_, reason, since, next) => {
  const gap = await started(poll({ snapshot: since }))
  const { clock, answers, order, trust, warnings, changes, now } = gap
  order.length = 0
  await clock.advance(pollIntervalMs)
  answers.last.answer.resolve(poll(next))
  await clock.settle()
  expect(order[0]).toBe('reset')
  expect(order.at(-1)).toBe('settle')
  expect(warnings).toHaveLength(1)
  // What was polled is a probe all the same: L1 starts anew under it.
  expect(changes.slice(1)).toEqual([{ state: 'lost', reason }, { state: 'gained' }])
  expect(trust.newest).toEqual(next.snapshot)
  expect(trust.isProven(now())).toBe(true)
})

test('what was removed and the last poll had seen is no gap, nor is an unapplied overflow', async () => {
  const { clock, answers, order } = await started(poll({ snapshot: snapshot('100:100:') }))
  await clock.advance(pollIntervalMs)
  const pruned = snapshot('90:100:90')
  answers.last.answer.resolve(poll({ pruned, snapshot: snapshot('300:300:') }))
  await clock.advance(pollIntervalMs)
  answers.last.answer.resolve(poll({ missedUnapplied: true, snapshot: snapshot('300:300:') }))
  await clock.settle()
  expect(order).not.toContain('reset')
})

test('a poll that fails empties nothing; L1 is unproven when B is over, and proven by the next poll', async () => {
  const { clock, answers, order, trust, now } = await started()
  await clock.advance(pollIntervalMs)
  answers.last.answer.reject(new Error('connection reset'))
  await clock.advance(2 * pollIntervalMs)
  expect(order).not.toContain('reset')
  expect(trust.isProven(now())).toBe(true)
  await clock.advance(boundMs - 2 * pollIntervalMs)
  expect(trust.isProven(now())).toBe(false)
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect(trust.isProven(now())).toBe(true)
})

test('an answer that comes after its deadline is not acted on', async () => {
  const { clock, answers, told, trust } = await started()
  await clock.advance(pollIntervalMs)
  const late = answers.last
  await clock.advance(pollDeadlineMs)
  expect(late.signal.aborted).toBe(true)
  late.answer.resolve(poll({ rows: [row(150)], snapshot: snapshot('200:200:') }))
  await clock.settle()
  expect(told).toEqual([])
  expect(trust.newest).toEqual(snapshot('100:100:'))
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

test('a row is new once: not when it comes again unapplied, nor out of the first poll', async () => {
  const { clock, answers, news } = await started(poll({ rows: [row(98), row(99, false)] }))
  expect(news).toEqual([])
  for (const rows of [
    [row(99, false), row(101, false)],
    [row(101, false), row(111)],
  ]) {
    await clock.advance(pollIntervalMs)
    answers.last.answer.resolve(poll({ rows, snapshot: snapshot('110:110:') }))
    await clock.settle()
  }
  expect(news).toEqual([101, 111])
})

test('the backlog is as old as its oldest write has been seen here, polls or no polls', async () => {
  const { clock, answers, tail, now } = await started(poll({ rows: [row(98, false)] }))
  const age = () => tail.oldestUnappliedMs(now().monotonicMs)
  await clock.advance(pollIntervalMs)
  answers.last.answer.resolve(poll({ rows: [row(98, false), row(99, false)] }))
  await clock.settle()
  expect(age()).toBe(pollIntervalMs)
  await clock.advance(pollIntervalMs)
  answers.last.answer.reject(new Error('refused'))
  await clock.advance(2 * pollIntervalMs)
  expect(age()).toBe(4 * pollIntervalMs)
  answers.last.answer.resolve(poll({ rows: [row(99, false)] }))
  await clock.settle()
  expect(age(), 'of the other, which came a poll later').toBe(3 * pollIntervalMs)
  await clock.advance(pollIntervalMs)
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect(age()).toBe(0)
})

test('the same xid of another life of the database is another write', async () => {
  const { clock, answers, tail, now } = await started(poll({ rows: [row(98, false)] }))
  await clock.advance(pollIntervalMs)
  const other = snapshot('100:100:', incarnationB)
  const pruned = snapshot('1:1:', incarnationB)
  answers.last.answer.resolve(poll({ snapshot: other, pruned, rows: [row(98, false)] }))
  await clock.settle()
  expect(tail.oldestUnappliedMs(now().monotonicMs)).toBe(0)
})

test('trust that ran out between two polls is told, also when the second brings it back', async () => {
  const { clock, answers, changes } = await started()
  await clock.advance(pollIntervalMs)
  // No timer ends this: the process was stopped.
  clock.stop(boundMs + 1)
  answers.last.answer.resolve(poll())
  await clock.settle()
  expect(changes).toEqual([
    { state: 'gained' },
    { state: 'lost', reason: 'expired' },
    { state: 'gained' },
  ])
})

test('trust that runs out while polls fail is told by the next that fails', async () => {
  const { clock, answers, changes } = await started()
  for (let time = 0; time < 6 && changes.length < 2; time++) {
    await clock.advance(pollIntervalMs)
    answers.last.answer.reject(new Error('refused'))
    await clock.advance(pollIntervalMs)
  }
  expect(changes.slice(1)).toEqual([{ state: 'lost', reason: 'expired' }])
})
