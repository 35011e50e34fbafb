import { expect, test } from 'vitest'
import { NewKeys } from '../../../src/memory/new-keys.ts'
import type { L1Key } from '../../../src/model/id.ts'

const key = (id: number | string): L1Key => id as L1Key

function open(limit: number) {
  let alarms = 0
  const keys = new NewKeys({ limit, full: () => void alarms++ })
  return { keys, alarms: () => alarms }
}

test.each([100, 10_000, 200_000])(
  'of endlessly many keys about %d a minute are let in',
  (limit) => {
    const { keys, alarms } = open(limit)
    let admitted = 0
    let asked = 0
    while (alarms() === 0) {
      asked++
      if (keys.admits(key(`made up ${asked}`), 0)) admitted++
    }
    expect(admitted / limit).toBeGreaterThan(limit < 1_000 ? 0.85 : 0.98)
    expect(admitted / limit).toBeLessThan(limit < 1_000 ? 1.15 : 1.02)
    let beyond = 0
    for (let more = 0; more < limit; more++) if (keys.admits(key(`more ${more}`), 0)) beyond++
    expect(beyond / limit).toBeLessThan(0.2)
    expect(alarms()).toBe(1)
  },
)

test('keys that came up in this minute are known, beyond the bound too, and count once', () => {
  const { keys, alarms } = open(1_000)
  for (let times = 0; times < 10; times++) {
    for (let id = 0; id < 900; id++) expect(keys.admits(key(id), 0)).toBe(true)
  }
  expect(alarms()).toBe(0)
  for (let id = 10_000; alarms() === 0; id++) keys.admits(key(id), 0)
  for (let id = 0; id < 900; id++) expect(keys.admits(key(id), 59_999)).toBe(true)
})

test('the next minute begins with nothing, and alarms anew', () => {
  const { keys, alarms } = open(10)
  const flood = (nowMs: number): void => {
    for (let id = 0; id < 1_000; id++) keys.admits(key(id + nowMs), nowMs)
  }
  flood(5_000)
  flood(64_999)
  expect(alarms()).toBe(1)
  expect(keys.admits(key('new'), 65_000)).toBe(true)
  flood(65_001)
  expect(alarms()).toBe(2)
})

test('a bound of one is one', () => {
  const { keys } = open(1)
  expect([keys.admits(key('a'), 0), keys.admits(key('c'), 0), keys.admits(key('a'), 0)]).toEqual([
    ...[true, false, true],
  ])
})
