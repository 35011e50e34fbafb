import { beforeEach, expect, test } from 'vitest'
import type { FleetAnswer, UnknownReason } from '../../../src/model/fleet.ts'
import { unknownReasons } from '../../../src/model/fleet.ts'
import { FleetHolds, type Target } from '../../../src/resilience/fleet-holds.ts'
import { VirtualClock } from '../../support/clock.ts'

const l2: Target = { hop: 'l2', node: undefined }
const source: Target = { hop: 'source', node: undefined }
const holdMs = 60_000
const restMs = holdMs

let clock: VirtualClock
let holds: FleetHolds
beforeEach(() => {
  clock = new VirtualClock()
  holds = new FleetHolds(holdMs)
})

const now = () => ({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() })
const ratios = (ofL2: number, ofSource = 0, ageMs = 0): FleetAnswer => ({
  kind: 'known',
  atMs: clock.wallMs() - ageMs,
  ratios: [
    { ...l2, errorRatio: ofL2 },
    { ...source, errorRatio: ofSource },
  ],
})
const hear = (answer: FleetAnswer, targets: readonly Target[] = [l2, source]) => {
  const { holds: held, outcome } = holds.heard(answer, targets, now())
  return [outcome, ...held.map(({ hop, node }) => (node ? `${hop} ${node}` : hop))]
}

test('above one call in twenty a hop is held, for a minute from now', () => {
  expect(hear(ratios(0.05, 0))).toEqual(['known'])
  expect(hear(ratios(0.051, 0.2))).toEqual(['known', 'l2', 'source'])
  const [held] = new FleetHolds(holdMs).heard(ratios(1), [l2], now()).holds
  expect(held).toEqual({ ...l2, errorRatio: 1, untilMs: clock.monotonicMs() + holdMs })
})

test('it is held until the minute is over, whatever is heard meanwhile', async () => {
  hear(ratios(0.5))
  for (let past = 0; past < holdMs; past += 10_000) {
    expect(holds.isHeld('l2', clock.monotonicMs())).toBe(true)
    expect(hear(ratios(past % 20_000 === 0 ? 0 : 1))).toEqual(['known'])
    await clock.advance(10_000)
  }
  expect(holds.isHeld('l2', clock.monotonicMs())).toBe(false)
})

test('what is heard until the window has passed is about the time of before', async () => {
  hear(ratios(0.5))
  await clock.advance(holdMs + restMs - 1)
  expect(hear(ratios(1))).toEqual(['known'])
  await clock.advance(1)
  expect(hear(ratios(1))).toEqual(['known', 'l2'])
})

test('always above, never above, or now and then: it is held half of the time at most', async () => {
  let held = 0
  for (let second = 0; second < 3_600; second++) {
    hear(ratios(1))
    if (holds.isHeld('l2', clock.monotonicMs())) held++
    await clock.advance(1_000)
  }
  expect(held).toBe(1_800)
})

test('each hop for itself', async () => {
  hear(ratios(0.5))
  await clock.advance(30_000)
  expect(hear(ratios(0.5, 0.5))).toEqual(['known', 'source'])
  expect(['l2', 'source', 'bus'].map((hop) => holds.isHeld(hop, clock.monotonicMs()))).toEqual([
    ...[true, true, false],
  ])
  await clock.advance(30_000)
  expect(['l2', 'source'].map((hop) => holds.isHeld(hop, clock.monotonicMs()))).toEqual([
    ...[false, true],
  ])
})

test('of a cluster each node for itself, and of nodes that are none nothing', () => {
  const nodes: Target[] = [
    { hop: 'l2', node: '10.0.0.1:6379' },
    { hop: 'l2', node: '10.0.0.2:6379' },
  ]
  const answer: FleetAnswer = {
    kind: 'known',
    atMs: clock.wallMs(),
    ratios: [
      { hop: 'l2', node: '10.0.0.2:6379', errorRatio: 1 },
      { hop: 'l2', node: '10.0.0.9:6379', errorRatio: 1 },
      { hop: 'l2', node: undefined, errorRatio: 1 },
      { hop: 'l3', node: undefined, errorRatio: 1 },
    ],
  }
  expect(hear(answer, nodes)).toEqual(['known', 'l2 10.0.0.2:6379'])
})

test('an answer of another time than now is stale: nothing is held by it', () => {
  expect(hear(ratios(1, 1, 30_001))).toEqual(['stale'])
  expect(hear(ratios(1, 1, -30_001))).toEqual(['stale'])
  expect(hear({ ...ratios(1, 1), atMs: Number.NaN } as FleetAnswer)).toEqual(['stale'])
  expect(hear(ratios(1, 1, 30_000))).toEqual(['known', 'l2', 'source'])
})

test.each(unknownReasons)('of "%s" nothing comes', (reason: UnknownReason) => {
  expect(hear({ kind: 'unknown', reason, detail: '' })).toEqual([reason])
  expect(holds.isHeld('l2', clock.monotonicMs())).toBe(false)
})

test('a ratio that is no number holds nothing', () => {
  expect(hear(ratios(Number.NaN, Number.NaN))).toEqual(['known'])
})
