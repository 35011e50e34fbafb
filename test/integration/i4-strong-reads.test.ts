/** I4: strong reads are linearizable with writes that returned fenced: true. */
import { expect, test } from 'vitest'
import { withL2 } from '../support/parts.ts'
import { strongReadDuringOlderLoad } from '../support/scenarios.ts'
import {
  bump,
  gate,
  type ItemWorldCache,
  openWorld,
  planes,
  until,
  type World,
} from '../support/world.ts'

const id = 1

/** Strong readers and writers of a few keys, at once, in three processes; the reads that were too old. */
async function race(world: World, caches: readonly ItemWorldCache[]): Promise<number> {
  const returned = new Map<number, number>()
  const deadline = performance.now() + 1_500
  let tooOld = 0
  const write = async (cache: ItemWorldCache): Promise<void> => {
    const key = 1 + Math.floor(Math.random() * 3)
    const { value, fenced } = await cache.item.write(key, (tx) => bump(tx, world.table, key))
    if (fenced) returned.set(key, Math.max(returned.get(key) ?? 0, value[0]?.version ?? 0))
  }
  const read = async (cache: ItemWorldCache): Promise<void> => {
    const key = 1 + Math.floor(Math.random() * 3)
    const floor = returned.get(key) ?? 0
    const seen = (await cache.item.get(key, { consistency: 'strong' }))?.version ?? 0
    if (seen < floor) tooOld++
    // What a finished read has seen is a floor for later ones.
    returned.set(key, Math.max(returned.get(key) ?? 0, seen))
  }
  const loop = async (act: () => Promise<void>): Promise<void> => {
    while (performance.now() < deadline) await act()
  }
  await Promise.all(
    caches.flatMap((cache) => [
      loop(() => write(cache)),
      ...Array.from({ length: 6 }, () => loop(() => read(cache))),
    ]),
  )
  return tooOld
}

test.each(planes)(
  'a strong read never misses a write that had returned, nor what a finished read saw: %s plane',
  async (plane) => {
    const world = await openWorld({ plane })
    const caches = [await world.open(), await world.open(), await world.open()]
    expect(await race(world, caches)).toBe(0)
  },
)

test('the same holds with write-through', async () => {
  const world = await openWorld()
  const open = (): Promise<ItemWorldCache> => world.open({ entity: { writeThrough: true } })
  expect(await race(world, [await open(), await open(), await open()])).toBe(0)
})

test('a strong read that finds an older load under way does not take its value', async () => {
  expect(await strongReadDuringOlderLoad(await openWorld())).toBe(1)
})

test('between the first delete and the second, no value that misses the write gets into Redis', async () => {
  expect(await filledInBetween({ firstDelete: true })).toBe(false)
})

test('onFenceFailure reject: a write that Redis could not be told of is rolled back', async () => {
  const world = await openWorld()
  const down = withL2(() => ({
    invalidate: async () => ({ kind: 'unavailable', cause: new Error('down') }),
  }))
  const cache = await world.open({ replace: down, options: { onFenceFailure: 'reject' } })
  await expect(world.write(cache, id)).rejects.toMatchObject({
    code: 'WRITE_NOT_FENCED',
    retryable: true,
  })
  expect(await world.truth(id)).toBe(0)
})

test('onFenceFailure proceed: the write says so, and some instance tells Redis later', async () => {
  const world = await openWorld()
  const healthy = await world.open()
  await healthy.item.get(id)
  const down = withL2(() => ({
    invalidate: async () => ({ kind: 'unavailable', cause: new Error('down') }),
  }))
  const cut = await world.open({ replace: down })
  const { fenced } = await world.write(cut, id)
  expect(fenced).toBe(false)
  await until('a strong read sees it', async () => {
    return (await healthy.item.get(id, { consistency: 'strong' }))?.version === 1
  })
})

// ---- what must be caught

test('the scenario notices a write without a first delete', async () => {
  expect(await filledInBetween({ firstDelete: false })).toBe(true)
})

test('the race notices a write without deletes', async () => {
  const world = await openWorld()
  const silent = withL2(() => ({
    invalidate: async (_write, drops) => ({
      kind: 'dropped',
      nonces: drops.map(() => '' as never),
      values: 0,
    }),
  }))
  const caches = [await world.open({ replace: silent }), await world.open({ replace: silent })]
  expect(await race(world, caches)).toBeGreaterThan(0)
})

/** A load began before the transaction committed, and ends between COMMIT and the second delete. */
async function filledInBetween(options: { firstDelete: boolean }): Promise<boolean> {
  const world = await openWorld()
  const load = gate()
  const second = gate()
  const reading = await world.open({ afterRead: () => load.pass() })
  let calls = 0
  const writing = await world.open({
    replace: withL2((l2) => ({
      invalidate: async (write, drops) => {
        const call = ++calls
        if (call === 1 && !options.firstDelete) {
          return { kind: 'dropped', nonces: drops.map(() => '' as never), values: 0 }
        }
        if (call === 2) await second.pass()
        return l2.invalidate(write, drops)
      },
    })),
  })
  const read = reading.item.get(id)
  await load.held
  const written = world.write(writing, id)
  await second.held
  load.open()
  await read
  await until('the fill was answered', () => {
    const stats = reading.stats().item
    return (stats?.fills ?? 0) + (stats?.refusedFills ?? 0) > 0
  })
  const isFilled = (await world.redis.exists(world.valueKey(id))) === 1
  second.open()
  await written
  return isFilled
}
