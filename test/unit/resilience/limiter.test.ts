import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { fixedLimit, Limiter, Turn } from '../../../src/resilience/limiter.ts'
import { quiet, VirtualClock, type Watched, watch } from '../../support/clock.ts'

const busy = (): Error => new Error('busy')
const queueDeadlineMs = 500

function openLimiter(limit: number, queueLimit: number, clock = new VirtualClock()): Limiter {
  return new Limiter({
    limit: fixedLimit(limit),
    ...{ queueLimit, queueDeadlineMs, clock },
    ranks: 4,
    shed: busy,
  })
}
const open = new AbortController().signal

/** Calls through a limiter that end when the test says so. */
class Calls {
  readonly started: string[] = []
  readonly ends = new Map<string, Deferred<void>>()
  readonly clock = new VirtualClock()
  readonly limiter: Limiter

  constructor(limit: number, queueLimit = 100) {
    this.limiter = openLimiter(limit, queueLimit, this.clock)
  }

  run(name: string, signal = open, turn = new Turn(1)): Watched<string> {
    return watch(
      this.limiter.run(turn, signal, async () => {
        this.started.push(name)
        const end = deferred<void>()
        this.ends.set(name, end)
        await end.promise
        return name
      }),
    )
  }

  async end(name: string): Promise<void> {
    this.ends.get(name)?.resolve()
    await quiet()
  }
}

test('no more than the limit run at once, and the others follow in order', async () => {
  const calls = new Calls(2)
  const all = ['a', 'b', 'c', 'd'].map((name) => calls.run(name))
  await quiet()
  expect(calls.started).toEqual(['a', 'b'])
  await calls.end('b')
  expect(calls.started).toEqual(['a', 'b', 'c'])
  await calls.end('a')
  expect(calls.started).toEqual(['a', 'b', 'c', 'd'])
  await calls.end('c')
  await calls.end('d')
  expect(all.map(({ value }) => value)).toEqual(['a', 'b', 'c', 'd'])
  expect(calls.limiter.running).toBe(0)
})

test('who comes when a place is free does not overtake who was waiting for it', async () => {
  const calls = new Calls(1)
  calls.run('a')
  calls.run('b')
  await quiet()
  calls.ends.get('a')?.resolve()
  calls.run('c')
  await quiet()
  expect(calls.started).toEqual(['a', 'b'])
})

test('beyond the queue a call is refused at once', async () => {
  const calls = new Calls(1, 1)
  calls.run('a')
  calls.run('b')
  const refused = calls.run('c')
  await quiet()
  expect((refused.error as Error).message).toBe('busy')
  await calls.end('a')
  expect(calls.started).toEqual(['a', 'b'])
})

test('a call that fails gives its place to the next', async () => {
  const calls = new Calls(1)
  const failed = calls.run('a')
  calls.run('b')
  await quiet()
  calls.ends.get('a')?.reject(new Error('broken'))
  await quiet()
  expect((failed.error as Error).message).toBe('broken')
  expect(calls.started).toEqual(['a', 'b'])
})

test('who runs and who waits is told', async () => {
  const calls = new Calls(1)
  for (const name of ['a', 'b', 'c']) calls.run(name)
  await quiet()
  expect([calls.limiter.running, calls.limiter.waiting]).toEqual([1, 2])
  await calls.end('a')
  expect([calls.limiter.running, calls.limiter.waiting]).toEqual([1, 1])
  await calls.end('b')
  await calls.end('c')
  expect([calls.limiter.running, calls.limiter.waiting]).toEqual([0, 0])
})

test('a call that throws before its first wait gives its place back', async () => {
  const limiter = openLimiter(1, 1)
  const throwing = (): Promise<void> => {
    throw new Error('at once')
  }
  await expect(limiter.run(new Turn(0), open, throwing)).rejects.toThrow('at once')
  expect(limiter.running).toBe(0)
})

test('a call that hangs gives its place back when its signal aborts', async () => {
  const calls = new Calls(1)
  const controller = new AbortController()
  const hung = calls.run('a', controller.signal)
  calls.run('b')
  await quiet()
  expect(calls.started).toEqual(['a'])
  controller.abort('late')
  await quiet()
  expect(hung.error).toBe('late')
  expect(calls.started).toEqual(['a', 'b'])
  await calls.end('a')
  expect(calls.limiter.running).toBe(1)
})

test('who is aborted while waiting leaves the queue, and its turn goes to the next', async () => {
  const calls = new Calls(1)
  const controller = new AbortController()
  calls.run('a')
  const gone = calls.run('b', controller.signal)
  calls.run('c')
  await quiet()
  controller.abort('gone')
  await quiet()
  expect(gone.error).toBe('gone')
  await calls.end('a')
  expect(calls.started).toEqual(['a', 'c'])
})

test.each([0, 1, 2, 3, 4, 5, 6, 7])(
  'no turn is lost when the abort falls %d microtasks after it came',
  async (microtasks) => {
    const calls = new Calls(1)
    const controller = new AbortController()
    calls.run('a')
    calls.run('b', controller.signal)
    calls.run('c')
    await quiet()
    calls.ends.get('a')?.resolve()
    for (let count = 0; count < microtasks; count++) await Promise.resolve()
    controller.abort('gone')
    await quiet()
    expect(calls.started.at(-1)).toBe('c')
    await calls.end('c')
    expect(calls.limiter.running).toBe(0)
  },
)

test('who was aborted before is neither run nor counted', async () => {
  const calls = new Calls(1)
  const gone = calls.run('a', AbortSignal.abort('before'))
  await quiet()
  expect([gone.error, calls.started, calls.limiter.running]).toEqual(['before', [], 0])
})

test('the most urgent come first, and of the same rank the oldest', async () => {
  const calls = new Calls(1)
  calls.run('first')
  for (const [name, rank] of [
    ['warm', 3],
    ['miss', 1],
    ['refresh', 2],
    ['ticket', 0],
    ['miss 2', 1],
  ] as const) {
    calls.run(name, open, new Turn(rank))
  }
  await quiet()
  for (const name of ['first', 'ticket', 'miss', 'miss 2', 'refresh']) await calls.end(name)
  expect(calls.started).toEqual(['first', 'ticket', 'miss', 'miss 2', 'refresh', 'warm'])
})

test('a full queue sheds the youngest of the lowest rank for one of a higher, and for no other', async () => {
  const calls = new Calls(1, 3)
  calls.run('running')
  const old = calls.run('old', open, new Turn(3))
  const young = calls.run('young', open, new Turn(3))
  const refresh = calls.run('refresh', open, new Turn(2))
  await quiet()
  expect([0, 1, 2, 3].map((rank) => calls.limiter.isFullFor(rank))).toEqual([
    ...[false, false, false, true],
  ])
  const same = calls.run('same', open, new Turn(3))
  const miss = calls.run('miss', open, new Turn(1))
  await quiet()
  expect([same.state, young.state, old.state]).toEqual(['rejected', 'rejected', 'pending'])
  for (const name of ['ticket', 'another']) calls.run(name, open, new Turn(0))
  await quiet()
  expect([old.state, refresh.state, miss.state]).toEqual(['rejected', 'rejected', 'pending'])
  expect(calls.limiter.waiting).toBe(3)
})

test('who waits longer than the deadline is shed, whatever its rank, and no timer is left', async () => {
  const calls = new Calls(1)
  calls.run('running')
  const low = calls.run('low', open, new Turn(3))
  await calls.clock.advance(300)
  const high = calls.run('high', open, new Turn(0))
  await calls.clock.advance(199)
  expect([low.state, high.state]).toEqual(['pending', 'pending'])
  await calls.clock.advance(1)
  expect([low.state, high.state, calls.clock.timers]).toEqual(['rejected', 'pending', 1])
  await calls.clock.advance(300)
  expect([high.state, calls.limiter.waiting, calls.clock.timers]).toEqual(['rejected', 0, 0])
})

test('the time that a call waited is not its own: it ends by nothing but itself', async () => {
  const calls = new Calls(1)
  calls.run('a')
  const b = calls.run('b')
  await calls.clock.advance(queueDeadlineMs - 1)
  await calls.end('a')
  await calls.clock.advance(10_000)
  expect(b.state).toBe('pending')
  await calls.end('b')
  expect([b.value, calls.clock.timers]).toEqual(['b', 0])
})

test('who becomes more urgent while it waits takes the place that its age has among those', async () => {
  const calls = new Calls(1)
  calls.run('running')
  calls.run('older', open, new Turn(0))
  const raised = new Turn(3)
  calls.run('raised', open, raised)
  calls.run('younger', open, new Turn(0))
  await quiet()
  raised.raise(0)
  raised.raise(2)
  for (const name of ['running', 'older', 'raised']) await calls.end(name)
  expect(calls.started).toEqual(['running', 'older', 'raised', 'younger'])
})

test('a limit that falls lets those who run end, and one that grows takes in who waits', async () => {
  let present = 3
  const clock = new VirtualClock()
  const limiter = new Limiter({
    limit: {
      get present() {
        return present
      },
      ended: () => {},
    },
    ...{ queueLimit: 10, queueDeadlineMs, clock, ranks: 1, shed: busy },
  })
  const ends = Array.from({ length: 6 }, () => deferred<void>())
  for (const { promise } of ends) void limiter.run(new Turn(0), open, () => promise)
  await quiet()
  present = 1
  ends[0]?.resolve()
  await quiet()
  expect([limiter.running, limiter.waiting]).toEqual([2, 3])
  present = 4
  ends[1]?.resolve()
  await quiet()
  expect([limiter.running, limiter.waiting]).toEqual([4, 0])
  for (const { resolve } of ends) resolve()
  await quiet()
  expect([limiter.running, clock.timers]).toEqual([0, 0])
})

test('whatever ends, fails, is aborted, raised or late, and when: no place is lost, the order is kept, each call settles', async () => {
  interface Step {
    readonly act: 'run' | 'end' | 'fail' | 'abort' | 'raise' | 'time'
    readonly which: number
    readonly rank: number
    readonly microtasks: number
  }
  interface One {
    readonly end: Deferred<void>
    readonly controller: AbortController
    readonly turn: Turn
    readonly order: number
    outcome: Watched<void>
    /** It has not begun. */
    waits: boolean
  }
  const steps = fc.array(
    fc.record<Step>({
      act: fc.constantFrom('run', 'run', 'run', 'end', 'fail', 'abort', 'raise', 'time'),
      which: fc.nat(),
      rank: fc.nat(3),
      microtasks: fc.nat(6),
    }),
    { maxLength: 60, size: 'max' },
  )
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (limit, sequence) => {
      const clock = new VirtualClock()
      const limiter = openLimiter(limit, 5, clock)
      const under: One[] = []
      const begun: number[] = []
      let inside = 0
      const run = (rank: number): void => {
        const one = {
          ...{ end: deferred<void>(), controller: new AbortController(), turn: new Turn(rank) },
          ...{ order: under.length, waits: true },
        } as One
        one.end.promise.catch(() => {})
        const { signal } = one.controller
        const ran = limiter.run(one.turn, signal, async () => {
          one.waits = false
          begun.push(one.order)
          // A call that is given up counts no longer.
          inside++
          let isCounted = true
          const leave = (): void => {
            if (isCounted) inside--
            isCounted = false
          }
          if (signal.aborted) leave()
          signal.addEventListener('abort', leave)
          await one.end.promise.finally(leave)
        })
        one.outcome = watch(ran)
        under.push(one)
      }
      for (const { act, which, rank, microtasks } of sequence) {
        const chosen = under[which % Math.max(1, under.length)]
        if (act === 'run') run(rank)
        else if (act === 'end') chosen?.end.resolve()
        else if (act === 'fail') chosen?.end.reject(new Error('broken'))
        else if (act === 'abort') chosen?.controller.abort()
        else if (act === 'raise') chosen?.turn.raise(rank)
        else await clock.advance(which % 400)
        for (let count = 0; count < microtasks; count++) await Promise.resolve()
        expect(inside).toBeLessThanOrEqual(limit)
        expect(limiter.waiting).toBeLessThanOrEqual(5)
      }
      // What waits now begins in its order.
      await quiet()
      const waiting = under.filter(({ waits, outcome }) => waits && outcome.state === 'pending')
      expect(limiter.waiting).toBe(waiting.length)
      const expected = waiting
        .toSorted((one, other) => one.turn.rank - other.turn.rank || one.order - other.order)
        .map(({ order }) => order)
      const before = begun.length
      for (let one = 0; one < expected.length; one++) {
        under.find(({ waits, outcome }) => !waits && outcome.state === 'pending')?.end.resolve()
        await quiet()
      }
      expect(begun.slice(before)).toEqual(expected)
      for (const { end } of under) end.resolve()
      await quiet()
      expect(under.map(({ outcome }) => outcome.state)).not.toContain('pending')
      expect([limiter.running, limiter.waiting, clock.timers]).toEqual([0, 0, 0])
    }),
    { numRuns: 300 },
  )
})
