import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { Limiter } from '../../../src/resilience/limiter.ts'
import { quiet, type Watched, watch } from '../../support/clock.ts'

const busy = (): Error => new Error('busy')
const open = new AbortController().signal

/** Calls through a limiter that end when the test says so. */
class Calls {
  readonly started: string[] = []
  readonly ends = new Map<string, Deferred<void>>()
  readonly limiter: Limiter

  constructor(limit: number, queueLimit = 100) {
    this.limiter = new Limiter(limit, queueLimit, busy)
  }

  run(name: string, signal = open): Watched<string> {
    return watch(
      this.limiter.run(signal, async () => {
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
  const limiter = new Limiter(1, 1, busy)
  const throwing = (): Promise<void> => {
    throw new Error('at once')
  }
  await expect(limiter.run(open, throwing)).rejects.toThrow('at once')
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

test('whatever ends, fails or is aborted, and when: no place is lost, none is given twice', async () => {
  interface Step {
    readonly act: 'run' | 'end' | 'fail' | 'abort'
    readonly which: number
    readonly microtasks: number
  }
  const steps = fc.array(
    fc.record<Step>({
      act: fc.constantFrom('run', 'run', 'end', 'fail', 'abort'),
      which: fc.nat(),
      microtasks: fc.nat(6),
    }),
    { maxLength: 40, size: 'max' },
  )
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (limit, sequence) => {
      const limiter = new Limiter(limit, 5, busy)
      const under: { end: Deferred<void>; controller: AbortController }[] = []
      let inside = 0
      for (const { act, which, microtasks } of sequence) {
        const chosen = under[which % Math.max(1, under.length)]
        if (act === 'run') {
          const one = { end: deferred<void>(), controller: new AbortController() }
          one.end.promise.catch(() => {})
          under.push(one)
          const { signal } = one.controller
          const ran = limiter.run(signal, async () => {
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
          ran.catch(() => {})
        } else if (act === 'end') chosen?.end.resolve()
        else if (act === 'fail') chosen?.end.reject(new Error('broken'))
        else chosen?.controller.abort()
        for (let count = 0; count < microtasks; count++) await Promise.resolve()
        expect(inside).toBeLessThanOrEqual(limit)
      }
      for (const { end } of under) end.resolve()
      await quiet()
      expect(limiter.running).toBe(0)
      await limiter.run(open, () => Promise.resolve())
    }),
    { numRuns: 200 },
  )
})
