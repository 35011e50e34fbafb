import { expect, test } from 'vitest'
import { Marks } from '../../../src/coordinator/marks.ts'
import { silent } from '../../../src/model/log.ts'
import type { Outbox } from '../../../src/model/ports.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const deadlineMs = 500

function setUp(mark: (rowIds: readonly string[]) => Promise<void> = () => Promise.resolve()) {
  const clock = new VirtualClock()
  const marked: (readonly string[])[] = []
  const outbox = {
    mark: (rowIds: readonly string[]) => {
      marked.push(rowIds)
      return mark(rowIds)
    },
  } as unknown as Outbox
  return { clock, marked, marks: new Marks(outbox, clock, silent, deadlineMs) }
}

test('marks of several writes go out together, a moment later', async () => {
  const { clock, marked, marks } = setUp()
  marks.add(['1', '2'])
  await clock.advance(10)
  marks.add(['3'])
  expect(marked).toEqual([])
  await clock.advance(20)
  expect(marked).toEqual([['1', '2', '3']])
  expect(clock.timers).toBe(0)
})

test('a mark that comes while others are on their way waits for its own turn', async () => {
  const ends: Deferred<void>[] = []
  const { clock, marked, marks } = setUp(() => {
    const end = deferred<void>()
    ends.push(end)
    return end.promise
  })
  marks.add(['1'])
  await clock.advance(20)
  marks.add(['2'])
  await clock.advance(20)
  expect(marked).toEqual([['1']])
  ends[0]?.resolve()
  await clock.settle()
  expect(marked).toEqual([['1'], ['2']])
})

test('a flush resolves when everything added so far is marked, with no timer left', async () => {
  const ends: Deferred<void>[] = []
  const { clock, marked, marks } = setUp(() => {
    const end = deferred<void>()
    ends.push(end)
    return end.promise
  })
  marks.add(['1'])
  const flushed = watch(marks.flush())
  await clock.settle()
  expect([flushed.state, marked]).toEqual(['pending', [['1']]])
  ends[0]?.resolve()
  await clock.settle()
  expect([flushed.state, clock.timers]).toEqual(['resolved', 0])
})

test('a flush of nothing asks nobody', async () => {
  const { marked, marks } = setUp()
  await marks.flush()
  expect(marked).toEqual([])
})

test('an outbox that fails loses the mark and nothing else', async () => {
  let isFailing = true
  const { clock, marked, marks } = setUp(() =>
    isFailing ? Promise.reject(new Error('down')) : Promise.resolve(),
  )
  marks.add(['1'])
  await clock.advance(20)
  isFailing = false
  marks.add(['2'])
  await clock.advance(20)
  expect(marked).toEqual([['1'], ['2']])
})

test('an outbox that hangs is waited for until the deadline, by a flush as well', async () => {
  const { clock, marks } = setUp(() => new Promise(() => {}))
  marks.add(['1'])
  const flushed = watch(marks.flush())
  await clock.advance(deadlineMs - 1)
  expect(flushed.state).toBe('pending')
  await clock.advance(1)
  expect([flushed.state, clock.timers]).toEqual(['resolved', 0])
})

test('marks that wait for an outbox that hangs are bounded', async () => {
  const { clock, marked, marks } = setUp(() => new Promise(() => {}))
  marks.add(['first'])
  await clock.advance(20)
  for (let write = 0; write < 30; write++) {
    marks.add(Array.from({ length: 1_000 }, (_, row) => `${write}-${row}`))
  }
  await clock.advance(deadlineMs)
  expect(marked.length).toBe(2)
  expect(marked[1]?.length).toBeLessThanOrEqual(10_000)
  expect(marked[1]?.length).toBeGreaterThan(0)
})
