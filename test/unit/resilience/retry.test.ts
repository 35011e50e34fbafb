import { expect, test } from 'vitest'
import { retry } from '../../../src/resilience/retry.ts'
import { quiet, VirtualClock, watch } from '../../support/clock.ts'

interface Options {
  readonly retries?: number
  readonly signal?: AbortSignal
  readonly isRetryable?: (error: unknown) => boolean
  readonly random?: () => number
}

/** Calls that fail with these errors in turn, then succeed; and when each was made. */
function failing(clock: VirtualClock, errors: readonly unknown[], options: Options = {}) {
  const madeAtMs: number[] = []
  const settled = watch(
    retry(
      {
        retries: 2,
        isRetryable: () => true,
        signal: new AbortController().signal,
        random: () => 1,
        clock,
        ...options,
      },
      async () => {
        const made = madeAtMs.push(clock.monotonicMs()) - 1
        if (made < errors.length) throw errors[made]
        return `call ${made}`
      },
    ),
  )
  return { madeAtMs, settled }
}

test('what succeeds is called once', async () => {
  const clock = new VirtualClock()
  const { madeAtMs, settled } = failing(clock, [])
  await clock.settle()
  expect([settled.value, madeAtMs.length, clock.timers]).toEqual(['call 0', 1, 0])
})

test('what fails is called again, at most as often as it may, and the last error comes out', async () => {
  const clock = new VirtualClock()
  const { madeAtMs, settled } = failing(clock, ['one', 'two', 'three', 'four'])
  await clock.advance(10_000)
  expect([madeAtMs.length, settled.error]).toEqual([3, 'three'])
})

test('without retries the first error comes out at once', async () => {
  const clock = new VirtualClock()
  const { madeAtMs, settled } = failing(clock, ['one'], { retries: 0 })
  await clock.settle()
  expect([madeAtMs.length, settled.error, clock.timers]).toEqual([1, 'one', 0])
})

test('an error that will not go away ends it at once', async () => {
  const clock = new VirtualClock()
  const { madeAtMs, settled } = failing(clock, ['again', 'hopeless'], {
    isRetryable: (error) => error === 'again',
  })
  await clock.advance(10_000)
  expect([madeAtMs.length, settled.error]).toEqual([2, 'hopeless'])
})

test('the pauses double from 10 ms up to 200 ms, and full jitter shortens them', async () => {
  const pausesWith = async (random: () => number): Promise<number[]> => {
    const clock = new VirtualClock()
    const { madeAtMs } = failing(clock, Array(9).fill('x'), { retries: 9, random })
    await clock.advance(60_000)
    return madeAtMs.slice(1).map((ms, index) => ms - (madeAtMs[index] as number))
  }
  expect(await pausesWith(() => 1)).toEqual([10, 20, 40, 80, 160, 200, 200, 200, 200])
  expect(await pausesWith(() => 0.5)).toEqual([5, 10, 20, 40, 80, 100, 100, 100, 100])
  expect(await pausesWith(() => 0)).toEqual(Array(9).fill(0))
})

test('an abort during the pause ends it with the last error, and without another call', async () => {
  const clock = new VirtualClock()
  const controller = new AbortController()
  const { madeAtMs, settled } = failing(clock, ['one', 'two'], { signal: controller.signal })
  await clock.advance(5)
  controller.abort()
  await quiet()
  expect([settled.state, settled.error, madeAtMs.length]).toEqual(['rejected', 'one', 1])
  expect(clock.timers).toBe(0)
})

test('what failed under an aborted signal is not called again', async () => {
  const clock = new VirtualClock()
  const { madeAtMs, settled } = failing(clock, ['one'], { signal: AbortSignal.abort() })
  await clock.settle()
  expect([settled.error, madeAtMs.length, clock.timers]).toEqual(['one', 1, 0])
})
