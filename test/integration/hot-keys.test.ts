/** A key that is read often is in the L1 of every instance, and loaded anew by one (docs/hot-keys.md). */
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { L2 } from '../../src/model/l2-port.ts'
import type { Parts } from '../../src/running-cache.ts'
import { cli } from '../support/cli.ts'
import { withL2 } from '../support/parts.ts'
import {
  type ItemWorldCache,
  type OpenOptions,
  openWorld,
  until,
  untilProven,
  type World,
} from '../support/world.ts'

const hotId = 7

interface Instance {
  readonly cache: ItemWorldCache
  /** How often L2 was asked for the hot id. */
  readonly lookups: () => number
  readonly loads: () => number
}

/** Counts what goes to Redis, and to the loader. */
async function openCounted(world: World, options: OpenOptions = {}): Promise<Instance> {
  let lookups = 0
  let loads = 0
  const counting = withL2((l2: L2) => ({
    lookup: (entity, ids) => {
      if (ids.includes(String(hotId))) lookups++
      return l2.lookup(entity, ids)
    },
  }))
  const cache = await world.open({
    ...options,
    replace: (parts: Parts) => counting(options.replace?.(parts) ?? parts),
    afterRead: async (ids) => {
      if (ids.includes(hotId)) loads++
    },
  })
  return { cache, lookups: () => lookups, loads: () => loads }
}

/** Reads about so often, until the test ends or it is stopped. */
function readOften(cache: ItemWorldCache, perSecond: number, id = hotId): () => void {
  let isOver = false
  const stop = (): void => {
    isOver = true
  }
  onTestFinished(stop)
  const read = async (): Promise<void> => {
    const beganAtMs = performance.now()
    let done = 0
    while (!isOver) {
      const due = Math.floor(((performance.now() - beganAtMs) / 1_000) * perSecond)
      // What a busy machine has missed is not made up for.
      if (due - done > perSecond / 10) done = due - perSecond / 10
      for (; done < due; done++) await cache.item.get(id)
      await turn()
    }
  }
  read().catch(stop)
  return stop
}

const isInL1 = ({ cache }: Instance, id = hotId): boolean => cache.item.peek(id) !== undefined

async function openAll(world: World, count: number, options: OpenOptions = {}) {
  const instances: Instance[] = []
  for (let n = 0; n < count; n++) instances.push(await openCounted(world, options))
  for (const { cache } of instances) await untilProven(cache)
  return instances
}

describe('a key that goes from 0 to many reads a second', () => {
  test('is in the L1 of every instance in 250 ms, and hardly asked for in Redis from then on', async () => {
    const world = await openWorld()
    const instances = await openAll(world, 4)
    const [one, ...others] = instances as [Instance, ...Instance[]]
    const events: unknown[] = []
    others[0]?.cache.on('hot-key', (event) => events.push(event))
    expect(instances.some((of) => isInL1(of))).toBe(false)

    // Three times, since a busy machine may be late once.
    const tookMs: number[] = []
    for (const id of [hotId + 2, hotId + 1, hotId]) {
      const beganAtMs = performance.now()
      const stop = readOften(one.cache, 20_000, id)
      await until('it is in every L1', () => instances.every((of) => isInL1(of, id)), 5_000)
      tookMs.push(performance.now() - beganAtMs)
      if (id !== hotId) stop()
    }
    console.log(`in every L1 after ${tookMs.map(Math.round).join(', ')} ms`)
    expect(tookMs.toSorted((one, other) => one - other)[1]).toBeLessThan(250)

    for (const { cache } of others) readOften(cache, 500)
    const before = instances.map(({ lookups }) => lookups())
    const sinceMs = performance.now()
    await until('3 s have gone by', () => performance.now() - sinceMs > 3_000)
    const seconds = (performance.now() - sinceMs) / 1_000
    const rates = instances.map(({ lookups }, n) => (lookups() - (before[n] as number)) / seconds)
    console.log(`lookups a second and instance: ${rates.map((rate) => rate.toFixed(2)).join(', ')}`)
    for (const rate of rates) expect(rate).toBeLessThanOrEqual(2)
    expect(events).toContainEqual({
      entity: 'item',
      id: String(hotId),
      readsPerSecond: expect.any(Number),
      state: 'hot',
    })
    await until('only this one is hot', () => one.cache.stats().item.hotKeys?.length === 1)
    const [known] = one.cache.stats().item.hotKeys ?? []
    expect(known).toMatchObject({ id: String(hotId), instances: 4 })
    expect(known?.readsPerSecond).toBeGreaterThan(1_000)
    expect(known?.l1Share).toBeGreaterThan(0.9)
    const metrics = await one.cache.metrics().metrics()
    expect(metrics).toMatch(/lockstep_hot_keys\{[^}]*entity="item"[^}]*\} 1\n/)
    expect(metrics).not.toContain(`"${hotId}"`)
  })

  test('is taken in again by who lost it, at most twice a second', async () => {
    const world = await openWorld()
    const [one, other] = (await openAll(world, 2)) as [Instance, Instance]
    readOften(one.cache, 5_000)
    await until('the other has it', () => isInL1(other))
    for (let version = 1; version <= 3; version++) {
      const before = other.lookups()
      const sinceMs = performance.now()
      await world.write(one.cache, hotId)
      await until(
        'the other has the new one, though nobody reads there',
        () => other.cache.item.peek(hotId)?.version === version,
      )
      const seconds = (performance.now() - sinceMs) / 1_000
      expect(other.lookups() - before).toBeLessThanOrEqual(Math.ceil(seconds * 2) + 1)
    }
    expect(other.loads()).toBe(0)
  })
})

test('one of the instances that read a hot key loads it before it expires, and no other does', async () => {
  const world = await openWorld()
  const instances = await openAll(world, 3, { entity: { ttl: '1s', grace: '10s' } })
  for (const { cache } of instances) readOften(cache, 1_000)
  const isHotOf = ({ cache }: Instance): boolean => cache.stats().item.hotKeys?.[0]?.instances === 3
  await until('all know of all', () => instances.every(isHotOf))
  const loadsOf = (): number[] => instances.map(({ loads }) => loads())
  const sum = (loads: readonly number[]): number => loads.reduce((all, one) => all + one, 0)
  const since = loadsOf()
  await until('it is loaded anew', () => sum(loadsOf()) > sum(since))
  const before = loadsOf()
  const lookupsBefore = instances.map(({ lookups }) => lookups())
  const sinceMs = performance.now()
  await until('it was loaded six times', () => sum(loadsOf()) - sum(before) >= 6, 15_000)
  const seconds = (performance.now() - sinceMs) / 1_000
  const rates = instances.map(
    ({ lookups }, n) => (lookups() - (lookupsBefore[n] as number)) / seconds,
  )
  console.log(`lookups a second and instance: ${rates.map((rate) => rate.toFixed(2)).join(', ')}`)
  for (const rate of rates) expect(rate).toBeLessThanOrEqual(2)
  const made = loadsOf().map((loads, n) => loads - (before[n] as number))
  console.log(`loads over several lives: ${made.join(', ')}`)
  expect(made.filter((loads) => loads > 0).length).toBe(1)
})

test('an invalidation is exact while the key is hot: no instance serves what a write replaced', async () => {
  const world = await openWorld()
  const instances = await openAll(world, 3, { entity: { ttl: '1s', grace: '10s' } })
  for (const { cache } of instances) readOften(cache, 1_000)
  await until('it is in every L1', () => instances.every((of) => isInL1(of)))
  const [writing] = instances as [Instance]
  for (let n = 0; n < 10; n++) {
    const { version } = await world.write(writing.cache, hotId)
    // What returned is everywhere within the staleness bound, and never older again from then on.
    await until(
      'all have it',
      () => instances.every(({ cache }) => (cache.item.peek(hotId)?.version ?? version) >= version),
      1_000,
    )
    for (let times = 0; times < 50; times++) {
      for (const { cache } of instances) {
        expect((await cache.item.get(hotId))?.version).toBeGreaterThanOrEqual(version)
      }
      await turn()
    }
  }
  expect(await world.truth(hotId)).toBe(10)
})

test('without Redis a process knows its own, and tells nobody', async () => {
  const world = await openWorld()
  const cache = await world.open({ redisUrl: undefined })
  readOften(cache, 3_000)
  await until('it is hot', () => cache.stats().item.hotKeys?.[0]?.instances === 1)
  expect(await cache.metrics().metrics()).toMatch(/lockstep_hot_key_lists_total\{[^}]*sent"\} 0\n/)
})

test('with hotKeys: false nobody counts', async () => {
  const world = await openWorld()
  const cache = await world.open({ entity: { hotKeys: false } })
  const stop = readOften(cache, 5_000)
  await until('it was read often', () => cache.stats().item.hits.l1 > 3_000)
  stop()
  expect(cache.stats().item).not.toHaveProperty('hotKeys')
})

describe('lockstep top', () => {
  test('shows the hottest keys of all instances', async () => {
    const world = await openWorld()
    const instances = await openAll(world, 2)
    for (const { cache } of instances) readOften(cache, 1_000)
    await until('it is hot', () =>
      instances.every(({ cache }) => cache.stats().item.hotKeys?.[0]?.instances === 2),
    )
    const of = ['--namespace', world.namespace, '--seconds', '1']
    const [json, text] = await Promise.all([
      cli(['top', ...of, '--json']).ended,
      cli(['top', ...of]).ended,
    ])
    expect(json.code).toBe(0)
    const document = JSON.parse(json.stdout)
    expect(document).toMatchObject({
      namespace: world.namespace,
      keys: [{ entity: 'item', id: String(hotId), instances: 2 }],
    })
    expect(document.keys[0].readsPerSecond).toBeGreaterThan(300)
    expect(text.code).toBe(0)
    expect(text.stdout).toMatch(
      /^entity +id +reads\/s +instances +from L1\nitem +7 +[\d,]+ +2 +\d+ %\n$/,
    )
  })

  test('says so when nothing is hot, when Redis is away, and what it was asked wrongly', async () => {
    const quiet = await cli(['top', '--namespace', 'nobody-here', '--seconds', '0.1']).ended
    expect(quiet).toMatchObject({ code: 0, stdout: 'no key of namespace "nobody-here" is hot\n' })
    const away = await cli(['top', '--json'], { REDIS_URL: 'redis://127.0.0.1:1' }).ended
    expect(away.code).toBe(1)
    expect(JSON.parse(away.stdout).error.message).toContain('Redis cannot be reached')
    for (const args of [
      ['--seconds', '0'],
      ['--seconds', 'x'],
      ['--watch', '--json'],
      ['--namespace', '{}'],
    ]) {
      const wrong = await cli(['top', ...args]).ended
      expect(wrong.code, args.join(' ')).toBe(2)
    }
  })

  test('goes on with --watch until it is stopped', async () => {
    const watching = cli(['top', '--namespace', 'nobody-here', '--watch'])
    let painted = ''
    watching.child.stdout?.on('data', (text: string) => {
      painted += text
    })
    await until('it has painted twice', () => painted.split('is hot').length > 2)
    watching.child.kill('SIGINT')
    expect((await watching.ended).code).toBe(0)
  })
})
