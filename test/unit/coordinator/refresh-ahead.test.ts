/** When a hit loads anew what is still fresh. */
import { expect, test } from 'vitest'
import { RefreshAhead } from '../../../src/coordinator/refresh-ahead.ts'
import type { Candidate } from '../../../src/model/l1-port.ts'

const ttlMs = 10_000
/** Fresh from 0 to 10,000. */
const candidate = { loadedAtMs: 0, freshUntilMs: ttlMs } as Candidate
const open = (refreshAhead: 'probabilistic' | number | false, random = () => 0.5): RefreshAhead =>
  new RefreshAhead({ refreshAhead, ttlMs, negativeTtlMs: 1_000 }, random)

test('nothing is early before a load has been measured, or where nobody wants it', () => {
  for (const ahead of [open('probabilistic'), open(false)]) {
    expect([ahead.fromMs, ahead.isDue(candidate, ttlMs - 1)]).toEqual([0, false])
  }
  const never = open(false)
  never.loaded(1_000)
  expect([never.fromMs, never.isDrawn(candidate, ttlMs - 1)]).toEqual([0, false])
})

test('a fixed share is that share of each value’s own life', () => {
  const ahead = open(0.8)
  expect(ahead.fromMs).toBeLessThanOrEqual(-0.2 * ttlMs * 1.1 + 1e-6)
  expect(ahead.isDrawn(candidate, 0.8 * ttlMs - 1)).toBe(false)
  expect(ahead.isDrawn(candidate, 0.8 * ttlMs)).toBe(true)
  const short = { ...candidate, freshUntilMs: 1_000 }
  expect([ahead.isDue(short, 799), ahead.isDue(short, 800)]).toEqual([false, true])
})

test('drawn as XFetch has it: with one mean load left, one hit in e begins', () => {
  let seed = 1
  const random = (): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  const ahead = open('probabilistic', random)
  ahead.loaded(100)
  const share = (leftMs: number): number => {
    let drawn = 0
    for (let hit = 0; hit < 20_000; hit++) {
      if (ahead.isDrawn(candidate, ttlMs - leftMs)) drawn++
    }
    return drawn / 20_000
  }
  expect(share(100)).toBeCloseTo(Math.exp(-1), 1)
  expect(share(300)).toBeCloseTo(Math.exp(-3), 1)
  expect(share(1_000)).toBeLessThan(0.001)
  expect(share(1)).toBeGreaterThan(0.97)
})

test('its window is as long as loads take, in the mean', () => {
  const ahead = open('probabilistic')
  ahead.loaded(10)
  expect(ahead.fromMs).toBe(-160)
  for (let load = 0; load < 200; load++) ahead.loaded(20)
  expect(ahead.fromMs).toBeCloseTo(-320, 0)
})

test('what was just loaded is not loaded again, however slow loads are and whatever is drawn', () => {
  const ahead = open('probabilistic', () => 0)
  ahead.loaded(60_000)
  expect(ahead.isDrawn(candidate, ttlMs / 2 - 1)).toBe(false)
  expect(ahead.isDrawn(candidate, ttlMs / 2 + 1)).toBe(true)
})
