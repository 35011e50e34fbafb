import { expect, test } from 'vitest'
import { retry } from '../../../src/resilience/retry.ts'
import { RetryBudget } from '../../../src/resilience/retry-budget.ts'
import { VirtualClock } from '../../support/clock.ts'

const saved = 100
const aSecond = 10

function usedUp(clock: VirtualClock): RetryBudget {
  const budget = new RetryBudget(clock)
  for (let retries = 0; retries < saved; retries++) expect(budget.mayRetry()).toBe(true)
  return budget
}

test('what was saved is spent, and then nothing', () => {
  const budget = usedUp(new VirtualClock())
  expect(budget.mayRetry()).toBe(false)
  expect([budget.made, budget.refused]).toEqual([saved, 1])
})

test('a fifth of the calls may be made again', () => {
  const budget = usedUp(new VirtualClock())
  let made = 0
  for (let calls = 0; calls < 1_000; calls++) {
    budget.called()
    if (budget.mayRetry()) made++
  }
  expect(made).toBeGreaterThanOrEqual(199)
  expect(made).toBeLessThanOrEqual(200)
})

test('and a few a second, where there are few calls', async () => {
  const clock = new VirtualClock()
  const budget = usedUp(clock)
  await clock.advance(1_000)
  const made = Array.from({ length: 50 }, () => budget.mayRetry()).filter((may) => may)
  expect(made.length).toBe(aSecond)
})

test('no more is saved up than in ten seconds', async () => {
  const clock = new VirtualClock()
  const budget = usedUp(clock)
  await clock.advance(3_600_000)
  for (let calls = 0; calls < 10_000; calls++) budget.called()
  const made = Array.from({ length: 1_000 }, () => budget.mayRetry()).filter((may) => may)
  expect(made.length).toBe(saved)
})

test('an outage is not multiplied: with all calls failing they grow by little more than a fifth', async () => {
  const clock = new VirtualClock()
  const budget = usedUp(clock)
  let calls = 0
  const { signal } = new AbortController()
  const options = { retries: 3, isRetryable: () => true, signal, clock, random: () => 0, budget }
  for (let second = 0; second < 20; second++) {
    const failing = Array.from({ length: 500 }, () =>
      retry(options, async () => {
        calls++
        throw new Error('no answer')
      }).catch(() => {}),
    )
    await clock.advance(1_000)
    await Promise.all(failing)
  }
  const asked = 20 * 500
  expect(calls).toBeLessThanOrEqual(asked * 1.2 + 20 * aSecond)
  expect(calls).toBeGreaterThan(asked * 1.15)
})
