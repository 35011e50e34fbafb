import { expect, test } from 'vitest'
import { type HopsOptions, hopDefaults, settleHops } from '../../../src/resilience/hop-settings.ts'

const refusal = (options: unknown): string => {
  try {
    settleHops(options as HopsOptions)
  } catch (error) {
    return String((error as { code?: string }).code) + (error as Error).message
  }
  throw new Error('it was accepted')
}

test('the defaults are those that they are said to be', () => {
  expect(settleHops()).toEqual(hopDefaults)
  expect(settleHops({ l2: {}, source: undefined } as never)).toEqual(hopDefaults)
  const { l2, source, bus } = hopDefaults
  expect([l2.retries, source.retries, bus.retries]).toEqual([3, 2, 1])
  expect([l2.fleet, source.fleet, bus.fleet]).toEqual(['open', 'limit', 'open'])
})

test('each option of a hop is its own', () => {
  const own = settleHops({
    source: {
      retries: 0,
      errorRatio: 0.25,
      leastCalls: 20,
      window: '10s',
      openFor: '2s',
      openForAtMost: '1m',
      probes: 1,
      successes: 5,
      rampUp: 0,
      fleet: 'off',
    },
  })
  expect(own.l2).toEqual(hopDefaults.l2)
  expect(own.source).toEqual({
    retries: 0,
    errorRatio: 0.25,
    leastCalls: 20,
    windowMs: 10_000,
    openForMs: 2_000,
    openForAtMostMs: 60_000,
    probes: 1,
    successes: 5,
    rampUpMs: 0,
    fleet: 'off',
  })
  expect(settleHops({ l2: { openFor: '20s' } }).l2.openForAtMostMs).toBe(20_000)
})

test.each([
  [{ redis: {} }, /^OPTION_INVALIDoption "hops\.redis" is not known; one of l2, source, bus would/],
  [{ l2: { timeout: 1 } }, /"hops\.l2\.timeout" is not known; one of retries, .* fleet would do/],
  [[], /"hops" is an array; an object with l2, source, bus would do/],
  [{ l2: 7 }, /"hops\.l2" is 7; an object with retries/],
  [{ l2: { retries: -1 } }, /"hops\.l2\.retries" is -1; a whole number from 0 to 10 would do/],
  [{ l2: { retries: 1.5 } }, /"hops\.l2\.retries" is 1\.5/],
  [{ l2: { leastCalls: 0 } }, /"hops\.l2\.leastCalls" is 0; a whole number from 1/],
  [{ bus: { probes: '3' } }, /"hops\.bus\.probes" is "3"/],
  [{ bus: { successes: Number.NaN } }, /"hops\.bus\.successes" is NaN/],
  [{ bus: { errorRatio: 1 } }, /"hops\.bus\.errorRatio" is 1; a number between 0 and 1 would do/],
  [{ bus: { errorRatio: 0 } }, /"hops\.bus\.errorRatio" is 0/],
  [{ bus: { errorRatio: Number.NaN } }, /"hops\.bus\.errorRatio" is NaN/],
  [{ bus: { errorRatio: -0.1 } }, /"hops\.bus\.errorRatio" is -0\.1/],
  [{ l2: { retries: 11 } }, /"hops\.l2\.retries" is 11; a whole number from 0 to 10/],
  [{ l2: { probes: 1_000_001 } }, /"hops\.l2\.probes" is 1000001/],
  [{ l2: { leastCalls: Number.POSITIVE_INFINITY } }, /"hops\.l2\.leastCalls" is Infinity/],
  [{ source: { openFor: -1 } }, /"hops\.source\.openFor" is -1; a duration of 0 to 24 days/],
  [{ source: { openForAtMost: '25d' } }, /"hops\.source\.openForAtMost" is "25d"; a duration/],
  [{ source: { rampUp: Number.NaN } }, /"hops\.source\.rampUp" is NaN; a duration/],
  [{ source: { window: null } }, /"hops\.source\.window" is null; a duration/],
  [{ source: { window: 'soon' } }, /"hops\.source\.window" is "soon"; a duration/],
  [{ source: { window: '50ms' } }, /"hops\.source\.window" is "50ms"; at least 100 ms would do/],
  [{ source: { openFor: 1 } }, /"hops\.source\.openFor" is 1; at least 10 ms would do/],
  [{ source: { fleet: 'close' } }, /"hops\.source\.fleet" is "close"; 'open', 'limit' or 'off'/],
])('%j is refused by name', (options, message) => {
  expect(refusal(options)).toMatch(message)
})
