import { beforeEach, expect, test } from 'vitest'
import { Deadlines, type Waiting } from '../../../src/resilience/deadlines.ts'
import { VirtualClock } from '../../support/clock.ts'

const ms = 200

let clock: VirtualClock
let deadlines: Deadlines
let late: string[]
let beganAtMs: number
beforeEach(() => {
  clock = new VirtualClock()
  deadlines = new Deadlines(ms, clock)
  late = []
  beganAtMs = clock.monotonicMs()
})

const add = (name: string): Waiting =>
  deadlines.add(() => late.push(`${name} at ${clock.monotonicMs() - beganAtMs}`))
const end = (waiting: Waiting): void => {
  waiting.late = undefined
}

test('each ends at its own time, with one timer for all', async () => {
  add('one')
  await clock.advance(50)
  add('two')
  add('three')
  expect(clock.timers).toBe(1)
  await clock.advance(149)
  expect(late).toEqual([])
  await clock.advance(1_000)
  expect(late).toEqual(['one at 200', 'two at 250', 'three at 250'])
  expect(clock.timers).toBe(0)
})

test('what was answered is not late, wherever it stands', async () => {
  const first = add('first')
  add('second')
  const third = add('third')
  end(third)
  await clock.advance(100)
  add('fourth')
  end(first)
  await clock.advance(1_000)
  expect(late).toEqual(['second at 200', 'fourth at 300'])
})

test('the next is timed from its own beginning, when all before it were answered', async () => {
  end(add('one'))
  await clock.advance(150)
  add('two')
  await clock.advance(199)
  expect(late).toEqual([])
  await clock.advance(1)
  expect(late).toEqual(['two at 350'])
})

test('a process that stood still finds all that is late at once', async () => {
  add('one')
  clock.stop(100)
  add('two')
  clock.stop(10_000)
  await clock.advance(0)
  expect(late).toEqual(['one at 10100', 'two at 10100'])
})

test('one that is late may begin another', async () => {
  deadlines.add(() => add('next'))
  await clock.advance(2 * ms)
  expect(late).toEqual(['next at 400'])
})

test('thousands that are answered in time leave nothing behind', async () => {
  for (let call = 0; call < 10_000; call++) {
    end(add(`${call}`))
    if (call % 100 === 0) await clock.advance(1)
  }
  expect(clock.timers).toBe(1)
  deadlines.close()
  expect([clock.timers, late]).toEqual([0, []])
})

test('closed, it ends what still waits', async () => {
  add('one')
  deadlines.close()
  await clock.advance(ms)
  expect([late, clock.timers]).toEqual([['one at 200'], 0])
})
