/** Who tells of hot keys, when, and what comes of what is heard. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { HotEntity } from '../../../src/coordinator/hot-entity.ts'
import { HotKeys } from '../../../src/coordinator/hot-keys.ts'
import { Trust } from '../../../src/coordinator/trust.ts'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../../src/memory/region.ts'
import type { FastPlane, HotList } from '../../../src/model/bus-ports.ts'
import type { L1Key } from '../../../src/model/id.ts'
import { silent } from '../../../src/model/log.ts'
import type { Incarnation, Xid } from '../../../src/model/snapshot.ts'
import { Events } from '../../../src/telemetry/events.ts'
import { VirtualClock } from '../../support/clock.ts'
import { MemoryRedis } from '../../support/ports.ts'
import { cityEntity } from './process.ts'

let clock: VirtualClock
let redis: MemoryRedis
let sent: { readonly atMs: number; readonly list: HotList }[]
let closing: AbortController
let opened: HotKeys[]
beforeEach(() => {
  clock = new VirtualClock()
  redis = new MemoryRedis(clock)
  sent = []
  closing = new AbortController()
  opened = []
  redis.fastPlane().listenHot((list) => sent.push({ atMs: clock.monotonicMs(), list }))
})
afterEach(() => {
  for (const one of opened) one.close()
  expect(clock.timers).toBe(0)
})

interface Opened {
  readonly keys: HotKeys
  readonly city: HotEntity
  readonly counters: { sent: number; unsent: number; heard: number }
  readonly events: Events
  readonly taken: L1Key[]
}

function open(
  instance: string,
  options: { fastPlane?: FastPlane | undefined; isReachable?: () => boolean } = {},
): Opened {
  const entity = cityEntity()
  const region = new L1Region(entity, new S3Fifo(entity.maxEntries))
  const trust = new Trust({ regions: [region], boundMs: 1e9, floorLagMs: 0, changed: () => {} })
  const at = { xmin: 1 as Xid, xmax: 1 as Xid, xip: [] }
  const incarnation = '0000000000000001' as Incarnation
  trust.advance(
    { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() },
    { ...at, incarnation },
  )
  const counters = { sent: 0, unsent: 0, heard: 0 }
  const events = new Events(silent)
  const keys = new HotKeys({
    ...{ instance, trust, clock, log: silent, events, counters, closing: closing.signal },
    fastPlane: 'fastPlane' in options ? options.fastPlane : redis.fastPlane(),
    isReachable: options.isReachable ?? (() => true),
  })
  const city = keys.open(entity, region) as HotEntity
  const taken: L1Key[] = []
  city.serve({ takeIn: async (some) => void taken.push(...some), reload: async () => {} })
  keys.start()
  opened.push(keys)
  return { keys, city, counters, events, taken }
}

const read = ({ city }: Opened, id: string, times: number): void => {
  for (let n = 0; n < times; n++) city.read(id, id, clock.monotonicMs())
}

describe('while nothing is hot', () => {
  test('there is no timer, and nobody is told', async () => {
    const one = open('one')
    read(one, 'a', 200)
    expect(clock.timers).toBe(0)
    await clock.advance(1_000)
    expect(sent).toEqual([])
  })

  test('an entity may have none at all', () => {
    const { keys } = open('one')
    const entity = cityEntity({ hotKeys: false })
    expect(keys.open(entity, new L1Region(entity, new S3Fifo(3)))).toBeUndefined()
  })
})

describe('a key that becomes hot', () => {
  test('is told of at once, then three times a second, and when it is over', async () => {
    const one = open('one')
    const beganAtMs = clock.monotonicMs()
    read(one, 'a', 1_000)
    await clock.advance(10)
    expect(sent.map(({ list }) => list)).toEqual([
      { instance: 'one', keys: [expect.objectContaining({ id: 'a', entity: 'city' })] },
    ])
    await clock.advance(1_000)
    expect(sent.length).toBe(4)
    // 1,000 reads are 693 a second, and below 200 after two half-lives; cooled below 100, after three.
    await clock.advance(10_000)
    expect(sent.at(-1)?.list.keys).toEqual([])
    expect((sent.at(-1)?.atMs ?? 0) - beganAtMs).toBeLessThan(4_000)
    expect(clock.timers).toBe(0)
    expect(one.counters).toEqual({ sent: sent.length, unsent: 0, heard: 0 })
  })

  test('is taken in by those who hear of it, without delay', async () => {
    const one = open('one')
    const other = open('two')
    const told: unknown[] = []
    other.events.on('hot-key', ({ id, state }) => told.push([id, state]))
    read(one, 'a', 1_000)
    await clock.advance(10)
    expect(other.taken).toEqual(['a'])
    expect(other.counters.heard).toBe(1)
    expect(other.city.known()).toMatchObject([{ id: 'a', instances: 1 }])
    expect([one.city, other.city].map((city) => city.isElectedElsewhere('a'))).toEqual([
      false,
      true,
    ])
    await clock.advance(10_000)
    expect(told).toEqual([
      ['a', 'hot'],
      ['a', 'cooled'],
    ])
  })

  test('is forgotten by who hears no more of it', async () => {
    const other = open('two')
    const keys = [{ entity: 'city', id: 'a', readsPerSecond: 500, l1Share: 1 }]
    await redis.fastPlane().announce({ instance: 'gone', keys }, closing.signal)
    expect(other.city.count).toBe(1)
    await clock.advance(1_200)
    expect(other.city.count).toBe(0)
    expect(clock.timers).toBe(0)
  })

  test('is known to its own process without Redis', async () => {
    const one = open('one', { fastPlane: undefined })
    read(one, 'a', 1_000)
    await clock.advance(100)
    expect(one.city.known()).toMatchObject([{ id: 'a', instances: 1 }])
    expect(one.counters).toEqual({ sent: 0, unsent: 0, heard: 0 })
    await clock.advance(10_000)
    expect(clock.timers).toBe(0)
  })
})

describe('when Redis', () => {
  test('is down nothing fails, and what is unsaid is counted', async () => {
    const one = open('one')
    redis.down = new Error('down')
    read(one, 'a', 1_000)
    await clock.advance(500)
    expect(one.counters).toEqual({ sent: 0, unsent: 2, heard: 0 })
    expect(one.city.count).toBe(1)
  })

  test('is not to be asked nobody asks', async () => {
    const one = open('one', { isReachable: () => false })
    read(one, 'a', 1_000)
    await clock.advance(500)
    expect(sent).toEqual([])
    expect(one.counters.unsent).toBe(2)
  })

  test('has no answer there is one call at a time', async () => {
    let calls = 0
    const fastPlane: FastPlane = {
      ...redis.fastPlane(),
      announce: () => {
        calls++
        return new Promise(() => {})
      },
    }
    const one = open('one', { fastPlane })
    read(one, 'a', 10_000)
    await clock.advance(2_000)
    expect(calls).toBe(1)
  })
})

test('keys of entities that are not here, and the own lists, are nothing', async () => {
  const one = open('one')
  const keys = [{ entity: 'shop', id: 'a', readsPerSecond: 500, l1Share: 1 }]
  await redis.fastPlane().announce({ instance: 'two', keys }, closing.signal)
  await redis.fastPlane().announce({ instance: 'one', keys }, closing.signal)
  expect(one.city.count).toBe(0)
  expect(one.counters.heard).toBe(1)
})

test('after close nothing is heard, and nothing is begun', async () => {
  const one = open('one')
  one.keys.close()
  read(one, 'a', 1_000)
  const keys = [{ entity: 'city', id: 'b', readsPerSecond: 500, l1Share: 1 }]
  await redis.fastPlane().announce({ instance: 'two', keys }, closing.signal)
  expect(one.city.count).toBe(0)
  expect(clock.timers).toBe(0)
})

test('events have a bound', async () => {
  const one = open('one')
  let told = 0
  one.events.on('hot-key', () => void told++)
  const list = (round: number): HotList => ({
    instance: 'two',
    keys: Array.from({ length: 32 }, (_, n) => ({
      ...{ entity: 'city', id: `${round}-${n}`, readsPerSecond: 300, l1Share: 1 },
    })),
  })
  for (let round = 0; round < 9; round++) {
    await redis.fastPlane().announce(list(round), closing.signal)
    await clock.advance(100)
  }
  expect(told).toBe(100)
})
