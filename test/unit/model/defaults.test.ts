import { describe, expect, test } from 'vitest'
import {
  clockErrorMs,
  entityDefaults,
  idsPerOutboxRow,
  longestLoadMs,
  mostRowsAPoll,
  outboxBatch,
  retries,
  settleTiming,
  type Timing,
  ttlJitter,
} from '../../../src/model/defaults.ts'
import { durationMs } from '../../../src/model/duration.ts'
import { LockstepError } from '../../../src/model/errors.ts'

function refusal(timing: Timing): string {
  try {
    settleTiming(timing)
  } catch (error) {
    if (error instanceof LockstepError && error.code === 'OPTION_INVALID') return error.message
    throw error
  }
  throw new Error('it was accepted')
}

test('the defaults keep their own rules', () => {
  expect(settleTiming({})).toEqual({
    stalenessBoundMs: 1_000,
    pollIntervalMs: 200,
    redisDeadlineMs: 200,
    kafkaDeadlineMs: 100,
    loadDeadlineMs: 500,
    loadQueueDeadlineMs: 1_000,
    readDeadlineMs: 3_000,
    writeDeadlineMs: 500,
    tombstoneRetentionMs: 60_000,
    outboxRetentionMs: 300_000,
    delayedDeleteMs: 500,
  })
})

test('an option may be given as a duration or in milliseconds, and undefined is the default', () => {
  expect(settleTiming({ stalenessBound: '2s' }).stalenessBoundMs).toBe(2_000)
  expect(settleTiming({ stalenessBound: 2_000 }).stalenessBoundMs).toBe(2_000)
  expect(settleTiming({ stalenessBound: undefined } as never).stalenessBoundMs).toBe(1_000)
})

test('a load waits for at most half of a shorter read, unless it is told to', () => {
  expect(settleTiming({ readDeadline: '800ms' }).loadQueueDeadlineMs).toBe(400)
  const given = { readDeadline: '800ms', loadQueueDeadline: '700ms' } as const
  expect(settleTiming(given).loadQueueDeadlineMs).toBe(700)
})

test('the longest load waits for its turn and is tried, as often as it may be', () => {
  expect(longestLoadMs(settleTiming({}))).toBe(4_500)
  expect(longestLoadMs({ ...settleTiming({}), loadRetries: 0 })).toBe(1_500)
})

describe('each rule holds to the millisecond, and its error names the option, the value and the least', () => {
  test.each<[name: keyof Timing, least: number, others: Timing]>([
    ['pollInterval', 5, {}],
    ['redisDeadline', 5, {}],
    ['kafkaDeadline', 5, {}],
    ['loadDeadline', 5, {}],
    ['writeDeadline', 5, {}],
    ['stalenessBound', 400, {}],
    ['stalenessBound', 1_400, { pollInterval: '700ms' }],
    ['readDeadline', 700, {}],
    ['readDeadline', 5_300, { loadDeadline: '5s', redisDeadline: '300ms' }],
    ['readDeadline', 2_001, { loadQueueDeadline: '2s' }],
    ['tombstoneRetention', 2 * (500 + 200) + clockErrorMs, {}],
    ['tombstoneRetention', 2 * (20_000 + 200) + clockErrorMs, { writeDeadline: '20s' }],
    ['outboxRetention', 2_000 + clockErrorMs, {}],
    ['outboxRetention', 4_000 + clockErrorMs, { pollInterval: '400ms' }],
  ])('timing.%s is at least %d ms with %j', (name, least, others) => {
    expect(settleTiming({ ...others, [name]: least })[`${name}Ms`]).toBe(least)
    const message = refusal({ ...others, [name]: least - 1 })
    expect(message).toContain(`"timing.${name}"`)
    expect(message).toContain(`${least - 1} ms`)
    expect(message).toContain(`at least ${least} ms`)
  })
})

test('a rule is broken by moving the other side as well', () => {
  expect(refusal({ pollInterval: '600ms' })).toContain('"timing.stalenessBound"')
  expect(refusal({ loadDeadline: '3s' })).toContain('"timing.readDeadline"')
  expect(refusal({ writeDeadline: '30s' })).toContain('"timing.tombstoneRetention"')
  expect(refusal({ outboxRetention: '1s' })).toContain('"timing.outboxRetention"')
})

test.each([
  ['stalenesBound', 'a slip of the pen'],
  ['ttl', 'an option of an entity'],
])('timing.%s does not exist (%s), and the error lists what does', (name) => {
  const message = refusal({ [name]: '1s' } as Timing)
  expect(message).toContain(`"timing.${name}"`)
  expect(message).toContain('stalenessBound, pollInterval')
})

test('what every object has is no option of timing', () => {
  for (const name of ['toString', 'constructor', 'hasOwnProperty']) {
    expect(refusal({ [name]: '1s' } as Timing)).toContain(`"timing.${name}"`)
  }
})

test.each(Object.keys(settleTiming({})).map((name) => name.slice(0, -2) as keyof Timing))(
  'timing.%s takes a duration and nothing else',
  (name) => {
    expect(refusal({ [name]: 'soon' })).toContain(`"timing.${name}"`)
    expect(refusal({ [name]: -1 })).toContain(`"timing.${name}"`)
    expect(refusal({ [name]: {} } as Timing)).toContain(`"timing.${name}"`)
  },
)

test('the other defaults have the sizes that the design counts on', () => {
  expect(durationMs('ttl', entityDefaults.ttl)).toBe(600_000)
  expect(durationMs('grace', entityDefaults.grace)).toBe(60_000)
  expect(durationMs('negativeTtl', entityDefaults.negativeTtl)).toBe(30_000)
  expect(ttlJitter).toBeGreaterThan(0)
  expect(ttlJitter).toBeLessThan(1)
  expect(retries).toEqual({ load: 2, write: 2, secondDelete: 3 })
  expect(idsPerOutboxRow * outboxBatch).toBeGreaterThan(mostRowsAPoll)
})
