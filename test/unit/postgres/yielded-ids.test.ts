/** Ids that a generator yields: whatever it does, its connection is closed in the end. */
import type { Client } from 'pg'
import { expect, test } from 'vitest'
import { defineEntity, type LoadContext } from '../../../src/model/entity.ts'
import type { Pool } from '../../../src/postgres/pool.ts'
import { YieldedIds } from '../../../src/postgres/yielded-ids.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

type Ids = (context: LoadContext<never>) => AsyncIterable<unknown>

const entity = defineEntity('city', {
  load: async () => [],
  id: (row: { id: number }) => row.id,
  bloom: { capacity: 20_000, ids: async function* () {} },
})

/** A pool whose connections are counted. */
function open(ids: Ids, opening?: Deferred<void>) {
  const clock = new VirtualClock()
  const counts = { opened: 0, ended: 0 }
  const connection = {
    ...{ host: 'localhost', port: 0, processID: null, secretKey: null },
    connection: { stream: { destroy: () => {} } },
    end: async () => void counts.ended++,
  } as unknown as Client
  const pool = {
    connect: async () => {
      await opening?.promise
      counts.opened++
      return connection
    },
    on: () => ({ db: undefined, turns: { end: async () => {} } }),
  } as unknown as Pool
  return { clock, counts, scan: new YieldedIds({ pool, clock, entity, ids }) }
}

async function all(scan: YieldedIds, signal = new AbortController().signal): Promise<string[]> {
  const ids: string[] = []
  for await (const page of scan.pages(undefined, signal)) ids.push(...page.ids)
  return ids
}

test('all ids come, and the connection is closed', async () => {
  const { counts, scan } = open(async function* () {
    yield* [1, 2, 3]
  })
  expect(await all(scan)).toEqual(['1', '2', '3'])
  expect(counts).toEqual({ opened: 1, ended: 1 })
})

test.each<[string, Ids]>([
  [
    'throws',
    () => {
      throw new Error('no')
    },
  ],
  ['returns no async iterable', () => Promise.resolve([1, 2]) as never],
  ['returns nothing', () => undefined as never],
])('a function that %s leaves no connection behind', async (_, ids) => {
  const { counts, scan } = open(ids)
  await expect(all(scan)).rejects.toThrow()
  expect(counts).toEqual({ opened: 1, ended: 1 })
})

test('a connection that was being opened when nobody wanted ids any more is closed', async () => {
  const opening = deferred<void>()
  const closing = new AbortController()
  const { clock, counts, scan } = open(async function* () {}, opening)
  const scanned = watch(all(scan, closing.signal))
  await clock.settle()
  closing.abort('closed')
  await clock.settle()
  expect(scanned.error).toBe('closed')
  opening.resolve()
  await clock.settle()
  expect(counts).toEqual({ opened: 1, ended: 1 })
})

test('one that never ends fails, far beyond what it says that there is, and leaves nothing behind', async () => {
  let yielded = 0
  let isLeft = false
  const { counts, scan } = open(async function* () {
    try {
      for (;;) yield yielded++ % 7
    } finally {
      isLeft = true
    }
  })
  await expect(all(scan)).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringMatching(/"city" has yielded more than 2,000,000 ids .*bloom\.capacity/),
  })
  expect(yielded).toBeLessThanOrEqual(2_000_000 + 20_000)
  expect(isLeft).toBe(true)
  expect(counts).toEqual({ opened: 1, ended: 1 })
})

test('far more than it says that there is, and repeats, are no failure', async () => {
  const { scan } = open(async function* () {
    for (let id = 0; id < 500_000; id++) yield id % 100_000
  })
  expect((await all(scan)).length).toBe(500_000)
})
