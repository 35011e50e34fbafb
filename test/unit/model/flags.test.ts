import { describe, expect, test } from 'vitest'
import {
  checkedSet,
  checkedStep,
  checkedUnset,
  flagKey,
  flagNames,
  ladder,
  longestFlagMs,
  refusalOfWrite,
  switchesOf,
} from '../../../src/model/flags.ts'

const given = { for: '10m', reason: 'why' } as const

describe('what may be set', () => {
  test('all that is needed, and whose it is', () => {
    expect(checkedSet('l2.bypass', given, 'me')).toEqual({
      ...{ kind: 'set', flag: 'l2.bypass', forMs: 600_000, reason: 'why', author: 'me' },
      by: 'operator',
    })
    const scoped = { ...given, author: 'anna', entity: 'city', instance: 'one' }
    expect(checkedSet('fill.off', scoped, 'me')).toMatchObject({
      ...{ author: 'anna', entity: 'city', instance: 'one' },
    })
    expect(checkedUnset('fill.off', {}, 'me')).toMatchObject({ kind: 'unset', author: 'me' })
    expect(checkedSet('fill.off', { ...given, for: longestFlagMs }, 'me').forMs).toBe(longestFlagMs)
  })

  test.each([
    ['flag', 'l3.bypass', given],
    ['for', 'l1.bypass', { ...given, for: longestFlagMs + 1 }],
    ['for', 'l1.bypass', { ...given, for: Number.NaN }],
    ['for', 'l1.bypass', { reason: 'why' }],
    ['reason', 'l1.bypass', { for: '1m' }],
    ['reason', 'l1.bypass', { ...given, reason: 'x'.repeat(501) }],
    ['reason', 'l1.bypass', { ...given, reason: '\ud800' }],
    ['author', 'l1.bypass', { ...given, author: ' ' }],
    ['entity', 'l1.bypass', { ...given, entity: '' }],
    ['instance', 'l1.bypass', { ...given, instance: 'x'.repeat(65) }],
    ['forever', 'l1.bypass', { ...given, forever: true }],
    ['options', 'l1.bypass', null],
  ])('option "%s" is told of', (option, flag, options) => {
    expect(() => checkedSet(flag, options as never, 'me')).toThrow(`option "${option}"`)
  })
})

describe('the ladder', () => {
  test('each step has what the one before has, and more', () => {
    for (const [step, { flags }] of ladder.entries()) {
      const before: readonly string[] = ladder[step - 1]?.flags ?? []
      expect(flags).toEqual(expect.arrayContaining([...before]))
      expect(flags.length).toBe(step)
      for (const flag of flags) expect(flagNames).toContain(flag)
    }
  })

  test('a step sets its own and unsets the others of the ladder, in the same scope', () => {
    const changes = checkedStep(2, { ...given, entity: 'city' }, 'me')
    expect(changes.map(({ kind, flag }) => `${kind} ${flag}`)).toEqual([
      'set refresh.off',
      'set serve.stale',
      'unset fill.off',
      'unset l2.bypass',
      'unset misses.shed',
    ])
    expect(changes.every(({ entity, reason }) => entity === 'city' && reason === 'why')).toBe(true)
  })

  test.each([-1, 6, 0.5, '1', undefined])('step %s is none', (step) => {
    expect(() => checkedStep(step, given, 'me')).toThrow('option "step"')
  })
})

test('the same flag of the same scope has one key', () => {
  expect(flagKey({ flag: 'fill.off' })).toBe(flagKey({ flag: 'fill.off', entity: undefined }))
  const keys = [{}, { entity: 'a' }, { instance: 'a' }, { entity: 'a', instance: 'a' }]
  expect(new Set(keys.map((scope) => flagKey({ flag: 'fill.off', ...scope }))).size).toBe(4)
})

test('what refuses a write, and what an invalidation', () => {
  const codes = (set: Parameters<typeof switchesOf>[0]) =>
    [false, true].map(
      (isInvalidation) => refusalOfWrite(switchesOf(set), 'city', isInvalidation)?.code,
    )
  expect(codes([])).toEqual([undefined, undefined])
  expect(codes(['writes.reject'])).toEqual(['WRITES_REJECTED', undefined])
  expect(codes(['source.readonly'])).toEqual(['SOURCE_READONLY', 'SOURCE_READONLY'])
})
