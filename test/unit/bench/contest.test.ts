import { expect, test } from 'vitest'
import { type Contest, decide, inLanes, NotMeasured, play } from '../../../src/bench/contest.ts'

const { signal } = new AbortController()
let timeMs = 0
const nowMs = (): number => timeMs

/** Blocks that take as long as they say. */
function contest(ours: () => number, bare: () => number, order: string[] = []): Contest {
  const work = (name: string, ms: () => number) => async (): Promise<void> => {
    order.push(name)
    timeMs += ms()
  }
  return { operations: 1, ours: work('ours', ours), bare: work('bare', bare) }
}

test('sides take turns, and whoever is first alternates', async () => {
  const order: string[] = []
  const rounds = await play(
    contest(
      () => 0,
      () => 0,
      order,
    ),
    { rounds: 2, signal, nowMs },
  )
  expect(rounds).toHaveLength(2)
  expect(order).toHaveLength(20)
  const firsts = order.filter((_, index) => index % 2 === 0)
  expect(firsts.slice(0, 5)).toEqual(['ours', 'bare', 'ours', 'bare', 'ours'])
  expect(firsts.slice(5)).toEqual(['bare', 'ours', 'bare', 'ours', 'bare'])
  for (let index = 0; index < 20; index += 2) expect(order[index]).not.toBe(order[index + 1])
})

test('a pause in one turn is not the round’s result', async () => {
  let turn = 0
  const paused = contest(
    () => (turn++ % 5 === 3 ? 500 : 1),
    () => 1,
  )
  const round = { oursMs: 1, bareMs: 1 }
  expect(await play(paused, { rounds: 2, signal, nowMs })).toEqual([round, round])
})

test('a decided row is measured once, an undecided one again, and not for ever', async () => {
  const slow = contest(
    () => 10,
    () => 1,
  )
  const decided = await decide('l1.get.uniform', slow, { rounds: 3, signal, nowMs })
  expect(decided).toMatchObject({ met: false, spread: { rounds: 3 } })

  // Whole rounds on either side of the target, after three to warm up.
  let turn = 0
  const wavering = contest(
    () => (Math.floor(turn++ / 5) % 2 === 0 ? 0.2 : 4),
    () => 1,
  )
  const undecided = await decide('l1.get.uniform', wavering, { rounds: 4, signal, nowMs })
  expect(undecided.spread?.rounds).toBe(16)
})

test('turns that are spoiled don’t count; too many of them, and there is no row', async () => {
  let turn = 0
  const sometimes = {
    ...contest(
      () => 0,
      () => 0,
    ),
    spoiled: () => (turn++ % 3 === 0 ? 'a miss' : undefined),
  }
  expect(await play(sometimes, { rounds: 3, signal, nowMs })).toHaveLength(3)
  expect(turn).toBeGreaterThan(15)
  const always = { ...sometimes, spoiled: () => 'a miss' }
  await expect(play(always, { rounds: 3, signal, nowMs })).rejects.toThrow(
    new NotMeasured('16 turns were spoiled: a miss'),
  )
})

test('it ends with the signal', async () => {
  const stopped = new AbortController()
  const endless = contest(
    () => 0,
    () => {
      stopped.abort(new Error('stopped'))
      return 0
    },
  )
  const playing = play(endless, { rounds: 1_000, signal: stopped.signal, nowMs })
  await expect(playing).rejects.toThrow('stopped')
})

test('lanes make each call once, so many at a time', async () => {
  let now = 0
  let most = 0
  const called: number[] = []
  await inLanes(4, 10, async (index) => {
    most = Math.max(most, ++now)
    await Promise.resolve()
    called.push(index)
    now--
  })
  expect(called.toSorted((one, other) => one - other)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(most).toBe(4)
})
