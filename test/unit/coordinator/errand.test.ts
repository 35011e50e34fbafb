import { afterEach, expect, test } from 'vitest'
import type { RelayDestination } from '../../../src/coordinator/destinations.ts'
import { Errand } from '../../../src/coordinator/errand.ts'
import { silent } from '../../../src/model/log.ts'
import type { Claim, Destination, Outbox, OutboxRow, Owed } from '../../../src/model/outbox-port.ts'
import type { Snapshot, Xid } from '../../../src/model/snapshot.ts'
import { deferred } from '../../../src/resilience/deadline.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const minAgeMs = 100
const barrierIntervalMs = 200
const deadlineMs = 1_000
const restMs = 250

const at = (xmax: number, incarnation = incarnationA): Snapshot =>
  snapshot(`${xmax}:${xmax}:`, incarnation)
const row = (rowId: string): OutboxRow => ({ rowId, xid: 7 as Xid, entity: 'city', ids: ['1'] })
const claimOf = (...rowIds: string[]): Claim => ({
  incarnation: incarnationA,
  rows: rowIds.map(row),
  versions: new Map(),
})
const nobody: Owed = { rows: 0, oldestMs: 0, isTold: false }

let end: (() => Promise<void>) | undefined
afterEach(async () => {
  await end?.()
  end = undefined
})

interface Options {
  /** What each claim finds, one after the other. */
  readonly claims?: (Claim | Error | 'hangs')[]
  readonly tell?: (claim: Claim, signal: AbortSignal) => Promise<readonly string[]>
  readonly barrier?: () => Promise<void>
}

function setUp({ claims = [], tell, barrier }: Options = {}) {
  const clock = new VirtualClock()
  const claimed: unknown[] = []
  const marked: (readonly string[])[] = []
  const barriers: { xmax: number; atMs: number }[] = []
  const levels: string[] = []
  const outbox = {
    claim: async (
      destination: Destination,
      ageMs: number,
      run: (claim: Claim) => Promise<readonly string[]>,
    ) => {
      claimed.push([destination, ageMs])
      const found = claims.shift()
      if (found === 'hangs') return new Promise(() => {})
      if (found instanceof Error) throw found
      if (!found) return 0
      const told = await run(found)
      marked.push(told)
      return told.length
    },
  } as unknown as Outbox
  const destination: RelayDestination = {
    name: 'log',
    tell: tell ?? (async ({ rows }) => rows.map(({ rowId }) => rowId)),
    barrier: async ({ xmax }) => {
      barriers.push({ xmax, atMs: clock.monotonicMs() })
      await barrier?.()
    },
  }
  const closing = new AbortController()
  const errand = new Errand({
    destination,
    outbox,
    clock,
    log: {
      ...silent,
      warn: () => void levels.push('warn'),
      debug: () => void levels.push('debug'),
    },
    minAgeMs,
    barrierIntervalMs,
    deadlineMs,
    closing: closing.signal,
  })
  end = async () => {
    closing.abort(new Error('closed'))
    const ended = watch(errand.ended())
    await clock.advance(deadlineMs)
    expect(ended.state).toBe('resolved')
  }
  /** What the source says of this destination; `owed`: rows, and whether all that was asked for is told. */
  const progress = async (snapshot: Snapshot, rows = 0, isTold = false): Promise<void> => {
    const owed = { rows, oldestMs: 0, isTold }
    errand.consider({ snapshot, owed: { l2: nobody, log: owed }, repeated: at(1) })
    await clock.settle()
  }
  const written = () => barriers.map(({ xmax }) => xmax)
  return { clock, errand, progress, claimed, marked, barriers, written, levels, closing }
}

test('with no row left the snapshot that says so is the barrier', async () => {
  const { progress, written, claimed } = setUp()
  await progress(at(100))
  expect([written(), claimed]).toEqual([[100], []])
})

test('with rows left no barrier is written before a snapshot of before is told to the end', async () => {
  const { progress, written, errand, clock } = setUp()
  await progress(at(100), 3)
  expect([written(), errand.asked]).toEqual([[], at(100)])
  await clock.advance(barrierIntervalMs)
  // Others have come, and what it asked about is not done.
  await progress(at(110), 5)
  expect([written(), errand.asked]).toEqual([[], at(100)])
  await clock.advance(barrierIntervalMs)
  await progress(at(120), 2, true)
  // Not what is seen now: some of that is not told yet.
  expect([written(), errand.asked]).toEqual([[100], at(120)])
})

test('barriers come once an interval, and each is the newest that is ready', async () => {
  const { progress, barriers, clock } = setUp()
  for (let xmax = 100; xmax < 120; xmax++) {
    await progress(at(xmax))
    await clock.advance(40)
  }
  const times = barriers.map(({ atMs }) => atMs)
  expect(barriers.map(({ xmax }) => xmax)).toEqual([100, 105, 110, 115])
  for (const [index, ms] of times.entries()) {
    expect(ms - (times[0] as number)).toBe(index * barrierIntervalMs)
  }
})

test('one barrier is under way at a time', async () => {
  const written = deferred<void>()
  const { progress, written: xmaxes, clock } = setUp({ barrier: () => written.promise })
  await progress(at(100))
  await clock.advance(barrierIntervalMs)
  await progress(at(110))
  expect(xmaxes()).toEqual([100])
  written.resolve()
  await clock.settle()
  await progress(at(120))
  expect(xmaxes()).toEqual([100, 120])
})

test('a barrier that fails is tried again, with what is ready then; it is logged once', async () => {
  const { progress, written, clock, levels } = setUp({
    barrier: () => Promise.reject(new Error('down')),
  })
  for (const xmax of [100, 110, 120]) {
    await progress(at(xmax))
    await clock.advance(barrierIntervalMs)
  }
  expect(written()).toEqual([100, 110, 120])
  expect(levels).toEqual(['warn', 'debug', 'debug'])
})

test('rows are claimed as long as there are some that can be told, and their age is given', async () => {
  const { progress, claimed, marked } = setUp({ claims: [claimOf('1', '2'), claimOf('3')] })
  await progress(at(100), 3)
  expect(claimed).toEqual([
    ['log', minAgeMs],
    ['log', minAgeMs],
    ['log', minAgeMs],
  ])
  expect(marked).toEqual([['1', '2'], ['3']])
})

test('young rows are left to their writers: it looks again with the next progress', async () => {
  const { progress, claimed, clock } = setUp()
  for (let times = 1; times <= 3; times++) {
    await progress(at(100), 1)
    expect(claimed.length).toBe(times)
    await clock.advance(40)
  }
})

test('a destination that can be told of nothing is left alone for a while', async () => {
  const claims = Array.from({ length: 10 }, () => claimOf('1'))
  const { progress, claimed, marked, clock } = setUp({ claims, tell: async () => [] })
  for (let ms = 0; ms < 2 * restMs; ms += 50) {
    await progress(at(100), 1)
    await clock.advance(50)
  }
  expect([claimed.length, marked]).toEqual([2, [[], []]])
})

test('an outbox that fails or hangs is asked again later, and holds up no barrier', async () => {
  const { progress, claimed, clock, written, levels } = setUp({
    claims: [new Error('locked'), 'hangs'],
  })
  await progress(at(100), 1)
  expect([claimed.length, levels]).toEqual([1, ['warn']])
  await clock.advance(restMs)
  await progress(at(110), 1)
  expect(claimed.length).toBe(2)
  await clock.advance(barrierIntervalMs)
  await progress(at(120), 1, true)
  expect(written()).toEqual([100])
  await clock.advance(deadlineMs)
  await progress(at(130), 1)
  expect(claimed.length).toBe(3)
})

test('a claim that takes long is told to stop well before the deadline, and what was told is marked', async () => {
  const { progress, marked, clock } = setUp({
    claims: [claimOf('1', '2', '3', '4', '5', '6', '7', '8')],
    tell: async ({ rows }, signal) => {
      const told: string[] = []
      for (const { rowId } of rows) {
        if (signal.aborted) break
        await new Promise<void>((resolve) => clock.after(deadlineMs / 10, resolve))
        told.push(rowId)
      }
      return told
    },
  })
  await progress(at(100), 8)
  await clock.advance(0.7 * deadlineMs)
  expect(marked[0]).toEqual(['1', '2', '3', '4', '5'])
})

test('what was asked about in another incarnation is asked about anew', async () => {
  const { progress, errand, written } = setUp()
  await progress(at(100), 3)
  await progress(at(50, incarnationB), 3)
  expect([errand.asked, written()]).toEqual([at(50, incarnationB), []])
})

test('who begins anew knows nothing of before: somebody else has relayed meanwhile', async () => {
  const { progress, errand, written } = setUp()
  await progress(at(100), 3)
  errand.begin()
  expect(errand.asked).toBeUndefined()
  await progress(at(110), 1)
  expect(written()).toEqual([])
})

test('a close ends what is under way without a word, and leaves no timer', async () => {
  const { progress, clock, levels, closing, errand } = setUp({ claims: ['hangs'] })
  await progress(at(100), 1)
  closing.abort(new Error('closed'))
  const ended = watch(errand.ended())
  await clock.settle()
  expect([ended.state, levels, clock.timers]).toEqual(['resolved', [], 0])
})
