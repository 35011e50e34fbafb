/**
 * Redis forgets everything while readers come as they come (I5, I8): the source gets no more than it
 * was promised, does as much as it can all the time, and the cache is back without anybody's help.
 */

import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { entity, lockstep } from '../../src/index.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startRedis } from '../support/servers.ts'
import { required, until } from '../support/world.ts'

const places = 8
const loadMs = 20
/** Loads a second that the source can do. */
const capacity = (places * 1_000) / loadMs
/** So many reads come a second, whether they are answered or not. */
const offered = 20 * capacity
/** Of loads without a cache: five windows are two seconds where the machine has nothing else to do. */
const windows = 5
const loadsPerWindow = 20 * places
const tickMs = 5
const pourMs = 50
/** As many as the source loads in three seconds: an avalanche that outlasts the storm. */
const hotIds = 3 * capacity

/** A source whose loads take as long whatever they are asked. */
function openSource() {
  let running = 0
  const counts = { most: 0, ended: 0, aborted: 0 }
  const item = entity('item', {
    load: async (ids: number[], { signal }) => {
      counts.most = Math.max(counts.most, ++running)
      await setTimeout(loadMs)
      running--
      counts[signal.aborted ? 'aborted' : 'ended']++
      return ids.map((id) => ({ id }))
    },
    id: (row: { id: number }) => row.id,
    maxBatch: 1,
    // Redis has what L1 has no room for.
    l1: { maxEntries: 50 },
  })
  return { item, counts }
}

/**
 * What as many places do that are never empty: loads without a cache before them. In the same
 * process and at the same time, since a busy machine makes timers late, of the source too.
 */
function openBareLoads() {
  const bare = { ended: 0, isOver: false }
  for (let place = 0; place < places; place++) {
    void (async () => {
      for (; !bare.isOver; bare.ended++) await setTimeout(loadMs)
    })()
  }
  return bare
}

test('a Redis that is flushed under twenty times what the source can do', {
  timeout: 120_000,
}, async () => {
  const server = await startRedis()
  const { item, counts } = openSource()
  const cache = await lockstep({
    namespace: ownNamespace(),
    postgres: required('DATABASE_URL'),
    redis: server.url,
    entities: { item },
    maxConcurrentLoads: places,
    timing: { redisDeadline: '2s', loadDeadline: '2s', readDeadline: '5s' },
  })
  onTestFinished(() => cache.close({ timeout: 0 }))
  const admin = new Redis(server.url)
  onTestFinished(() => admin.disconnect())

  const outcomes = { answered: 0, busy: 0, late: 0, other: [] as unknown[] }
  const read = (): void => {
    const id = Math.floor(Math.random() * hotIds)
    cache.item.get(id).then(
      () => outcomes.answered++,
      (error: { code?: string }) => {
        if (error.code === 'SOURCE_BUSY') outcomes.busy++
        else if (error.code === 'READ_TIMEOUT') outcomes.late++
        else outcomes.other.push(error)
      },
    )
  }
  /** Open loop: what is due by the clock is asked for, however the answers come. */
  const pour = async (perSecond: number, ms: number): Promise<void> => {
    const beganAtMs = performance.now()
    for (let asked = 0; performance.now() - beganAtMs < ms; ) {
      const due = ((performance.now() - beganAtMs) / 1_000) * perSecond
      for (; asked < due; asked++) read()
      await setTimeout(tickMs)
    }
  }
  const hitRatio = async (perSecond: number, ms: number): Promise<number> => {
    const before = cache.stats().item
    await pour(perSecond, ms)
    const after = cache.stats().item
    const hits = after.hits.l1 + after.hits.l2 - before.hits.l1 - before.hits.l2
    return hits / Math.max(1, hits + after.misses - before.misses)
  }

  // The shed ones of a warm-up come again: it ends with all of them.
  const warmed = await cache.item.warm(Array.from({ length: hotIds }, (_, id) => id))
  expect(warmed).toMatchObject({ warmed: hotIds, failed: 0 })
  const before = await hitRatio(capacity, 500)
  expect(before).toBeGreaterThan(0.99)

  await admin.flushall()
  const bare = openBareLoads()
  const goodput: number[] = []
  for (let window = 0; window < windows; window++) {
    const before = { loads: counts.ended, bare: bare.ended }
    while (bare.ended < before.bare + loadsPerWindow) await pour(offered, pourMs)
    goodput.push((counts.ended - before.loads) / (bare.ended - before.bare))
  }
  bare.isOver = true
  await until('the hit ratio is back', async () => {
    return (await hitRatio(capacity, 250)) >= 0.95 * before
  })
  const shed = (await cache.metrics().getSingleMetricAsString('lockstep_loads_shed_total')) ?? ''
  const told = JSON.stringify({ goodput, outcomes, counts, shed })
  expect([outcomes.other, counts.aborted], told).toEqual([[], 0])
  expect(counts.most, told).toBeLessThanOrEqual(places)
  for (const share of goodput) expect(share, told).toBeGreaterThanOrEqual(0.8)
})
