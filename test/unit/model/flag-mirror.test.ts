import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  formatKept,
  mirroredState,
  parseChanges,
  parseKept,
} from '../../../src/model/flag-mirror.ts'
import { checkedSet, checkedUnset } from '../../../src/model/flags.ts'
import { MemoryFlags } from '../../../src/testing/memory-flags.ts'
import { VirtualClock } from '../../support/clock.ts'

const given = { for: '10m', reason: 'two\nlines' } as const

test('what is kept is read as it was, less what has ended', async () => {
  const clock = new VirtualClock()
  const short = checkedSet('fill.off', { ...given, for: '1m' }, 'me')
  const state = await new MemoryFlags(clock).change([checkedSet('l2.bypass', given, 'me'), short])
  expect(parseKept(formatKept(state))).toEqual(state)
  const later = mirroredState(parseKept(formatKept(state)), [], clock.wallMs() + 60_000)
  expect(later.flags).toMatchObject([{ flag: 'l2.bypass', leftMs: 540_000 }])
})

test('a change counts over what is kept, and the last one over those before', async () => {
  const clock = new VirtualClock()
  const atMs = clock.wallMs()
  const kept = await new MemoryFlags(clock).change([checkedSet('l2.bypass', given, 'me')])
  const again = { ...checkedSet('l2.bypass', { ...given, reason: 'again' }, 'other'), atMs }
  const over = { ...checkedUnset('l2.bypass', {}, 'other'), atMs }
  const lines = [again, over, again].map((change) => JSON.stringify(change)).join('\n')
  const changes = parseChanges(lines)
  expect(changes).toEqual([again, over, again])
  expect(mirroredState(kept, changes, atMs).flags).toMatchObject([{ reason: 'again' }])
  expect(mirroredState(kept, changes.slice(0, 2), atMs).flags).toEqual([])
  const [flag] = mirroredState(kept, changes, atMs).flags
  expect(flag?.changeId).toBeGreaterThan(kept.flags[0]?.changeId as number)
})

test('whatever lies there, it is read without an exception', () => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc.json().map((json) => `7\n${json}`),
  )
  fc.assert(
    fc.property(texts, texts, (kept, changes) => {
      mirroredState(parseKept(kept), parseChanges(changes), 0)
    }),
  )
})
