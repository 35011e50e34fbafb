import { expect, test } from 'vitest'
import { Probes } from '../../../src/coordinator/probes.ts'
import { incarnationA, incarnationB, snapshot } from '../../support/arbitrary.ts'

const boundMs = 1_000
const at = (monotonicMs: number, wallMs = monotonicMs) => ({ monotonicMs, wallMs })

test('before the first probe nothing is known and nothing proven', () => {
  const probes = new Probes(boundMs)
  expect([probes.newest, probes.incarnation]).toEqual([undefined, undefined])
  expect(probes.proves(snapshot('10:10:'), at(0))).toBe(false)
})

test('the newest probe labels loads, from the moment it is known', () => {
  const probes = new Probes(boundMs)
  probes.add(at(0), snapshot('10:10:'))
  probes.add(at(100), snapshot('20:20:'))
  expect([probes.newest, probes.incarnation]).toEqual([snapshot('20:20:'), incarnationA])
})

test('without a barrier nothing is proven', () => {
  const probes = new Probes(boundMs)
  probes.add(at(0), snapshot('10:10:'))
  expect(probes.proves(undefined, at(0))).toBe(false)
})

test('a barrier proves what it lies beside if it covers a probe that was asked for no longer than B ago', () => {
  const probes = new Probes(boundMs)
  probes.add(at(0), snapshot('10:12:11'))
  for (const barrier of ['12:12:', '10:12:11', '11:11:', '11:20:11', '30:30:'].map((text) =>
    snapshot(text),
  )) {
    expect(probes.proves(barrier, at(boundMs))).toBe(true)
    expect(probes.proves(barrier, at(boundMs + 0.1))).toBe(false)
  }
  for (const barrier of ['10:10:', '10:12:10', '10:12:10,11'].map((text) => snapshot(text))) {
    expect(probes.proves(barrier, at(0)), barrier.xip.join()).toBe(false)
  }
})

test('one that covers an older probe counts from there', () => {
  const probes = new Probes(boundMs)
  probes.add(at(0), snapshot('10:10:'))
  probes.add(at(400), snapshot('20:20:'))
  probes.add(at(800), snapshot('30:30:'))
  const barrier = snapshot('25:25:')
  expect(probes.proves(barrier, at(1_400))).toBe(true)
  expect(probes.proves(barrier, at(1_401))).toBe(false)
  expect(probes.proves(snapshot('12:12:'), at(1_001))).toBe(false)
})

test('what was asked about is asked about anew when there is another probe, or another barrier', () => {
  const probes = new Probes(boundMs)
  const barrier = snapshot('20:20:')
  probes.add(at(0), snapshot('30:30:'))
  expect(probes.proves(barrier, at(0))).toBe(false)
  expect(probes.proves(snapshot('30:30:'), at(0))).toBe(true)
  expect(probes.proves(barrier, at(0))).toBe(false)
  const covered = new Probes(boundMs)
  covered.add(at(0), snapshot('10:10:'))
  expect(covered.proves(barrier, at(900))).toBe(true)
  covered.add(at(900), snapshot('15:15:'))
  expect(covered.proves(barrier, at(1_500))).toBe(true)
})

test('either clock ends it', () => {
  const probes = new Probes(boundMs)
  probes.add(at(0, 50_000), snapshot('10:10:'))
  expect(probes.proves(snapshot('10:10:'), at(500, 50_500))).toBe(true)
  expect(probes.proves(snapshot('10:10:'), at(500, 51_001))).toBe(false)
  expect(probes.proves(snapshot('10:10:'), at(1_001, 40_000))).toBe(false)
})

test('in another life of the database nothing of before proves anything', () => {
  const probes = new Probes(boundMs)
  probes.add(at(0), snapshot('10:10:'))
  probes.add(at(10), snapshot('10:10:', incarnationB))
  expect(probes.proves(snapshot('10:10:'), at(20))).toBe(false)
  expect(probes.proves(snapshot('10:10:', incarnationB), at(20))).toBe(true)
  expect(probes.incarnation).toBe(incarnationB)
})

test('a life of the database is young for B after it was seen first', () => {
  const probes = new Probes(boundMs)
  expect(probes.isYoung(0)).toBe(true)
  probes.add(at(0), snapshot('10:10:'))
  probes.add(at(900), snapshot('11:11:'))
  expect([probes.isYoung(boundMs), probes.isYoung(boundMs + 1)]).toEqual([true, false])
  probes.add(at(5_000), snapshot('10:10:', incarnationB))
  expect([probes.isYoung(6_000), probes.isYoung(6_001)]).toEqual([true, false])
})

test('however many probes there are, those of the whole of B are remembered', () => {
  const probes = new Probes(boundMs)
  // One each millisecond: somebody needs a fresh snapshot for each load.
  for (let ms = 0; ms <= 3_000; ms++) probes.add(at(ms), snapshot(`${ms + 10}:${ms + 10}:`))
  expect(probes.newest?.xmin).toBe(3_010)
  for (const ageMs of [100, 300, 600, 900]) {
    const xmax = 3_010 - ageMs
    const barrier = snapshot(`${xmax}:${xmax}:`)
    expect(probes.proves(barrier, at(3_000)), `a barrier of ${ageMs} ms ago`).toBe(true)
    // Not of much before it either.
    expect(probes.proves(barrier, at(3_000 + boundMs - ageMs - 50))).toBe(true)
    expect(probes.proves(barrier, at(3_000 + boundMs - ageMs + 1))).toBe(false)
  }
})
