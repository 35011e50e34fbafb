import { expect, test, vi } from 'vitest'
import { systemClock, TurnClock } from '../../../src/model/clock.ts'
import { quiet, VirtualClock } from '../../support/clock.ts'

test('one look at the clocks serves all readings of a turn', () => {
  const clock = new VirtualClock()
  const turnClock = new TurnClock(clock)
  const first = turnClock.read()
  clock.stop(5)
  expect(turnClock.read()).toEqual(first)
  expect(clock.looks).toBe(1)
})

test('a reading has both clocks', () => {
  const clock = new VirtualClock()
  const turnClock = new TurnClock(clock)
  clock.stepWall(77)
  expect(turnClock.read()).toEqual({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() })
})

test('the next turn looks again', async () => {
  const clock = new VirtualClock()
  const turnClock = new TurnClock(clock)
  const before = turnClock.read()
  await clock.settle()
  clock.stop(5)
  expect(turnClock.read().monotonicMs).toBe(before.monotonicMs + 5)
})

test('a look serves 64 readings, and the 65th looks again within the turn', () => {
  const clock = new VirtualClock()
  const turnClock = new TurnClock(clock)
  for (let count = 0; count < 64; count++) turnClock.read()
  expect(clock.looks).toBe(1)
  clock.stop(5)
  const late = turnClock.read()
  expect(clock.looks).toBe(2)
  expect(late.monotonicMs).toBe(clock.monotonicMs())
})

test('a look late in a turn is dropped with the turn, however many looks there were', async () => {
  const clock = new VirtualClock()
  const turnClock = new TurnClock(clock)
  for (let count = 0; count < 100; count++) turnClock.read()
  await clock.settle()
  clock.stop(9)
  expect(turnClock.read().monotonicMs).toBe(clock.monotonicMs())
})

test('many turns schedule one drop each, and none is left behind', async () => {
  const clock = new VirtualClock()
  let deferred = 0
  const counting = Object.assign(Object.create(clock) as VirtualClock, {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs(),
    defer: (run: () => void) => {
      deferred++
      clock.defer(run)
    },
  })
  const turnClock = new TurnClock(counting)
  for (let turn = 1; turn <= 5; turn++) {
    for (let count = 0; count < 200; count++) turnClock.read()
    expect(deferred).toBe(turn)
    await clock.settle()
  }
})

test('the system clock runs what was deferred after the promises of the turn', async () => {
  const order: string[] = []
  systemClock.defer(() => order.push('deferred'))
  void Promise.resolve()
    .then(() => order.push('first'))
    .then(() => order.push('second'))
  order.push('sync')
  await quiet()
  expect(order).toHaveLength(4)
  expect(order[0]).toBe('sync')
  expect(order.indexOf('deferred')).toBeGreaterThan(0)
})

test('a timer fires once, after its time, and one that was taken back does not', () => {
  vi.useFakeTimers()
  const fired: string[] = []
  systemClock.after(10, () => fired.push('stays'))
  systemClock.after(5, () => fired.push('taken back'))()
  vi.advanceTimersByTime(9)
  expect(fired).toEqual([])
  vi.advanceTimersByTime(1_000)
  vi.useRealTimers()
  expect(fired).toEqual(['stays'])
})

test('the monotonic clock does not go back, the wall clock is that of Date', () => {
  const first = systemClock.monotonicMs()
  expect(systemClock.monotonicMs()).toBeGreaterThanOrEqual(first)
  expect(Math.abs(systemClock.wallMs() - Date.now())).toBeLessThan(1_000)
})
