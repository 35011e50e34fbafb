import { expect, test } from 'vitest'
import { again, type Break } from '../../../src/kafka/again.ts'
import { sleep } from '../../../src/resilience/deadline.ts'
import { VirtualClock } from '../../support/clock.ts'

const steadyMs = 10_000

type Once = (
  index: number,
  controller: AbortController,
  clock: VirtualClock,
) => Promise<Omit<Break, 'say'> | undefined> | Omit<Break, 'say'> | undefined

function begin(once: Once) {
  const clock = new VirtualClock()
  const controller = new AbortController()
  const begunAtMs: number[] = []
  const said: string[] = []
  const pace = { firstDelayMs: 100, longestDelayMs: 1_000, steadyMs }
  const ended = again({ clock, signal: controller.signal, ...pace }, async () => {
    const index = begunAtMs.push(clock.monotonicMs()) - 1
    const broken = await once(index, controller, clock)
    return broken && { ...broken, say: () => said.push(broken.why) }
  })
  return { clock, controller, begunAtMs, said, ended }
}

test('what breaks is begun again after longer and longer pauses, up to the longest', async () => {
  const { clock, controller, begunAtMs, ended } = begin(() => ({ why: 'away' }))
  await clock.advance(8_000)
  const pauses = begunAtMs.slice(1).map((atMs, index) => atMs - (begunAtMs[index] as number))
  for (const [index, pause] of pauses.entries()) {
    const mostMs = Math.min(1_000, 200 * 2 ** index)
    expect(pause).toBeGreaterThanOrEqual(mostMs / 2)
    expect(pause).toBeLessThanOrEqual(mostMs)
  }
  expect(pauses.length).toBeGreaterThan(6)
  controller.abort()
  await ended
  expect(clock.timers).toBe(0)
})

test('what has held for long is begun again soon', async () => {
  const heldMs = steadyMs + 1
  const { clock, controller, begunAtMs, ended } = begin(async (index, _controller, clock) => {
    if (index === 5) await sleep(heldMs, new AbortController().signal, clock)
    return { why: 'away' }
  })
  await clock.advance(30_000)
  const pauseMs = (begunAtMs[6] as number) - (begunAtMs[5] as number) - heldMs
  expect(pauseMs).toBeLessThanOrEqual(200)
  controller.abort()
  await ended
})

test('each cause is said once, until another one comes or it is news', async () => {
  const whys = ['away', 'away', 'refused', 'away', 'away']
  const { clock, said, ended } = begin((index) => {
    const why = whys[index]
    return why === undefined ? undefined : { why, isNews: index === 4 }
  })
  await clock.advance(10_000)
  await ended
  expect(said).toEqual(['away', 'refused', 'away', 'away'])
})

test('once it is ended nothing is said, and nothing begun', async () => {
  const { clock, begunAtMs, said, ended } = begin((_index, controller) => {
    controller.abort()
    return { why: 'closed' }
  })
  await clock.settle()
  await ended
  expect([begunAtMs.length, said, clock.timers]).toEqual([1, [], 0])
})
