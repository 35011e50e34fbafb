import { expect, onTestFinished, test } from 'vitest'
import { busOf } from '../../../src/coordinator/bus.ts'
import type { LoggedWrite } from '../../../src/model/bus-ports.ts'
import { Hop } from '../../../src/resilience/hop.ts'
import { RetryBudget } from '../../../src/resilience/retry-budget.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const deadlineMs = 100
const { signal } = new AbortController()
const writes: readonly LoggedWrite[] = []
const never = (): Promise<never> => new Promise(() => {})

function open(publish: () => Promise<void>, hasHop = true) {
  const clock = new VirtualClock()
  let published = 0
  const hop = new Hop({ name: 'bus', deadlineMs, isAnswer: () => false, clock, random: () => 0 })
  onTestFinished(() => hop.close())
  const log = {
    publish: () => {
      published++
      return publish()
    },
  }
  const bus = busOf(
    log as never,
    {
      clock,
      random: () => 0,
      retries: 1,
      isRetryable: ({ retryable = true }: { retryable?: boolean } = {}) => retryable,
      budget: new RetryBudget(clock),
      deadlineMs,
      hop: hasHop ? hop : undefined,
    } as never,
  )
  return { clock, hop, bus, published: () => published }
}

test('what is published is published once', async () => {
  const { bus, published } = open(async () => {})
  await bus.publish(writes, signal)
  expect(published()).toBe(1)
})

test.each([true, false])(
  'a Kafka that hangs is tried twice, for its deadline each; with a breaker: %s',
  async (hasHop) => {
    const { bus, clock, published } = open(never, hasHop)
    const settled = watch(bus.publish(writes, signal))
    await clock.advance(2 * deadlineMs - 1)
    expect([settled.state, published()]).toEqual(['pending', 2])
    await clock.advance(1)
    expect(settled.error).toMatchObject({ code: 'KAFKA_UNAVAILABLE', retryable: true })
  },
)

test('what will not go away is tried once', async () => {
  const refusal = Object.assign(new Error('too large'), { retryable: false })
  const { bus, published } = open(() => Promise.reject(refusal))
  await expect(bus.publish(writes, signal)).rejects.toBe(refusal)
  expect(published()).toBe(1)
})

test('after a few that had no answer it is not tried any more, until it answers', async () => {
  let isDown = true
  const { bus, clock, hop, published } = open(() => (isDown ? never() : Promise.resolve()))
  for (let call = 0; call < 3; call++) {
    const settled = watch(bus.publish(writes, signal))
    await clock.advance(2 * deadlineMs)
    expect(settled.state).toBe('rejected')
  }
  expect(hop.state).toBe('open')
  const tried = published()
  const settled = watch(bus.publish(writes, signal))
  await clock.advance(1)
  expect([settled.state, published()]).toEqual(['rejected', tried])
  isDown = false
  await clock.advance(1_000)
  for (let call = 0; call < 3; call++) await bus.publish(writes, signal)
  await clock.advance(2_000)
  expect(hop.state).toBe('closed')
})
