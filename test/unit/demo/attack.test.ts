import { expect, test, vi } from 'vitest'
import { Attack, type AttackOptions, requestsPerSecond } from '../../../src/demo/attack.ts'
import { seededRandom } from '../../../src/demo/random.ts'

interface Answers {
  /** Whether the filter is there, by the times it was asked about. */
  readonly isReady?: (times: number) => boolean
  readonly answer?: (id: number) => Promise<{ readonly tier: 'l1' | 'l2' | 'source' }>
}

function started({ isReady = () => true, answer = refused }: Answers = {}) {
  const ids: number[] = []
  const news: string[] = []
  let times = 0
  const numbers: Readonly<Record<string, () => number>> = {
    lockstep_bloom_ready: () => (isReady(++times) ? 1 : 0),
    lockstep_bloom_false_positives_total: () => 7,
  }
  const cache = {
    city: {
      getEntry: (id: number) => {
        ids.push(id)
        return answer(id)
      },
    },
    metrics: () => ({
      getSingleMetric: (name: string) => ({
        get: async () => ({ values: [{ value: numbers[name]?.() }] }),
      }),
    }),
  } as unknown as AttackOptions['cache']
  const attack = new Attack(seededRandom(1))
  const startMs = performance.now()
  const clock = { readings: 0 }
  const run = (seconds: number, signal = new AbortController().signal): Promise<void> =>
    attack.run(
      {
        cache,
        seconds,
        nowNs: () => {
          clock.readings++
          return (performance.now() - startMs) * 1e6
        },
        tell: (one) => news.push(one),
      },
      signal,
    )
  return { attack, cache, clock, ids, news, run }
}

const refused = async () => ({ tier: 'l2' }) as const

test('ids are asked for at its rate that no row has, others with another seed', async () => {
  const { attack, ids, news, run } = started()
  await run(0.5)
  // One asks whether the filter answers; the machine may be too busy for the last ones.
  expect(ids.length).toBeLessThanOrEqual(requestsPerSecond * 0.5 + 1)
  expect(ids.length).toBeGreaterThan(requestsPerSecond * 0.2)
  expect(new Set(ids).size).toBe(ids.length)
  for (const id of ids) expect(id).toBeGreaterThan(1_000_000_000)
  for (const id of ids) expect(id).toBeLessThan(2 ** 31)
  expect(news).toHaveLength(1)
  const counts = {
    requests: ids.length,
    refused: ids.length,
    sourceQueries: 0,
    inDoubt: 0,
    failed: 0,
  }
  expect(attack.counts(3)).toEqual({ ...counts, falsePositives: 7, newRows: 3 })
})

test('it begins when the filter is there and refuses', async () => {
  let answers = 0
  const { attack, ids, run } = started({
    isReady: (times) => times > 1,
    answer: async () => ({ tier: ++answers > 1 ? 'l2' : 'source' }),
  })
  await run(0.7)
  expect(attack.answered.source).toBe(1)
  expect(attack.answered.l2).toBe(ids.length - 1)
  expect(ids.length).toBeGreaterThan(2)
})

test('it rests while nothing is refused', async () => {
  let answers = 0
  const isLost = (): boolean => answers > 50
  const { attack, ids, run } = started({
    answer: async () => {
      answers++
      return { tier: isLost() ? 'source' : 'l2' }
    },
  })
  await run(0.6)
  expect(attack.answered.source).toBeGreaterThanOrEqual(20)
  // All that may have been under way when it was noticed, and one each 200 ms.
  expect(ids.length).toBeLessThan(50 + 20 + 100 + 4)
})

test('and goes on when the filter refuses again', async () => {
  let answers = 0
  const { attack, run } = started({
    answer: async () => {
      answers++
      return { tier: answers > 50 && answers <= 70 ? 'source' : 'l2' }
    },
  })
  await run(1)
  expect(attack.answered.source).toBe(20)
  expect(attack.counts(0).inDoubt).toBe(20)
  expect(attack.answered.l2).toBeGreaterThan(100)
})

test('without a filter nothing is asked for, and it ends with the run', async () => {
  const { ids, news, run } = started({ isReady: () => false })
  await run(0.3)
  expect({ ids, news }).toEqual({ ids: [], news: [] })
})

test('the run is prepared when the filter refuses, and at once when it is called off', async () => {
  const { attack, cache } = started({ isReady: (times) => times > 1 })
  await attack.prepare(cache, new AbortController().signal)
  expect(attack.requests).toBe(1)
  const never = started({ isReady: () => false })
  await never.attack.prepare(never.cache, AbortSignal.abort())
  expect(never.attack.requests).toBe(0)
})

test('so many are under way at most, and what there is no room for is not made up for', async () => {
  const waiting: (() => void)[] = []
  let isFirst = true
  const { attack, clock, ids, run } = started({
    answer: async () => {
      if (!isFirst) await new Promise<void>((resolve) => waiting.push(resolve))
      isFirst = false
      return { tier: 'l2' }
    },
  })
  const stopped = new AbortController()
  const ended = run(60, stopped.signal)
  await vi.waitFor(() => expect(waiting.length).toBe(100))
  const before = clock.readings
  await vi.waitFor(() => expect(clock.readings).toBeGreaterThan(before + 20))
  stopped.abort()
  expect(ids).toHaveLength(101)
  for (const end of waiting) end()
  await ended
  expect(attack.counts(0)).toMatchObject({ requests: 101, refused: 101 })
})

test('what fails is counted, and does not end it', async () => {
  const { attack, run } = started({
    answer: async (id) => {
      if (id % 2 === 1) throw new Error('gone')
      return { tier: 'l2' }
    },
  })
  await run(0.7)
  const { failed, refused, requests } = attack.counts(0)
  expect(failed).toBeGreaterThan(0)
  expect(failed + refused).toBe(requests)
})

test('of the ids that are loaded those are counted that no row has', () => {
  const attack = new Attack(seededRandom(1))
  attack.loading([1, 171_075, 1_000_000_001, 1_600_000_000, 2_099_999_999])
  expect(attack.counts(0).sourceQueries).toBe(2)
})
