import { describe, expect, test } from 'vitest'
import {
  type Landed,
  mayJoin,
  mayTake,
  newFlight,
  type Promised,
  passes,
} from '../../../src/coordinator/flight.ts'
import type { Candidate } from '../../../src/model/l1-port.ts'
import type { WriteId, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'
import { quiet } from '../../support/clock.ts'

const write = (xid: number, incarnation = incarnationA): WriteId => ({
  incarnation,
  xid: xid as Xid,
})

/** Sees every xid below 10. */
const candidate: Candidate = {
  value: 'v',
  isShared: true,
  snapshot: snapshot('10:10:'),
  loadedAtMs: 0,
  freshUntilMs: 1,
  weightBytes: 1,
}
const landed = (loadTurn: number, fillTurn: number): Landed => ({
  candidate,
  tier: loadTurn === 0 ? 'l2' : 'source',
  isProven: true,
  loadTurn,
  fillTurn,
})
/** Every reader here began at turn 5. */
const reader = (options: Partial<Promised> = {}): Promised => ({
  beganTurn: 5,
  beganAtMs: 0,
  isStrong: false,
  tickets: [],
  ...options,
})
const strong = reader({ isStrong: true })
const seenTicket = reader({ tickets: [write(9)] })
const missedTicket = reader({ tickets: [write(9), write(10)] })
const foreignTicket = reader({ tickets: [write(9, incarnationB)] })
const strongSeenTicket = reader({ isStrong: true, tickets: [write(9)] })
const strongMissedTicket = reader({ isStrong: true, tickets: [write(10)] })

describe('who may take what another flight brought', () => {
  const before = 4
  const after = 6
  test.each<[reader: string, Promised, loaded: number, filled: number, mayTake: boolean]>([
    ['a bounded reader: any', reader(), before, 0, true],
    ['a bounded reader: what came out of L2', reader(), 0, 0, true],
    ['a bounded reader: a later load', reader(), after, after + 1, true],
    ['a strong reader: a load after it began, filled or not', strong, after, 0, true],
    ['a strong reader: an older load whose fill came after it began', strong, before, after, true],
    ['a strong reader: no older load that was not filled', strong, before, 0, false],
    [
      'a strong reader: no older load that was filled before it began',
      strong,
      before - 1,
      before,
      false,
    ],
    ['a strong reader: not what came out of L2', strong, 0, 0, false],
    [
      'a ticketed reader: an older load that sees its writes, filled since',
      seenTicket,
      before,
      after,
      true,
    ],
    [
      'a ticketed reader: no older load that misses a write, though filled since',
      missedTicket,
      before,
      after,
      false,
    ],
    ['a ticketed reader: no older load that was not filled', seenTicket, before, 0, false],
    ['a ticketed reader: a load after it began', missedTicket, after, 0, true],
    ['a ticket of another incarnation: no older load', foreignTicket, before, after, false],
    ['a ticket of another incarnation: a load after it began', foreignTicket, after, 0, true],
    [
      'a strong ticketed reader: an older load that does both',
      strongSeenTicket,
      before,
      after,
      true,
    ],
    [
      'a strong ticketed reader: none that misses the write',
      strongMissedTicket,
      before,
      after,
      false,
    ],
  ])('%s', (_, promised, loadTurn, fillTurn, expected) => {
    expect(mayTake(promised, landed(loadTurn, fillTurn))).toBe(expected)
  })

  test('what was sent in the very turn in which the reader began is not after it', () => {
    expect(mayTake(strong, landed(5, 0))).toBe(false)
    expect(mayTake(strong, landed(4, 5))).toBe(false)
  })
})

test('a bounded reader joins a load that began within the bound, and no older one', () => {
  const flight = newFlight(0)
  // Of one whose load is still to begin everybody may have what it brings.
  expect(mayJoin(reader({ beganAtMs: 1e9 }), flight, 100)).toBe(true)
  flight.askedAtMs = 1_000
  const at = (beganAtMs: number): Promised => reader({ beganAtMs })
  expect(mayJoin(at(1_000), flight, 100)).toBe(true)
  expect(mayJoin(at(1_100), flight, 100)).toBe(true)
  expect(mayJoin(at(1_101), flight, 100)).toBe(false)
  expect(mayJoin(at(900), flight, 100)).toBe(true)
})

test('a flight that crashes with nobody aboard is no unhandled rejection', async () => {
  const flight = newFlight(0)
  flight.loaded.reject(new Error('crashed'))
  flight.landed.reject(new Error('crashed'))
  await quiet()
  await expect(flight.landed.promise).rejects.toThrow('crashed')
})

describe('which snapshot passes which tombstone', () => {
  const at = snapshot('10:20:12,15')
  test.each<[xid: number, merged: boolean, passes: boolean]>([
    [9, false, true],
    [10, false, true],
    [12, false, false],
    [13, false, true],
    [19, false, true],
    [20, false, false],
    [9, true, true],
    // Merged it stands for 12 as well, which is not seen.
    [10, true, false],
    [13, true, false],
    [19, true, false],
    [20, true, false],
  ])('xid %d, merged %s: %s', (xid, merged, expected) => {
    expect(passes({ ...write(xid), merged }, at)).toBe(expected)
  })

  test('none of another incarnation, merged or not', () => {
    for (const merged of [true, false]) {
      expect(passes({ ...write(1, incarnationB), merged }, at)).toBe(false)
    }
  })

  test('the own write of a written value passes, but not as part of a merged tombstone', () => {
    const own = { ...at, own: 12 as Xid }
    expect(passes({ ...write(12), merged: false }, own)).toBe(true)
    expect(passes({ ...write(12), merged: true }, own)).toBe(false)
  })
})
