import { expect, test, vi } from 'vitest'
import {
  abortable,
  deadlineIn,
  deferred,
  sleep,
  watchDeadlines,
  withDeadline,
} from '../../../src/resilience/deadline.ts'
import { quiet, VirtualClock, watch } from '../../support/clock.ts'

const late = (): Error => new Error('late')
const never = new Promise<never>(() => {})

/** A signal that counts who listens. */
function watchedSignal(): { controller: AbortController; listeners: () => number } {
  const controller = new AbortController()
  const { signal } = controller
  let count = 0
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  vi.spyOn(signal, 'addEventListener').mockImplementation((...args: Parameters<typeof add>) => {
    count++
    add(...args)
  })
  vi.spyOn(signal, 'removeEventListener').mockImplementation(
    (...args: Parameters<typeof remove>) => {
      count--
      remove(...args)
    },
  )
  return { controller, listeners: () => count }
}

test('an abortable promise settles as the promise does, and listens no longer', async () => {
  const { controller, listeners } = watchedSignal()
  const { promise, resolve } = deferred<number>()
  const settled = watch(abortable(promise, controller.signal))
  await quiet()
  expect([settled.state, listeners()]).toEqual(['pending', 1])
  resolve(7)
  await quiet()
  expect([settled.value, listeners()]).toEqual([7, 0])
})

test('an abortable promise rejects as the promise does', async () => {
  const error = new Error('broken')
  await expect(abortable(Promise.reject(error), new AbortController().signal)).rejects.toBe(error)
})

test('an abort ends the wait at once, with its reason, whatever the promise does later', async () => {
  const controller = new AbortController()
  const { promise, reject } = deferred<number>()
  const settled = watch(abortable(promise, controller.signal))
  controller.abort('why')
  await quiet()
  expect([settled.state, settled.error]).toEqual(['rejected', 'why'])
  reject(new Error('nobody is left to hear this'))
  await quiet()
})

test('a signal that aborted before ends the wait at once', async () => {
  await expect(abortable(never, AbortSignal.abort('before'))).rejects.toBe('before')
})

test('a sleep ends after its time, not before', async () => {
  const clock = new VirtualClock()
  const slept = watch(sleep(100, new AbortController().signal, clock))
  await clock.advance(99)
  expect(slept.state).toBe('pending')
  await clock.advance(1)
  expect(slept.state).toBe('resolved')
})

test('an abort ends a sleep, and leaves neither timer nor listener', async () => {
  const clock = new VirtualClock()
  const { controller, listeners } = watchedSignal()
  const slept = watch(sleep(100, controller.signal, clock))
  expect([clock.timers, listeners()]).toEqual([1, 1])
  controller.abort()
  await quiet()
  expect([slept.state, clock.timers, listeners()]).toEqual(['resolved', 0, 0])
})

test('nobody falls asleep under a signal that has aborted', async () => {
  const clock = new VirtualClock()
  await sleep(100, AbortSignal.abort(), clock)
  expect(clock.timers).toBe(0)
})

test('a deadline aborts its signal in its time, with a reason, unless it is ended before', async () => {
  const clock = new VirtualClock()
  const [kept, ended] = [deadlineIn(100, clock), deadlineIn(100, clock)]
  ended.end()
  await clock.advance(99)
  expect(kept.signal.aborted).toBe(false)
  await clock.advance(1)
  expect(kept.signal.reason).toEqual(new Error('no answer in 100 ms'))
  expect([ended.signal.aborted, clock.timers]).toEqual([false, 0])
})

test('a call that is in time has its outcome, and leaves neither timer nor listener', async () => {
  const clock = new VirtualClock()
  const { controller, listeners } = watchedSignal()
  const value = await withDeadline(100, late, controller.signal, clock, () => Promise.resolve(7))
  expect([value, clock.timers, listeners()]).toEqual([7, 0, 0])
})

test('a call that fails rejects with its own error, thrown or rejected', async () => {
  const clock = new VirtualClock()
  const error = new Error('broken')
  const failing = [
    () => Promise.reject(error),
    () => {
      throw error
    },
  ]
  for (const call of failing) {
    await expect(withDeadline(100, late, undefined, clock, call)).rejects.toBe(error)
    expect(clock.timers).toBe(0)
  }
})

test('a call that heeds no signal is given up at its deadline, and told so by its signal', async () => {
  const clock = new VirtualClock()
  let heard: unknown
  const call = (signal: AbortSignal): Promise<never> => {
    signal.addEventListener('abort', () => {
      heard = signal.reason
    })
    return never
  }
  const settled = watch(withDeadline(100, late, undefined, clock, call))
  await clock.advance(99)
  expect(settled.state).toBe('pending')
  await clock.advance(1)
  expect((settled.error as Error).message).toBe('late')
  expect(heard).toBe(settled.error)
})

test("the parent's abort ends the call with the parent's reason", async () => {
  const clock = new VirtualClock()
  const parent = new AbortController()
  const settled = watch(withDeadline(100, late, parent.signal, clock, () => never))
  await clock.advance(50)
  parent.abort('closing')
  await quiet()
  expect([settled.state, settled.error, clock.timers]).toEqual(['rejected', 'closing', 0])
})

test('under a parent that has aborted the call ends at once', async () => {
  const clock = new VirtualClock()
  const settled = watch(withDeadline(100, late, AbortSignal.abort('gone'), clock, () => never))
  await quiet()
  expect([settled.state, settled.error, clock.timers]).toEqual(['rejected', 'gone', 0])
})

test('many calls under one long-lived signal leave no listeners behind', async () => {
  const clock = new VirtualClock()
  const { controller, listeners } = watchedSignal()
  for (let call = 0; call < 50; call++) {
    await withDeadline(100, late, controller.signal, clock, () => Promise.resolve())
    const hung = watch(withDeadline(100, late, controller.signal, clock, () => never))
    await clock.advance(100)
    expect(hung.state).toBe('rejected')
    await abortable(Promise.resolve(), controller.signal)
  }
  await quiet()
  expect([listeners(), clock.timers]).toEqual([0, 0])
})

const dueAt = (...times: readonly number[]) => times.map((deadlineAtMs) => ({ deadlineAtMs }))

test('many deadlines share one timer, and each is told of once, in their order', async () => {
  const clock = new VirtualClock()
  const nowMs = clock.monotonicMs()
  const items = dueAt(nowMs + 30, nowMs + 10, nowMs + 10, nowMs + 20)
  const told: number[] = []
  watchDeadlines(items, clock, ({ deadlineAtMs }) => void told.push(deadlineAtMs - nowMs))
  expect(clock.timers).toBe(1)
  await clock.advance(9.9)
  expect(told).toEqual([])
  await clock.advance(0.1)
  expect([told, clock.timers]).toEqual([[10, 10], 1])
  // Several have passed before the timer fires: the process was stopped.
  clock.stop(100)
  await clock.advance(0)
  expect([told, clock.timers]).toEqual([[10, 10, 20, 30], 0])
})

test('a deadline that has passed already is told of at the next turn, not at once', async () => {
  const clock = new VirtualClock()
  const told: unknown[] = []
  watchDeadlines(dueAt(clock.monotonicMs() - 5), clock, (item) => void told.push(item))
  expect(told).toEqual([])
  await clock.advance(0)
  expect(told.length).toBe(1)
})

test('who ends the watch is told of nothing more, and without deadlines there is no timer', async () => {
  const clock = new VirtualClock()
  const told: unknown[] = []
  const times = [10, 20].map((ms) => clock.monotonicMs() + ms)
  const end = watchDeadlines(dueAt(...times), clock, (item) => void told.push(item))
  await clock.advance(10)
  end()
  expect([told.length, clock.timers]).toEqual([1, 0])
  await clock.advance(100)
  expect(told.length).toBe(1)
  watchDeadlines([], clock, () => {})()
  expect(clock.timers).toBe(0)
})
