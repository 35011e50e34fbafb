/** The judge of the matrix: what is not as promised is found, in every cell. */
import { describe, expect, test } from 'vitest'
import { type Cell, cellsNamed, matrix, nameOf } from '../../degradation/cells.ts'
import { measure } from '../../degradation/measure.ts'
import {
  brokenPromises,
  type Conditions,
  type Outcome,
  promisedIn,
  successOf,
} from '../../degradation/promises.ts'
import { type Call, readKinds, type Samples } from '../../degradation/samples.ts'

const second = 1e9
const phases = {
  faultBegin: 2 * second,
  faultEnd: 10 * second,
  wellAt: 11 * second,
  end: 12 * second,
}
const boundMs = 1_000

/** Each kind of call, ten a second, each answered after 5 ms. */
function calls(change: (call: Call) => Call = (call) => call): readonly Call[] {
  const kinds = [...readKinds, 'write'] as const
  return Array.from({ length: 120 }, (_, at) => at * 0.1 * second).flatMap((due) =>
    kinds.map((kind) => change({ kind, due, end: due + 5e6, ...answerOf(kind) })),
  )
}

function answerOf(kind: Call['kind']): Partial<Call> {
  if (kind === 'write') return { fenced: true }
  return {
    tier: kind === 'cold' ? 'source' : 'l2',
    proven: kind === 'cold',
    state: 'fresh',
    ageMs: 1,
  }
}

const trust = [[], []]
/** An instance whose breaker of Redis opened then. */
const opened = (atSeconds: number): Samples['breakers'][number] => [
  { kind: 'breaker', at: atSeconds * second, hop: 'l2', state: 'open', reason: 'local' },
]
const quiet = (change?: (call: Call) => Call): Samples => ({
  calls: calls(change),
  breakers: [opened(2.4), opened(2.5)],
  trust,
})
const outcomeOf = (samples: Samples, more: Partial<Outcome> = {}): Outcome => ({
  ...measure(samples, phases, boundMs),
  transitions: { l2: 0, source: 0, bus: 0 },
  violations: 0,
  staleMs: 12,
  sourceConcurrency: 3,
  fleetAnswers: [{ unreachable: 3 }, { deadline: 2 }],
  ...{ l2AfterBound: 0, sourceAfterBound: 0 },
  ...more,
})
const conditions: Conditions = {
  ...{ instances: 2, boundMs, readDeadlineMs: 3_000, writeDeadlineMs: 500 },
  ...{ maxConcurrentLoads: 8, recoveryDeadlineMs: 15_000 },
  control: outcomeOf(quiet()),
}
const cell = (name: string): Cell => matrix.find((one) => nameOf(one) === name) as Cell
const brokenIn = (name: string, outcome: Outcome): readonly string[] =>
  brokenPromises(promisedIn(cell(name)), outcome, conditions)

const names = matrix.map(nameOf)

test('the matrix has each service in each way, each with Redis too, and a long outage of each', () => {
  expect(new Set(names).size).toBe(names.length)
  expect(names).toHaveLength(1 + 4 * 6 + 3 * 6 + 4)
  expect(names[0]).toBe('nothing')
  expect(names).toEqual(expect.arrayContaining(['redis+kafka flapping', 'kafka refused 60 s']))
})

test('a name that no cell has is told: nothing would be judged', () => {
  expect(cellsNamed(['kafka hung', 'redis+kafka']).map(nameOf)).toEqual(
    expect.arrayContaining(['nothing', 'kafka hung', 'redis+kafka flapping']),
  )
  expect(cellsNamed([])).toEqual(matrix)
  expect(() => cellsNamed(['kafka', 'reddis hung'])).toThrow('"reddis hung"')
})

test('where all goes well nothing is wrong, in any cell', () => {
  for (const name of names) expect(brokenIn(name, outcomeOf(quiet())), name).toEqual([])
})

describe('what is never allowed is found in every cell', () => {
  test.each([
    ['a violation', { violations: 1 }, /1 violations/],
    ['loads', { sourceConcurrency: 9 }, /9 loads at once/],
    ['a slow read', { slowestReadMs: 3_501 }, /a read took/],
    ['a slow write', { slowestWriteMs: 2_501 }, /a write took/],
    ['no end', { recoveryMs: undefined }, /not well again/],
    ['a late end', { recoveryMs: 15_001 }, /not well again/],
    [
      'a flood',
      { transitions: { l2: 0, source: 95, bus: 0 } },
      /source changed 95 times|changes of/,
    ],
  ] as const)('%s', (_, change, said) => {
    const outcome = outcomeOf(quiet(), change)
    for (const name of names) expect(brokenIn(name, outcome).join(), name).toMatch(said)
  })

  test('calls that were never made', () => {
    const none = {
      calls: calls().filter(({ kind }) => kind !== 'write'),
      breakers: [[], []],
      trust,
    }
    const outcome = outcomeOf(none)
    for (const name of names)
      expect(brokenIn(name, outcome).join()).toContain('no call of kind write')
  })
})

/** All of a kind fail while it is broken. */
const failing = (wanted: Call['kind'], error = 'SOURCE_UNAVAILABLE', retryable = true) =>
  quiet((call) =>
    call.kind === wanted && call.due >= phases.faultBegin && call.due < phases.faultEnd
      ? { kind: call.kind, due: call.due, end: call.due + 1e6, error, retryable }
      : call,
  )

describe('who must not fail', () => {
  test.each([...readKinds, 'write' as const])('with Redis or Kafka away: a %s call', (kind) => {
    for (const name of ['redis hung', 'redis flapping', 'kafka refused', 'prometheus +1 s']) {
      const outcome = outcomeOf(failing(kind))
      expect(brokenIn(name, outcome)).toContain(`80 of 90 ${kind} calls failed`)
      expect(successOf(promisedIn(cell(name)), outcome)).toBeCloseTo(460 / 540)
    }
  })

  test('with PostgreSQL away: a read of what is cached, and nothing else', () => {
    expect(brokenIn('postgres hung', outcomeOf(failing('steady')))).toEqual([
      '80 of 90 steady calls failed',
    ])
    for (const kind of ['cold', 'strong', 'write'] as const) {
      expect(brokenIn('postgres hung', outcomeOf(failing(kind)))).toEqual([])
    }
    expect(brokenIn('postgres +100 ms', outcomeOf(failing('cold')))).toHaveLength(1)
    expect(brokenIn('redis+postgres refused', outcomeOf(failing('steady')))).toEqual([])
  })

  test('an error that can’t be retried, unless it is a COMMIT that nobody answered', () => {
    const untyped = outcomeOf(failing('cold', 'TypeError: x', false))
    expect(brokenIn('postgres refused', untyped)).toEqual(['calls failed with TypeError: x'])
    const unknown = outcomeOf(failing('write', 'WRITE_OUTCOME_UNKNOWN', false))
    expect(brokenIn('postgres refused', unknown)).toEqual([])
    const read = outcomeOf(failing('cold', 'WRITE_OUTCOME_UNKNOWN', false))
    expect(brokenIn('postgres refused', read)).toHaveLength(1)
  })
})

test('slower than twice the source, once breakers are open', () => {
  const slow = (fromMs: number) =>
    quiet((call) =>
      call.due >= phases.faultBegin + fromMs * 1e6 ? { ...call, end: call.due + 11e6 } : call,
    )
  const faultMs = 8_000
  expect(brokenIn('redis refused', outcomeOf(slow(900))).join()).toMatch(/P99 is 11.0 ms/)
  expect(brokenIn('redis refused', outcomeOf(slow(faultMs)))).toEqual([])
  expect(brokenIn('redis +100 ms', outcomeOf(slow(900)))).toEqual([])
})

test('a difference without Prometheus', () => {
  const slow = (ms: number) => quiet((call) => ({ ...call, end: call.due + ms * 1e6 }))
  expect(brokenIn('prometheus hung', outcomeOf(slow(10)))).toEqual([])
  expect(brokenIn('prometheus hung', outcomeOf(slow(12))).join()).toMatch(/took 12.0 ms/)
})

test('an answer that misses what was told of, however it came', () => {
  const stale = outcomeOf(quiet(), { staleMs: 1_001 })
  expect(brokenIn('redis flapping', stale)).toEqual(['an answer missed a write by 1001.0 ms'])
  expect(brokenIn('redis+kafka flapping', stale)).toEqual([])
})

test('a breaker of Redis that opens late, or not in every instance', () => {
  const at = (...times: number[]) => outcomeOf({ ...quiet(), breakers: times.map(opened) })
  expect(brokenIn('redis hung', at(2.9, 3))).toEqual([])
  expect(brokenIn('redis hung', at(2.9, 3.1)).join()).toMatch(/had opened after 1100.0 ms/)
  const one = outcomeOf({ ...quiet(), breakers: [opened(2.9), []] })
  expect(brokenIn('redis+kafka hung', one).join()).toMatch(/had opened after/)
  expect(brokenIn('redis flapping', one)).toEqual([])
})

test('failing slowly with PostgreSQL away', () => {
  const slow = quiet((call) =>
    call.kind === 'cold' ? { ...call, error: 'X', retryable: true, end: call.due + 60e6 } : call,
  )
  expect(brokenIn('postgres refused', outcomeOf(slow)).join()).toMatch(/took longer than 60.0 ms/)
})

test('from L1, or as proven, longer than the bound after nothing could be proven', () => {
  const steady = (change: Partial<Call>) =>
    quiet((call) => (call.kind === 'steady' ? { ...call, ...change } : call))
  expect(brokenIn('postgres refused', outcomeOf(steady({ proven: true }))).join()).toMatch(/proven/)
  expect(brokenIn('kafka hung', outcomeOf(steady({ tier: 'l1' }))).join()).toMatch(/from L1/)
  expect(brokenIn('redis hung', outcomeOf(steady({ tier: 'l1', proven: true })))).toEqual([])
})

test('a service that was to be away and answered all the same', () => {
  const reached = measure(quiet(), phases, boundMs)
  // Of each second but the first of the fault.
  expect([reached.l2AfterBound, reached.sourceAfterBound]).toEqual([4 * 69, 69])
  for (const name of ['redis hung', 'redis+kafka +1 s', 'redis refused 60 s']) {
    expect(brokenIn(name, outcomeOf(quiet(), reached)).join()).toMatch(/out of Redis/)
  }
  for (const name of ['postgres refused', 'redis+postgres hung']) {
    expect(brokenIn(name, outcomeOf(quiet(), reached)).join()).toMatch(/from PostgreSQL/)
  }
  expect(brokenIn('redis flapping', outcomeOf(quiet(), reached))).toEqual([])
})

test('L1 that is not back two seconds after Kafka', () => {
  const lostAt = { kind: 'trust', at: 3 * second, state: 'lost' } as const
  const back = (at: number): Samples => ({
    ...quiet(),
    trust: [[], [lostAt, { kind: 'trust', at, state: 'gained' }]],
  })
  expect(brokenIn('kafka refused', outcomeOf(back(11.9 * second)))).toEqual([])
  expect(brokenIn('kafka refused', outcomeOf(back(12.1 * second))).join()).toMatch(/back after/)
  const never = outcomeOf({ ...quiet(), trust: [[lostAt], []] })
  expect(brokenIn('kafka refused', never).join()).toMatch(/back after/)
  // Lost by what the end of the fault has cost.
  const late = [
    { kind: 'trust', at: 10.5 * second, state: 'lost' },
    { kind: 'trust', at: 13.5 * second, state: 'gained' },
  ] as const
  const measured = measure(
    { ...quiet(), trust: [[], late] },
    { ...phases, wellAt: 13.6 * second },
    boundMs,
  )
  expect(measured.trustBackMs).toBe(3_500)
  // Back while it is still flapping.
  expect(brokenIn('kafka flapping', outcomeOf(back(9 * second)))).toEqual([])
})

test('a Prometheus that is away, and no metric that says so; a breaker that changed', () => {
  const silent = outcomeOf(quiet(), { fleetAnswers: [{ known: 3 }, { deadline: 2 }] })
  expect(brokenIn('prometheus refused', silent).join()).toMatch(/the metric/)
  const changed = outcomeOf(quiet(), { transitions: { l2: 1, source: 0, bus: 0 } })
  expect(brokenIn('prometheus hung', changed)).toEqual(['1 changes of breakers'])
  expect(brokenIn('nothing', changed)).toEqual(['1 changes of breakers'])
})
