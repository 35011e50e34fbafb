import { expect, test } from 'vitest'
import { Trust } from '../../../src/coordinator/trust.ts'
import type { Region } from '../../../src/model/l1-port.ts'
import type { Snapshot } from '../../../src/model/snapshot.ts'
import type { TrustChange } from '../../../src/telemetry/events.ts'
import { snapshot } from '../../support/arbitrary.ts'

const boundMs = 1_000
const floorLagMs = 500

function regionThatListens() {
  const floors: Snapshot[] = []
  const region = {
    floors,
    resets: 0,
    settle: (floor: Snapshot) => {
      floors.push(floor)
    },
    reset: () => {
      region.resets++
    },
  }
  return region
}

function setUp() {
  const regions = [regionThatListens(), regionThatListens()] as const
  const changes: TrustChange[] = []
  const changed = (change: TrustChange) => void changes.push(change)
  const trust = new Trust({ regions: regions as unknown as Region[], boundMs, floorLagMs, changed })
  return { trust, regions, changes }
}

const at = (monotonicMs: number, wallMs = monotonicMs) => ({ monotonicMs, wallMs })
const probe = (xmin: number): Snapshot => snapshot(`${xmin}:${xmin}:`)

test('before the first probe nothing is proven, at whatever time', () => {
  const { trust } = setUp()
  for (const now of [-1e15, 0, 1e15]) expect(trust.isProven(at(now))).toBe(false)
})

test('L1 is proven for B after the probe was asked for, to the millisecond', () => {
  const { trust } = setUp()
  trust.advance(at(5_000), probe(10))
  expect(trust.isProven(at(5_000))).toBe(true)
  expect(trust.isProven(at(6_000))).toBe(true)
  expect(trust.isProven(at(6_000.1))).toBe(false)
})

test('either clock ends it: a suspended machine, a wall clock that is set forward', () => {
  const { trust } = setUp()
  trust.advance(at(5_000, 90_000), probe(10))
  expect(trust.isProven(at(5_500, 90_500))).toBe(true)
  expect(trust.isProven(at(5_500, 91_001))).toBe(false)
  expect(trust.isProven(at(6_001, 90_500))).toBe(false)
})

test('a wall clock that is set back lengthens nothing', () => {
  const { trust } = setUp()
  trust.advance(at(5_000, 90_000), probe(10))
  expect(trust.isProven(at(6_001, 10_000))).toBe(false)
  trust.advance(at(6_500, 10_500), probe(11))
  expect(trust.isProven(at(6_600, 10_600))).toBe(true)
  expect(trust.isProven(at(7_501, 10_600))).toBe(false)
})

test('how old the proof is counts from when the probe was asked for', () => {
  const { trust } = setUp()
  trust.advance(at(5_000), probe(10))
  expect(trust.ageMs(at(5_000))).toBe(0)
  expect(trust.ageMs(at(5_700))).toBe(700)
})

test('the floor follows the newest probe at a distance of one load to two', () => {
  const { trust, regions } = setUp()
  const probes = Array.from({ length: 30 }, (_, index) => probe(10 + index))
  const atMs = (index: number): number => index * 100
  for (const [index, one] of probes.entries()) trust.advance(at(atMs(index)), one)
  for (const [index, floor] of regions[0].floors.entries()) {
    const lag = atMs(index) - atMs(probes.indexOf(floor))
    expect(lag).toBeLessThan(2 * floorLagMs + 100)
    if (atMs(index) >= 2 * floorLagMs) expect(lag).toBeGreaterThanOrEqual(floorLagMs)
  }
})

test('a load that takes no longer than the lag is labelled with what covers the floor at its end', () => {
  const { trust, regions } = setUp()
  const began: { atMs: number; label: Snapshot }[] = []
  for (let index = 0; index < 60; index++) {
    const nowMs = index * 70
    trust.advance(at(nowMs), probe(10 + index))
    began.push({ atMs: nowMs, label: probe(10 + index) })
    const floor = regions[0].floors.at(-1) as Snapshot
    for (const { atMs, label } of began) {
      if (nowMs - atMs <= floorLagMs) expect(label.xmin).toBeGreaterThanOrEqual(floor.xmin)
    }
  }
})

test('every region is settled by every probe, with the floor', () => {
  const { trust, regions } = setUp()
  trust.advance(at(0), probe(10))
  trust.advance(at(100), probe(20))
  for (const region of regions) expect(region.floors).toEqual([probe(10), probe(10)])
})

test('what is lost is lost: every region is emptied, and only a new probe proves anything', () => {
  const { trust, regions } = setUp()
  trust.advance(at(0), probe(10))
  trust.advance(at(100), probe(20))
  trust.lose('pruned')
  expect(regions.map(({ resets }) => resets)).toEqual([1, 1])
  expect(trust.isProven(at(100))).toBe(false)
  trust.advance(at(200), probe(30))
  expect(trust.isProven(at(1_200))).toBe(true)
  // Nothing of before: the floor starts anew.
  expect(regions[0].floors.at(-1)).toEqual(probe(30))
})

test('what happens to trust is told once, and why', () => {
  const { trust, changes } = setUp()
  trust.notice(at(0))
  expect(changes, 'there was none').toEqual([])
  trust.advance(at(0), probe(10))
  trust.advance(at(500), probe(20))
  trust.notice(at(1_500))
  expect(changes).toEqual([{ state: 'gained' }])
  trust.notice(at(1_501))
  trust.notice(at(1_600))
  expect(changes.slice(1)).toEqual([{ state: 'lost', reason: 'expired' }])
  trust.advance(at(1_600), probe(30))
  expect(changes.slice(2)).toEqual([{ state: 'gained' }])
  trust.lose('incarnation')
  trust.lose('incarnation')
  trust.notice(at(9_000))
  expect(changes.slice(3)).toEqual([{ state: 'lost', reason: 'incarnation' }])
})

test('that writes may have been missed is told of trust that has run out, too', () => {
  const { trust, changes } = setUp()
  trust.advance(at(0), probe(10))
  trust.notice(at(2_000))
  trust.lose('pruned')
  expect(changes.slice(1)).toEqual([
    { state: 'lost', reason: 'expired' },
    { state: 'lost', reason: 'pruned' },
  ])
})
