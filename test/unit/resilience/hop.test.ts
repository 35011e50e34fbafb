import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Hop } from '../../../src/resilience/hop.ts'
import { watch } from '../../support/clock.ts'

class Refusal extends Error {}

const deadlineMs = 200
/** After this long the breaker lets one call try. */
const resetMs = 1_000
const never = new Promise<never>(() => {})

// The breaker has timers of its own.
beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

let hop: Hop
let states: string[]
beforeEach(() => {
  hop = new Hop({ name: 'l2', deadlineMs, isAnswer: (error) => error instanceof Refusal })
  states = []
  hop.onChange((state) => states.push(state))
})
afterEach(() => {
  hop.close()
  expect(vi.getTimerCount()).toBe(0)
})

const fail = (): Promise<never> => Promise.reject(new Error('ECONNREFUSED'))

async function failTimes(times: number): Promise<void> {
  for (let time = 0; time < times; time++) await expect(hop.run(fail)).rejects.toThrow()
}

/** How often a call came through while the hop was asked. */
function counted(call: () => Promise<unknown>): { calls: number; run: () => Promise<unknown> } {
  const counter = { calls: 0, run: () => hop.run(counting) }
  const counting = (): Promise<unknown> => {
    counter.calls++
    return call()
  }
  return counter
}

test('a call has its own outcome', async () => {
  await expect(hop.run(() => Promise.resolve(7))).resolves.toBe(7)
  await expect(hop.run(fail)).rejects.toThrow('ECONNREFUSED')
})

test('a call that throws before its first wait rejects', async () => {
  const throwing = (): Promise<never> => {
    throw new Error('at once')
  }
  await expect(hop.run(throwing)).rejects.toThrow('at once')
})

test('a call that hangs costs its deadline, not more', async () => {
  const settled = watch(hop.run(() => never))
  await vi.advanceTimersByTimeAsync(deadlineMs - 1)
  expect(settled.state).toBe('pending')
  await vi.advanceTimersByTimeAsync(1)
  expect(settled.state).toBe('rejected')
})

test('a service that hangs costs its deadline a few times, and then nothing', async () => {
  const hanging = counted(() => never)
  for (let call = 0; call < 5; call++) {
    const settled = watch(hanging.run())
    await vi.advanceTimersByTimeAsync(deadlineMs)
    expect(settled.state).toBe('rejected')
  }
  const settled = watch(hanging.run())
  await vi.advanceTimersByTimeAsync(0)
  expect([settled.state, hanging.calls, states]).toEqual(['rejected', 5, ['open']])
})

test('a few failures among many answers do not open the breaker', async () => {
  for (let call = 0; call < 20; call++) {
    await hop.run(() => Promise.resolve())
    if (call % 3 === 0) await failTimes(1)
  }
  expect(states).toEqual([])
})

test('what a service refuses is an answer, and opens nothing', async () => {
  const refusing = counted(() => Promise.reject(new Refusal('WRONGTYPE')))
  for (let call = 0; call < 50; call++) await expect(refusing.run()).rejects.toThrow('WRONGTYPE')
  expect([refusing.calls, states]).toEqual([50, []])
})

test('after a pause one call tries, and its answer closes the breaker', async () => {
  await failTimes(5)
  await vi.advanceTimersByTimeAsync(resetMs)
  expect(states).toEqual(['open', 'half-open'])
  await expect(hop.run(() => Promise.resolve(7))).resolves.toBe(7)
  expect(states).toEqual(['open', 'half-open', 'closed'])
  await expect(hop.run(() => Promise.resolve(8))).resolves.toBe(8)
})

test('while one call tries, the others do not wait for it', async () => {
  await failTimes(5)
  await vi.advanceTimersByTimeAsync(resetMs)
  const trying = counted(() => never)
  watch(trying.run())
  const other = watch(trying.run())
  await vi.advanceTimersByTimeAsync(0)
  expect([other.state, trying.calls]).toEqual(['rejected', 1])
  await vi.advanceTimersByTimeAsync(deadlineMs)
  expect(states).toEqual(['open', 'half-open', 'open'])
})

test('a refusal closes the breaker as well: who refuses is well', async () => {
  await failTimes(5)
  await vi.advanceTimersByTimeAsync(resetMs)
  await expect(hop.run(() => Promise.reject(new Refusal('OOM')))).rejects.toThrow('OOM')
  expect(states.at(-1)).toBe('closed')
})

test('a try that fails keeps the breaker open for another pause', async () => {
  await failTimes(5)
  await vi.advanceTimersByTimeAsync(resetMs)
  await failTimes(1)
  const refused = counted(() => Promise.resolve())
  await expect(refused.run()).rejects.toThrow()
  expect(refused.calls).toBe(0)
  await vi.advanceTimersByTimeAsync(resetMs)
  await refused.run()
  expect([refused.calls, states.at(-1)]).toEqual([1, 'closed'])
})

test('a closed hop calls nobody any more', async () => {
  hop.close()
  const calls = counted(() => Promise.resolve())
  await expect(calls.run()).rejects.toThrow()
  expect(calls.calls).toBe(0)
})

test('the state is as the last change said', async () => {
  expect(hop.state).toBe('closed')
  await failTimes(10)
  expect([hop.state, states.at(-1)]).toEqual(['open', 'open'])
  vi.advanceTimersByTime(resetMs)
  expect([hop.state, states.at(-1)]).toEqual(['half-open', 'half-open'])
  await hop.run(() => Promise.resolve())
  expect([hop.state, states.at(-1)]).toEqual(['closed', 'closed'])
})
