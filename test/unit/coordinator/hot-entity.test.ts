/** One entity's hot keys: who is hot, who loads it anew, and what L1 is given. */
import { beforeEach, describe, expect, test } from 'vitest'
import { HotEntity } from '../../../src/coordinator/hot-entity.ts'
import type { MergedKey } from '../../../src/coordinator/hot-lists.ts'
import { electedFor } from '../../../src/coordinator/rendezvous.ts'
import { Trust } from '../../../src/coordinator/trust.ts'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../../src/memory/region.ts'
import { mostHotKeys } from '../../../src/model/defaults.ts'
import type { L1Key } from '../../../src/model/id.ts'
import type { Incarnation, Snapshot, Xid } from '../../../src/model/snapshot.ts'
import type { CacheEvents } from '../../../src/telemetry/events.ts'
import { VirtualClock } from '../../support/clock.ts'
import { cityEntity } from './process.ts'

const snapshot: Snapshot = {
  incarnation: '0000000000000001' as Incarnation,
  xmin: 100 as Xid,
  xmax: 100 as Xid,
  xip: [],
}
const threshold = 200

let clock: VirtualClock
let region: L1Region
let trust: Trust
let events: CacheEvents['hot-key'][]
let noticed: number
let taken: L1Key[][]
let reloaded: [L1Key, unknown][]
beforeEach(() => {
  clock = new VirtualClock()
  region = new L1Region({ maxEntries: 100, maxBytes: 1e6 }, new S3Fifo(100))
  trust = new Trust({ regions: [region], boundMs: 1e9, floorLagMs: 0, changed: () => {} })
  prove()
  events = []
  noticed = 0
  taken = []
  reloaded = []
})

function prove(): void {
  trust.advance({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }, snapshot)
}

function open(instance = 'one'): HotEntity {
  const hot = new HotEntity({
    ...{ entity: cityEntity(), region, instance, trust, clock, threshold },
    noticed: () => void noticed++,
    changed: (event) => events.push(event),
  })
  hot.serve({
    takeIn: async (keys) => void taken.push([...keys]),
    reload: async (key, id) => void reloaded.push([key, id]),
  })
  return hot
}

const merged = (
  id: string,
  readsPerSecond: number,
  instances: readonly string[] = ['other'],
): MergedKey => ({ entity: 'city', id, readsPerSecond, l1Share: 1, instances })

function put(key: L1Key, lifeMs: number): void {
  const nowMs = clock.monotonicMs()
  const candidate = { value: { id: key }, isShared: true, snapshot, weightBytes: 10 }
  region.fillFromSource(key, { ...candidate, loadedAtMs: nowMs, freshUntilMs: nowMs + lifeMs })
}

const keep = (hot: HotEntity): void => hot.keep(clock.monotonicMs())

describe('who is hot', () => {
  test('is what all instances together read so often, until it is half as often', () => {
    const hot = open()
    hot.settle([merged('a', 250), merged('7', 200), merged('c', 199)])
    expect(hot.known().map(({ id }) => id)).toEqual(['a', '7'])
    expect(hot.isHot('7')).toBe(true)
    hot.settle([merged('a', 100), merged('7', 99)])
    expect(hot.known().map(({ id }) => id)).toEqual(['a'])
    hot.settle([])
    expect(events).toEqual([
      { entity: 'city', id: 'a', readsPerSecond: 250, state: 'hot' },
      { entity: 'city', id: '7', readsPerSecond: 200, state: 'hot' },
      { entity: 'city', id: '7', readsPerSecond: 99, state: 'cooled' },
      { entity: 'city', id: 'a', readsPerSecond: 0, state: 'cooled' },
    ])
  })

  test('are no more than there are places, and who comes has to be twice as hot as the coolest', () => {
    const hot = open()
    const full = Array.from({ length: mostHotKeys }, (_, n) => merged(`id ${n}`, 300 + n))
    hot.settle(full)
    hot.settle([merged('x', 599), ...full])
    expect([hot.count, hot.isHot('x'), hot.isHot('id 0')]).toEqual([mostHotKeys, false, true])
    hot.settle([merged('x', 600), ...full])
    expect([hot.count, hot.isHot('x'), hot.isHot('id 0')]).toEqual([mostHotKeys, true, false])
  })
})

describe('what is counted here', () => {
  test('is told of above the threshold, with the share that L1 answered', () => {
    const hot = open()
    const nowMs = clock.monotonicMs()
    for (let n = 0; n < 150; n++) hot.read('a', 'a', nowMs)
    expect([noticed, hot.listed(nowMs)]).toEqual([0, []])
    for (let n = 0; n < 10; n++) hot.sampled('a', 'a', nowMs)
    expect(noticed).toBeGreaterThan(0)
    expect(hot.listed(nowMs)).toEqual([
      {
        entity: 'city',
        id: 'a',
        readsPerSecond: expect.closeTo(310 * Math.LN2, 6),
        l1Share: expect.closeTo(160 / 310, 6),
      },
    ])
  })

  test('and below it too, where others made the key hot', () => {
    const hot = open()
    const nowMs = clock.monotonicMs()
    for (const id of ['a', 'b']) for (let n = 0; n < 20; n++) hot.read(id, id, nowMs)
    hot.settle([merged('a', 5_000)])
    expect(hot.listed(nowMs).map(({ id }) => id)).toEqual(['a'])
  })

  test('one hit in 16 stands for all, at distances that are drawn', () => {
    const hot = open()
    const gaps = Array.from({ length: 20_000 }, () => hot.sampled(1, 1, clock.monotonicMs()))
    expect(Math.min(...gaps)).toBe(1)
    expect(Math.max(...gaps)).toBe(31)
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
    expect(mean).toBeGreaterThan(15.8)
    expect(mean).toBeLessThan(16.2)
  })
})

describe('a hot key that L1 does not have', () => {
  test('is looked for at once, and then twice a second at most', async () => {
    const hot = open()
    hot.settle([merged('a', 500), merged('7', 400)])
    keep(hot)
    expect(taken).toEqual([['a', 7]])
    for (let n = 0; n < 20; n++) {
      await clock.advance(100)
      hot.settle([merged('a', 500), merged('7', 400)])
      keep(hot)
    }
    expect(taken.length).toBe(5)
    put('a', 60_000)
    await clock.advance(500)
    keep(hot)
    expect(taken.at(-1)).toEqual([7])
  })

  test('is not looked for without trust', async () => {
    const hot = open()
    trust.lose('gap')
    hot.settle([merged('a', 500)])
    keep(hot)
    expect(taken).toEqual([])
    prove()
    keep(hot)
    expect(taken).toEqual([['a']])
  })

  test('is looked for shortly before it expires, since somebody has loaded it anew', async () => {
    const hot = open()
    put('a', 10_000)
    hot.settle([merged('a', 500)])
    for (const ms of [0, 5_000, 4_800]) {
      await clock.advance(ms)
      keep(hot)
    }
    expect(taken).toEqual([])
    await clock.advance(100)
    keep(hot)
    expect(taken).toEqual([['a']])
    expect(reloaded).toEqual([])
  })
})

describe('loading it anew', () => {
  const instances = ['one', 'two', 'three']
  const elected = electedFor('city\na', instances) as string

  test('is for one of those who read it, before it expires, and at most twice a second', async () => {
    for (const instance of instances) {
      const hot = open(instance)
      put('a', 10_000)
      hot.read('a', 'as given', clock.monotonicMs())
      hot.settle([merged('a', 500, instances)])
      expect(hot.isElectedElsewhere('a')).toBe(instance !== elected)
      reloaded = []
      await clock.advance(8_400)
      keep(hot)
      expect(reloaded).toEqual([])
      for (let n = 0; n < 6; n++) {
        await clock.advance(100)
        keep(hot)
      }
      const times = instance === elected ? 2 : 0
      expect(reloaded).toEqual(Array(times).fill(['a', 'as given']))
    }
  })

  test('of a key that is not hot is for everybody', () => {
    const hot = open('two')
    expect(hot.isElectedElsewhere('a')).toBe(false)
    hot.settle([merged('a', 500, ['one'])])
    expect(hot.isElectedElsewhere('a')).toBe(true)
    hot.settle([])
    expect(hot.isElectedElsewhere('a')).toBe(false)
  })
})
