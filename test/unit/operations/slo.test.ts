/** Rules that set flags: hysteresis, renewal, and too little to tell. */
import { describe, expect, test } from 'vitest'
import type { FlagChange } from '../../../src/model/flags.ts'
import { type SloRule, SloWatch, settleSlo } from '../../../src/operations/slo.ts'
import { VirtualClock } from '../../support/clock.ts'

const rule: SloRule = {
  ratio: 'l2.failures',
  above: 0.5,
  below: 0.1,
  during: '3s',
  flag: 'l2.bypass',
  for: '10s',
  least: 10,
}

/** Every second so many calls, of which so many fail; what the rule did, with the second. */
async function acts(seconds: readonly (readonly [failed: number, all: number])[], one = rule) {
  const clock = new VirtualClock()
  const share = { part: 0, all: 0 }
  const done: string[] = []
  const began = clock.monotonicMs()
  const watch = new SloWatch({
    rules: settleSlo([one]),
    read: () => ({ ...share }),
    instance: 'this one',
    clock,
    act: ({ kind, instance }: FlagChange) => {
      expect(instance).toBe('this one')
      done.push(`${kind} at ${(clock.monotonicMs() - began) / 1_000}`)
    },
  })
  watch.start()
  for (const [part, all] of seconds) {
    share.part += part
    share.all += all
    await clock.advance(1_000)
  }
  watch.close()
  expect(clock.timers).toBe(0)
  return done
}

const times = <T>(count: number, one: T): readonly T[] => Array.from({ length: count }, () => one)
const bad = [8, 10] as const
const middling = [3, 10] as const
const good = [0, 10] as const
const quiet = [0, 0] as const

test('above for as long as it has to be, and not a moment sooner', async () => {
  expect(await acts(times(2, bad))).toEqual([])
  expect(await acts(times(3, bad))).toEqual(['set at 3'])
  expect(await acts([...times(2, bad), middling, ...times(2, bad)])).toEqual([])
})

test('below the lower limit it is unset; in between nothing changes', async () => {
  expect(await acts([...times(3, bad), ...times(3, middling)])).toEqual(['set at 3'])
  expect(await acts([...times(3, bad), middling, good])).toEqual(['set at 3', 'unset at 5'])
  expect(await acts(times(5, good))).toEqual([])
})

test('while it stays above it is set again before it ends', async () => {
  expect(await acts(times(14, bad))).toEqual(['set at 3', 'set at 8', 'set at 13'])
})

test('with too few calls nothing is concluded, and what was set ends by itself', async () => {
  expect(await acts(times(20, [1, 1]))).toEqual([])
  // After its end it takes as long as the first time.
  expect(await acts([...times(3, bad), ...times(12, quiet), ...times(3, bad)])).toEqual([
    'set at 3',
    'set at 18',
  ])
  // Few a second are enough together, within `during`.
  expect(await acts(times(6, [5, 5]))).toEqual(['set at 4'])
})

describe('rules', () => {
  test.each([
    ['slo', {}],
    ['slo[0]', [7]],
    ['slo[0].metric', [{ ...rule, metric: 'x' }]],
    ['slo[0].ratio', [{ ...rule, ratio: 'hits' }]],
    ['slo[0].above', [{ ...rule, above: 1 }]],
    ['slo[0].above', [{ ...rule, above: '0.5' }]],
    ['slo[0].below', [{ ...rule, below: 0.5 }]],
    ['slo[0].during', [{ ...rule, during: '10ms' }]],
    ['slo[0].for', [{ ...rule, for: '8d' }]],
    ['slo[0].for', [{ ...rule, for: '1s' }]],
    ['slo[0].least', [{ ...rule, least: 0 }]],
    ['slo[0].flag', [{ ...rule, flag: 'all.off' }]],
    ['slo[1].flag', [rule, { ...rule, ratio: 'reads.failed' }]],
  ])('option "%s" is told of', (option, rules) => {
    expect(() => settleSlo(rules)).toThrow(`option "${option}"`)
  })

  test('none by default', () => {
    expect(settleSlo(undefined)).toEqual([])
    expect(settleSlo([rule])).toEqual([
      {
        ...{ ratio: 'l2.failures', above: 0.5, below: 0.1, least: 10, flag: 'l2.bypass' },
        ...{ duringMs: 3_000, forMs: 10_000 },
      },
    ])
  })
})
