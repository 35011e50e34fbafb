/**
 * What only Redis can do to filters: other things under their keys, a server that runs full, ends or
 * fails over, parts that are gone. Never an exception, and never a "no" too many.
 */
import type { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import { headerBytes, shapeFor } from '../../src/model/bloom.ts'
import type { BuildAnswer } from '../../src/model/filter-ports.ts'
import { hashesOf } from '../../src/redis/filter-answers.ts'
import { keySpace } from '../../src/redis/keys.ts'
import { readScripts, runScript } from '../../src/redis/scripts.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startReplicatedRedis } from '../support/redis-replicas.ts'
import { type RedisServerOptions, startRedis } from '../support/servers.ts'
import { required } from '../support/world.ts'
import { begun, built, partOf, progress, says, shape, start, statusOf } from './filter-words.ts'
import { openRedisProcess, type RedisProcess } from './redis-process.ts'
import { changes, invalidate, restore, upTo, write } from './words.ts'

const ids = Array.from({ length: 40 }, (_, index) => `id ${index}`)

interface Place extends RedisProcess {
  readonly namespace: string
  /** Of 'thing': the two bitmaps, the build, the wish. */
  readonly names: readonly [string, string, string, string]
}

async function open(url = required('REDIS_URL'), deadlineMs = 5_000): Promise<Place> {
  const namespace = ownNamespace()
  const keys = keySpace(namespace)
  const opened = await openRedisProcess({ url, namespace, deadlineMs })
  const names = [
    keys.filter('thing', 0),
    keys.filter('thing', 1),
    keys.filterBuild('thing'),
    keys.filterRequest('thing'),
  ] as const
  return { ...opened, namespace, names }
}

async function openOwn(options?: RedisServerOptions) {
  const server = await startRedis(options)
  return { ...(await open(server.url, 1_000)), server }
}

async function proven({ l2 }: RedisProcess): Promise<void> {
  await restore(l2, await changes(l2, upTo(100)), upTo(100))
}

async function keysOf(redis: Redis, namespace: string): Promise<readonly string[]> {
  const found = new Set<string>()
  for await (const keys of redis.scanStream({ match: `${namespace}:{bloom*`, count: 1_000 })) {
    for (const key of keys as string[]) found.add(key)
  }
  return [...found].sort()
}

const causeOf = (answer: { readonly kind: string; readonly cause?: unknown }): string => {
  expect(answer.kind).toBe('unavailable')
  return String(answer.cause)
}

test.each([
  ['owner', undefined],
  ['until', 'tomorrow'],
  ['generation', 'the next'],
  ['slot', '7'],
  ['start', 'too short'],
  ['progress', '{"scanned": 3'],
  ['progress', '{"scanned":"all"}'],
])(
  'the record of a build whose %s is %s is none: the next one begins anew',
  async (field, damaged) => {
    const { filters, names, redis } = await open()
    const build = await begun(filters)
    await filters.started(build, start)
    await filters.renew(build, 0)
    if (damaged === undefined) await redis.hdel(names[2], field)
    else await redis.hset(names[2], field, damaged)
    expect((await statusOf(filters)).building).toBeUndefined()
    expect(await filters.renew(build, 9_000)).toEqual({ kind: 'lost' })
    const next = await begun(filters)
    expect(next.generation).toBeGreaterThan(build.generation)
    expect(await filters.renew(next, 9_000)).toEqual({ kind: 'done' })
  },
)

test('other things under the keys of a filter are none, and are in nobody’s way', async () => {
  const place = await open()
  const { l2, redis, names, filters } = place
  await proven(place)
  for (const name of names.slice(0, 2)) await redis.hset(name, 'a', 'b')
  await redis.set(names[2], 'no record')
  expect(await says(l2, ['none'])).toEqual(['miss'])
  await invalidate(l2, write(110), ['a'])
  expect(await statusOf(filters)).toMatchObject({ current: undefined, building: undefined })
  expect(await built(filters, ids)).toBeGreaterThan(0)
  expect(await says(l2, ['none', 'id 0'])).toEqual(['refused', 'miss'])
})

test('every key goes by itself, and is kept by those who ask how it is', async () => {
  const { redis, namespace, names, filters } = await open()
  const day = 86_400_000
  const lives = async (): Promise<void> => {
    for (const key of await keysOf(redis, namespace)) {
      const ms = await redis.pttl(key)
      expect(ms, key).toBeGreaterThan(day - 60_000)
      expect(ms, key).toBeLessThanOrEqual(day)
    }
  }
  await filters.request('thing')
  await lives()
  await built(filters, ids)
  await lives()
  const build = await begun(filters)
  await filters.started(build, start)
  await filters.merge(build, partOf(filters, build, ids), progress)
  expect((await keysOf(redis, namespace)).length).toBe(3)
  await lives()
  for (const name of names.slice(0, 2)) await redis.pexpire(name, 1_000)
  await filters.status('thing')
  await lives()
})

test('scripts that the server has forgotten are sent again', async () => {
  const place = await openOwn()
  await built(place.filters, ids)
  await proven(place)
  await place.redis.script('FLUSH')
  expect(await says(place.l2, ['none', 'id 0'])).toEqual(['refused', 'miss'])
  await place.redis.script('FLUSH')
  await built(place.filters, ids)
})

test('a server that is gone is unavailable, and says "maybe"', async () => {
  const { filters, l2, server } = await openOwn()
  const generation = await built(filters, ids)
  const build = await begun(filters)
  await server.stop()
  const answers: Promise<BuildAnswer>[] = [
    filters.request('thing'),
    filters.renew(build, 9_000),
    filters.started(build, start),
    filters.merge(build, partOf(filters, build, ids), progress),
    filters.finish(build),
  ]
  for (const answer of answers) expect((await answer).kind).toBe('unavailable')
  expect((await filters.begin('thing', shape, 200, 9_000)).kind).toBe('unavailable')
  expect((await filters.status('thing')).kind).toBe('unavailable')
  expect(await filters.missing('thing', generation, ['none'])).toEqual([false])
  expect(await filters.read('thing', generation, 0, 5)).toBeUndefined()
  await filters.abandon(build)
  expect(await says(l2, ['none'])).toEqual(['unavailable'])
})

describe('a server that is full', () => {
  const config = { maxmemory: '8mb', 'maxmemory-policy': 'noeviction' }

  test('takes no new bitmap, keeps what it has, and goes on adding to it', async () => {
    const place = await openOwn({ config })
    const { filters, l2, redis, namespace } = place
    await built(filters, ids)
    await proven(place)
    const build = await begun(filters)
    await filters.started(build, start)
    await redis.config('SET', 'maxmemory', '1mb')
    const before = await keysOf(redis, namespace)
    const part = partOf(filters, build, ids)
    expect(causeOf(await filters.merge(build, part, progress))).toContain('OOM')
    expect(await keysOf(redis, namespace)).toEqual(before)
    await invalidate(l2, write(110), ['new'])
    expect(await says(l2, ['new', 'none', 'id 0'])).toEqual(['miss', 'refused', 'miss'])
    expect(await filters.missing('thing', build.generation, ['new', 'none'])).toEqual([false, true])
    expect(await filters.renew(build, 0)).toEqual({ kind: 'done' })
    expect(causeOf(await filters.begin('thing', shape, 200, 9_000))).toContain('OOM')
    expect((await statusOf(filters)).building).toMatchObject({ isHeld: false, scanned: 0 })
    expect(await says(l2, ['new', 'none'])).toEqual(['miss', 'refused'])
  })

  test('a bitmap that is too large for it leaves nothing behind', async () => {
    const { filters, redis, namespace } = await openOwn({
      config: { 'proto-max-bulk-len': '1mb' },
    })
    const large = shapeFor(2_000_000, 0.001)
    const answer = await filters.begin('thing', large, 2_000_000, 9_000)
    expect(causeOf(answer)).toContain('maximum allowed size')
    expect(await keysOf(redis, namespace)).toEqual([])
    await built(filters, ids)
  })
})

describe('a failover in the middle of a build', () => {
  test('makes it void; the next begins anew', async () => {
    const [old, next] = [await startReplicatedRedis(), await startReplicatedRedis()]
    const before = await open(old.url)
    const { filters, namespace } = before
    await built(filters, ids)
    await proven(before)
    const build = await begun(filters)
    await filters.started(build, start)
    await next.follow(old)
    await filters.merge(build, partOf(filters, build, ids), progress)
    await next.detach()
    await next.promote()
    const after = await openRedisProcess({ url: next.url, namespace, deadlineMs: 5_000 })
    const part = partOf(filters, build, ids)
    expect(await after.filters.renew(build, 0)).toEqual({ kind: 'lost' })
    expect(await after.filters.merge(build, part, progress)).toEqual({ kind: 'lost' })
    expect(await after.filters.finish(build)).toEqual({ kind: 'lost' })
    // Nothing counts before the server has been told again.
    await after.l2.barrier(upTo(110))
    expect(await says(after.l2, ['none'])).toEqual(['miss'])
    await restore(after.l2, await changes(after.l2, upTo(110)), upTo(110))
    expect(await says(after.l2, ['none', 'id 0'])).toEqual(['refused', 'miss'])
    // Its lease is still held there, as far as that server knows.
    expect(await after.filters.begin('thing', shape, 200, 9_000)).toEqual({ kind: 'held' })
    await after.redis.hset(keySpace(namespace).filterBuild('thing'), 'until', '0')
    expect((await begun(after.filters)).generation).toBeGreaterThan(build.generation)
  })
})

describe('a part that is merged', () => {
  const { 'filter-part': partScript, 'filter-merge': mergeScript } = readScripts()

  test('is gathered piece by piece, each after those before it', async () => {
    const { redis, names } = await open()
    const key = `${names[0]}:part`
    const put = async (before: number, piece: string): Promise<string> =>
      String(await runScript(redis, partScript, [key], [String(before), piece, '60000']))
    expect(await put(0, 'abc')).toBe('done')
    expect(await put(3, 'de')).toBe('done')
    expect(await put(3, 'de')).toBe('gone')
    expect(await redis.get(key)).toBe('abcde')
    await redis.del(key)
    expect(await put(5, 'fg')).toBe('gone')
    expect(await redis.exists(key)).toBe(0)
    expect(await put(0, 'abc')).toBe('done')
    expect(await put(0, 'x')).toBe('done')
    expect(await redis.get(key)).toBe('x')
  })

  test('that is gone, or too short, is not merged, and the scan is no further', async () => {
    const { redis, names, filters } = await open()
    const build = await begun(filters)
    await filters.started(build, start)
    const key = `${names[0]}:part`
    const { owner, generation } = build
    const args = [hashesOf(filters.seedOf('thing'), []), owner, String(generation), '60000', '{}']
    const merge = async (): Promise<string> =>
      String(await runScript(redis, mergeScript, [...names.slice(0, 3), key], args))
    expect(await merge()).toBe('gone')
    await redis.set(key, Buffer.alloc(headerBytes + build.bits / 8 - 1, 255))
    expect(await merge()).toBe('gone')
    expect((await statusOf(filters)).building?.scanned).toBe(0)
    expect(await filters.missing('thing', generation, ['id 0'])).toEqual([true])
  })
})
