import { expect, test } from 'vitest'
import {
  bytesText,
  clockVerdict,
  nearestName,
  secondsText,
} from '../../../src/operations/doctor-words.ts'

test('the nearest name is told, and none where nothing is near', () => {
  const known = ['LOCKSTEP_NAMESPACE', 'LOCKSTEP_FLAGS', 'LOCKSTEP_KAFKA_TLS']
  expect(nearestName('LOCKSTEP_NAMESPCE', known)).toBe('LOCKSTEP_NAMESPACE')
  expect(nearestName('LOCKSTEP_FLAG', known)).toBe('LOCKSTEP_FLAGS')
  expect(nearestName('LOCKSTEP_KAFKA_SSL', known)).toBe('LOCKSTEP_KAFKA_TLS')
  expect(nearestName('LOCKSTEP_SOMETHING_ELSE', known)).toBeUndefined()
  expect(nearestName('REDIS_URI', ['REDIS_URL'], 2)).toBe('REDIS_URL')
  expect(nearestName('REDIS_HOST', ['REDIS_URL'], 2)).toBeUndefined()
  expect(nearestName('anything', [])).toBeUndefined()
})

test('amounts and times in words', () => {
  expect([0, 512, 1_536, 100 * 1024, 3 * 1024 ** 3].map(bytesText)).toEqual([
    '0 B',
    '512 B',
    '1.5 KiB',
    '100 KiB',
    '3.0 GiB',
  ])
  expect([0.4, 119, 120, 7_199, 7_200].map(secondsText)).toEqual([
    '0 s',
    '119 s',
    '2 min',
    '120 min',
    '2 h',
  ])
})

test('a clock that differs by less than the question took is right', () => {
  expect(clockVerdict({ offsetMs: 900, roundTripMs: 10 }).state).toBe('ok')
  expect(clockVerdict({ offsetMs: -1_900, roundTripMs: 2_000 }).state).toBe('ok')
  expect(clockVerdict({ offsetMs: -1_900, roundTripMs: 10 }).state).toBe('warning')
})
