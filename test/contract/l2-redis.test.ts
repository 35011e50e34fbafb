/**
 * What only Redis can do to an L2: other things under our keys, corrupt bytes, a server that ends,
 * forgets its scripts, runs full. Never an exception, and the next fill repairs it.
 */
import { inspect } from 'node:util'
import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { HotList, Told } from '../../src/model/bus-ports.ts'
import { encodeEnvelope } from '../../src/model/envelope.ts'
import type { Lease, NodeChange } from '../../src/model/l2-port.ts'
import { keySpace } from '../../src/redis/keys.ts'
import { ownNamespace } from '../support/namespace.ts'
import { type RedisServer, type RedisServerOptions, startRedis } from '../support/servers.ts'
import { required, until } from '../support/world.ts'
import { openRedisProcess, type RedisProcess } from './redis-process.ts'
import {
  acquire,
  changes,
  fill,
  fillOf,
  found,
  invalidate,
  lease,
  present,
  proves,
  put,
  restore,
  snapshot,
  thing,
  upTo,
  write,
} from './words.ts'

interface Place extends RedisProcess {
  readonly namespace: string
  readonly fenceKey: (id: string) => string
  readonly valueKey: (id: string, version?: number) => string
}

async function open(url = required('REDIS_URL'), deadlineMs = 5_000): Promise<Place> {
  const namespace = ownNamespace()
  const keys = keySpace(namespace)
  const opened = await openRedisProcess({ url, namespace, deadlineMs })
  return {
    ...opened,
    namespace,
    fenceKey: (id) => keys.fence('thing', id),
    valueKey: (id, version = 1) => keys.value('thing', version, id),
  }
}

async function openOwn(options?: RedisServerOptions): Promise<Place & { server: RedisServer }> {
  const server = await startRedis(options)
  return { ...(await open(server.url, 1_000)), server }
}

/** An administrator's connection: it is not the library's, so it may wait and retry. */
function administrator(url: string): Redis {
  const redis = new Redis(url)
  redis.on('error', () => {})
  onTestFinished(() => redis.disconnect())
  return redis
}

// ---------------------------------------------------------------- what else may lie there

describe('something else under the key of a value', () => {
  const foreign: readonly [string, (redis: Redis, key: string) => Promise<unknown>][] = [
    ['an empty string', (redis, key) => redis.set(key, '')],
    ['a short string', (redis, key) => redis.set(key, 'L')],
    ['a text', (redis, key) => redis.set(key, '{"name":"Lisbon"}'.repeat(40))],
    ['a text that begins as an envelope does', (redis, key) => redis.set(key, 'L'.repeat(400))],
    ['a text of binary zeros', (redis, key) => redis.set(key, Buffer.alloc(200))],
    ['only the format byte and zeros', (redis, key) => redis.set(key, zerosAfter(0x4c, 100))],
    ['only the format byte and ones', (redis, key) => redis.set(key, onesAfter(0x4c, 9_000))],
    ['an integer', (redis, key) => redis.set(key, '4711')],
    ['a hash', (redis, key) => redis.hset(key, 'n', 'x')],
    ['a list', (redis, key) => redis.rpush(key, 'x')],
    ['a set', (redis, key) => redis.sadd(key, 'x')],
    ['a sorted set', (redis, key) => redis.zadd(key, 1, 'x')],
    ['a stream', (redis, key) => redis.xadd(key, '*', 'x', 'y')],
  ]

  test.each(foreign)('%s is a miss, and the next fill repairs it', async (_what, plant) => {
    const { l2, redis, valueKey } = await open()
    await put(l2, 'b', upTo(100))
    await plant(redis, valueKey('a'))
    const [odd, good] = await l2.lookup(thing(), ['a', 'b'])
    expect([odd?.kind, good?.kind]).toEqual(['miss', 'fresh'])
    const leased = await lease(l2, 'a')
    expect(await fill(l2, fillOf(leased, upTo(100)))).toBe('filled')
    expect(await found(l2, 'a')).toBe('value of a')
  })

  test.each(foreign)(
    '%s is dropped by a write, which leaves its tombstone',
    async (_what, plant) => {
      const { l2, redis, valueKey } = await open()
      const paused = await lease(l2, 'a')
      await plant(redis, valueKey('a'))
      await invalidate(l2, write(100), ['a', 'b'])
      expect(await redis.exists(valueKey('a'))).toBe(0)
      expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('tombstone')
    },
  )

  test.each(foreign.slice(0, 8))('%s is counted as corrupt', async (_what, plant) => {
    const { l2, redis, valueKey } = await open()
    await plant(redis, valueKey('a'))
    expect(await l2.lookup(thing(), ['a'])).toEqual([{ kind: 'miss', why: 'corrupt' }])
  })
})

describe('something else under the key of a fence', () => {
  const foreign: readonly [string, (redis: Redis, key: string) => Promise<unknown>][] = [
    ['a string', (redis, key) => redis.set(key, 'x')],
    ['an empty string', (redis, key) => redis.set(key, '')],
    ['a string as long as a fence', (redis, key) => redis.set(key, 'x'.repeat(39))],
    ['a string that begins as a fence does', (redis, key) => redis.set(key, 'F'.repeat(45))],
    ['a list', (redis, key) => redis.rpush(key, 'x')],
    ['a set', (redis, key) => redis.sadd(key, 'x')],
    ['a hash', (redis, key) => redis.hset(key, 'n', 'x', 'l', 'y')],
  ]

  test.each(foreign)('%s keeps no value out: acquire and fill repair it', async (_what, plant) => {
    const { l2, redis, fenceKey } = await open()
    await plant(redis, fenceKey('a'))
    const options = { incarnation: present, leaseMs: 9_000, insist: false }
    const grants = await l2.acquire(thing(), ['b', 'a', 'c'], options)
    expect(grants.map(({ kind }) => kind)).toEqual(['lease', 'lease', 'lease'])
    const fills = grants.flatMap((grant) =>
      grant.kind === 'lease' ? fillOf(grant, upTo(100)) : [],
    )
    expect(await l2.fill(thing(), fills)).toEqual(['filled', 'filled', 'filled'])
    expect(await found(l2, 'a')).toBe('value of a')
  })

  test.each(foreign)(
    '%s stops no write: it is told, and keeps out what it must',
    async (_what, plant) => {
      const { l2, redis, fenceKey } = await open()
      await put(l2, 'a', upTo(100))
      await plant(redis, fenceKey('a'))
      expect(await invalidate(l2, write(100), ['b', 'a', 'c'])).toHaveLength(3)
      expect(await found(l2, 'a')).toBe('miss')
      const leased = await lease(l2, 'a')
      expect(leased.tombstones).toEqual([{ ...write(100), merged: false }])
      expect(await fill(l2, fillOf(leased, upTo(100)))).toBe('tombstone')
      expect(await fill(l2, fillOf(leased, upTo(101)))).toBe('filled')
    },
  )

  test.each(foreign)('%s stops no fill of the same call', async (_what, plant) => {
    const { l2, redis, fenceKey } = await open()
    const [a, b] = [await lease(l2, 'a'), await lease(l2, 'b')]
    await redis.del(fenceKey('a'))
    await plant(redis, fenceKey('a'))
    const answers = await l2.fill(thing(), [fillOf(a, upTo(100)), fillOf(b, upTo(100))])
    expect(answers).toEqual(['nonce-changed', 'filled'])
  })

  test.each(foreign)(
    '%s stops no lease of the same call from being given back',
    async (_what, plant) => {
      const here = await open()
      const { l2: other } = await openRedisProcess({
        url: required('REDIS_URL'),
        namespace: here.namespace,
      })
      const leases = [await lease(here.l2, 'a'), await lease(here.l2, 'b')]
      await here.redis.del(here.fenceKey('a'))
      await plant(here.redis, here.fenceKey('a'))
      await here.l2.release(thing(), leases)
      expect((await acquire(other, 'b')).kind).toBe('lease')
    },
  )

  test.each(foreign)('%s stops no lease of the same call from being renewed', async (_, plant) => {
    const { l2, redis, fenceKey } = await open()
    const leases = [await lease(l2, 'a'), await lease(l2, 'b')]
    await redis.del(fenceKey('a'))
    await plant(redis, fenceKey('a'))
    expect(await l2.renew(thing(), leases, 9_000)).toEqual(['lost', 'held'])
  })
})

describe('a corrupt envelope', () => {
  /** A value that expires in the far future, as Redis' clock sees it. */
  const intact = () =>
    encodeEnvelope({
      snapshot: snapshot('100:110:100,104', present, 108),
      createdAtMs: Date.now(),
      softExpiryMs: Date.now() + 600_000,
      payload: Buffer.from('payload'),
    })
  const size = intact().length

  test('is a counted miss, whichever byte is wrong', async () => {
    const { l2, redis, valueKey } = await open()
    const ids = await plantEveryFlip(redis, valueKey, intact())
    const lookups = await l2.lookup(thing(), ids)
    expect(lookups).toEqual(ids.map(() => ({ kind: 'miss', why: 'corrupt' })))
  })

  test('is a counted miss, wherever it is cut off', async () => {
    const { l2, redis, valueKey } = await open()
    const ids = Array.from({ length: size }, (_, length) => `cut at ${length}`)
    await Promise.all(
      ids.map((id, length) => redis.set(valueKey(id), intact().subarray(0, length), 'PX', 60_000)),
    )
    const lookups = await l2.lookup(thing(), ids)
    expect(lookups).toEqual(ids.map(() => ({ kind: 'miss', why: 'corrupt' })))
  })

  test('is repaired by the next fill, whichever byte is wrong', async () => {
    const { l2, redis, valueKey } = await open()
    const ids = await plantEveryFlip(redis, valueKey, intact())
    // Who finds it insists, as for any value that won't do.
    const options = { incarnation: present, leaseMs: 9_000, insist: true }
    const grants = await l2.acquire(thing(), ids, options)
    const fills = grants.map((grant) => {
      if (grant.kind !== 'lease') throw new Error(`a lease was expected, not ${grant.kind}`)
      return fillOf(grant, upTo(120))
    })
    const answers = await l2.fill(thing(), fills)
    expect(ids.filter((_, index) => answers[index] !== 'filled')).toEqual([])
  })

  test('is dropped by a write, whichever byte is wrong, and counts as seeing none', async () => {
    const { l2, redis, valueKey, fenceKey } = await open()
    const ids = await plantEveryFlip(redis, valueKey, intact())
    await invalidate(l2, write(120), ids)
    const left = await Promise.all(
      ids.map(async (id) => [await redis.exists(valueKey(id)), await redis.exists(fenceKey(id))]),
    )
    expect(ids.filter((_, index) => left[index]?.join() !== '0,1')).toEqual([])
  })

  test('is no value for who asks for a lease, and spoils no other answer', async () => {
    const { l2, redis, valueKey } = await open()
    await put(l2, 'c', upTo(100))
    const ids = await plantEveryFlip(redis, valueKey, intact())
    const options = { incarnation: present, leaseMs: 9_000, insist: false }
    const grants = await l2.acquire(thing(), [...ids, 'b', 'c'], options)
    expect(grants.slice(-2).map(({ kind }) => kind)).toEqual(['lease', 'value'])
    expect(grants.slice(0, -2).filter(({ kind }) => kind === 'value')).toEqual([])
  })
})

/** One key per byte of `bytes`, in which that byte's highest bit is flipped; their ids. */
async function plantEveryFlip(
  redis: Redis,
  valueKey: (id: string) => string,
  bytes: Buffer,
): Promise<readonly string[]> {
  const ids = Array.from(bytes, (_, index) => `byte ${index}`)
  await Promise.all(
    ids.map((id, index) => {
      const flipped = Buffer.from(bytes)
      flipped[index] = (flipped[index] as number) ^ 0x80
      return redis.set(valueKey(id), flipped, 'PX', 60_000)
    }),
  )
  return ids
}

// ---------------------------------------------------------------- what is left behind

test('every key in Redis goes by itself, whatever was done to it', async () => {
  const { l2, redis, namespace } = await open()
  await put(l2, 'filled', upTo(100))
  await lease(l2, 'leased')
  await l2.release(thing(), [await lease(l2, 'released')])
  await invalidate(l2, write(100), ['told'])
  await invalidate(l2, write(100), ['told'])
  for (let xid = 100; xid < 140; xid++) await invalidate(l2, write(xid), ['told often'])
  const refused = await lease(l2, 'refused')
  await invalidate(l2, write(100), ['refused'])
  await fill(l2, fillOf(refused, upTo(100)))
  const changed = await changes(l2, upTo(100))
  const keys = await keysOf(redis, namespace)
  expect(keys.length).toBeGreaterThanOrEqual(6)
  const barrier = keySpace(namespace).barrier('')
  const lifeOf = async (key: string): Promise<number> => {
    const ms = await redis.pttl(key)
    expect(ms, key).toBeGreaterThan(0)
    expect(ms, key).toBeLessThanOrEqual(key === barrier ? 3_600_000 : 120_000)
    return ms
  }
  for (const key of keys) await lifeOf(key)
  await redis.pexpire(barrier, 1_000)
  await restore(l2, changed, upTo(100))
  expect(await lifeOf(barrier)).toBeGreaterThan(1_000)
  await redis.pexpire(barrier, 1_000)
  await proves(l2, upTo(100))
  expect(await lifeOf(barrier)).toBeGreaterThan(1_000)
  expect(await redis.strlen(barrier)).toBeLessThan(64)
})

test('an accepted fill leaves a value and nothing else', async () => {
  const { l2, redis, namespace, valueKey } = await open()
  await invalidate(l2, write(100), ['a'])
  await put(l2, 'a', upTo(101))
  expect(await keysOf(redis, namespace)).toEqual([valueKey('a')])
  await invalidate(l2, write(100), ['a'])
  expect(await keysOf(redis, namespace)).toEqual([valueKey('a')])
})

test('a fence lists a bounded number of writes', async () => {
  const { l2, redis, fenceKey } = await open()
  for (let xid = 1; xid <= 200; xid++) await invalidate(l2, write(xid), ['a'])
  expect(await redis.strlen(fenceKey('a'))).toBeLessThanOrEqual(39 + 33 * 23)
})

test('a renewed lease makes no fence live longer', async () => {
  const { l2, redis, fenceKey } = await open()
  const leased = await lease(l2, 'a')
  await redis.pexpire(fenceKey('a'), 30_000)
  expect(await l2.renew(thing(), [leased], 9_000)).toEqual(['held'])
  expect(await redis.pttl(fenceKey('a'))).toBeLessThanOrEqual(30_000)
})

test('a fill finds a forgotten tombstone by itself, and stays out', async () => {
  const namespace = ownNamespace()
  const url = required('REDIS_URL')
  const patient = await openRedisProcess({ url, namespace })
  const hasty = await openRedisProcess({ url, namespace, retentionMs: 20 })
  const paused = await lease(hasty.l2, 'a', { leaseMs: 1 })
  await invalidate(hasty.l2, write(100), ['a'])
  // With a longer retention the fence lives on; nobody removes the tombstone.
  await acquire(patient.l2, 'a', { leaseMs: 1 })
  await until('the tombstone is older than the retention', async () => {
    const answer = await fill(hasty.l2, fillOf(paused, upTo(100)))
    expect(answer).not.toBe('filled')
    return answer === 'nonce-changed'
  })
})

test('no call holds Redis up with more than 256 ids', async () => {
  const { l2, redis } = await openOwn()
  const ids = Array.from({ length: 600 }, (_, index) => `id ${index}`)
  const options = { incarnation: present, leaseMs: 9_000, insist: false }
  const acquireAll = () => l2.acquire(thing(), ids, options)
  /** How many scripts Redis runs for it; before, it has been done once, so that Redis knows the script. */
  const scripts = async (act: () => Promise<unknown>) => {
    await act()
    await redis.config('RESETSTAT')
    await act()
    return Number(/cmdstat_evalsha:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1])
  }
  expect(await scripts(acquireAll)).toBe(3)
  const leases = (await acquireAll()).flatMap((grant) => (grant.kind === 'lease' ? grant : []))
  const fills = leases.map((one) => fillOf(one, upTo(100)))
  expect(await scripts(() => l2.renew(thing(), leases, 9_000))).toBe(3)
  expect(await scripts(() => l2.fill(thing(), fills))).toBe(3)
  expect(await scripts(() => invalidate(l2, write(100), ids))).toBe(3)
  expect(await scripts(() => l2.release(thing(), leases))).toBe(3)
})

// ---------------------------------------------------------------- the fast plane

test('a write is told to every process that listens, with its keys', async () => {
  const { l2, namespace } = await open()
  const other = await openRedisProcess({ url: required('REDIS_URL'), namespace })
  const told: Told[] = []
  other.fastPlane.listen((message) => told.push(message))
  const odd = ['a', '"', '\\', 'ä💶', '{}', 'a"],["b']
  await invalidate(l2, write(Number.MAX_SAFE_INTEGER - 1), odd)
  await until('it has come', () => told.length > 0)
  expect(told).toEqual([
    {
      write: write(Number.MAX_SAFE_INTEGER - 1),
      keys: odd.map((id) => ({ entity: 'thing', id })),
    },
  ])
})

test('noise on the channel is no message, and does no harm', async () => {
  const { l2, redis, fastPlane, namespace } = await open()
  const told: Told[] = []
  fastPlane.listen((message) => told.push(message))
  const lists: HotList[] = []
  fastPlane.listenHot((list) => lists.push(list))
  const { bus } = keySpace(namespace)
  const incarnation = '"i":"00c0ffee00c0ffee"'
  const noise = [
    '',
    '{',
    'null',
    '{}',
    `{${incarnation},"x":1}`,
    `{${incarnation},"x":1.5,"k":[]}`,
    `{${incarnation},"x":"1","k":[]}`,
    `{${incarnation},"x":9007199254740992,"k":[]}`,
    '{"i":"short","x":1,"k":[]}',
    '{"i":"00C0FFEE00C0FFEE","x":1,"k":[]}',
    `{${incarnation},"x":1,"k":{}}`,
    Buffer.from([0xff, 0xfe, 0x7b]),
    '{"h":',
    '{"h":1}',
    '{"h":9,"n":"a","k":[["thing","a",300,1]]}',
    '{"h":1,"n":"a","k":{"0":["thing","a",300,1]}}',
    `{"h":1,"n":"a","k":[["thing","${'a'.repeat(40_000)}",300,1]]}`,
    `{"h":1,"n":"a",${incarnation},"x":1,"k":"thing"}`,
  ]
  for (const message of noise) await redis.publish(bus, message)
  await invalidate(l2, write(100), ['a'])
  await until('the real one has come', () => told.some(({ keys }) => keys.length > 0))
  expect(told).toEqual([{ write: write(100), keys: [{ entity: 'thing', id: 'a' }] }])
  expect(lists).toEqual([])
})

test('an announcement has its deadline, and ends with who sends it', async () => {
  const server = await startRedis()
  const { fastPlane, redis } = await openRedisProcess({
    url: server.url,
    namespace: ownNamespace(),
    deadlineMs: 300,
  })
  const { signal } = new AbortController()
  await fastPlane.announce({ instance: 'one', keys: [] }, signal)
  await expect(
    fastPlane.announce({ instance: 'one', keys: [] }, AbortSignal.abort(new Error('over'))),
  ).rejects.toThrow('over')
  await redis.call('CLIENT', 'PAUSE', '1500', 'ALL')
  await expect(fastPlane.announce({ instance: 'one', keys: [] }, signal)).rejects.toThrow('300 ms')
})

test('a write of an id that is waited for elsewhere wakes by its key alone', async () => {
  const { l2 } = await open()
  const leaving = new AbortController()
  let isWoken = false
  const waiting = l2.filled(thing(), 'a', 60_000, leaving.signal).then(() => {
    isWoken = true
  })
  const leased = await lease(l2, 'b')
  await acquire(l2, 'b')
  await fill(l2, fillOf(leased, upTo(100)))
  expect(isWoken).toBe(false)
  leaving.abort()
  await waiting
})

// ---------------------------------------------------------------- a server that fails

/** Each act once, on ids that have a fence; the kinds of all answers, the lookup's first. */
async function everyAct({ l2 }: RedisProcess, held: Lease): Promise<readonly string[]> {
  const options = { incarnation: present, leaseMs: 1_000, insist: false }
  const [lookups, grants, answers, dropped, renewals] = await Promise.all([
    l2.lookup(thing(), [held.id]),
    l2.acquire(thing(), ['new', 'newer'], options),
    l2.fill(thing(), [fillOf(held, upTo(100))]),
    l2.invalidate(write(90), [{ entity: 'thing', id: 'new', versions: [1] }]),
    l2.renew(thing(), [held], 1_000),
    l2.release(thing(), [held]),
  ])
  return [...lookups, ...grants, ...answers, dropped, ...renewals].map((one) =>
    typeof one === 'string' ? one : one.kind,
  )
}

test('a Redis that has ended is unavailable to every act, and throws in none', async () => {
  const place = await openOwn()
  const held = await lease(place.l2, 'a')
  const [change] = await changes(place.l2, upTo(100))
  await place.server.kill()
  expect(await everyAct(place, held)).toEqual(Array(6).fill('unavailable'))
  const answers = [
    ...(await place.l2.barrier(upTo(100))),
    await place.l2.restore(change as NodeChange, upTo(100), undefined),
  ]
  expect(answers.map(({ kind }) => kind)).toEqual(['unavailable', 'unavailable'])
})

test('what Redis refuses is told without the ids and values that were sent', async () => {
  const { l2, redis } = await openOwn()
  const id = 'hunter2'
  const held = await lease(l2, id)
  await redis.acl('SETUSER', 'default', '-mget', '-evalsha', '-eval')
  const drops = [{ entity: 'thing', id, versions: [1] }]
  const [[lookup], [grant], dropped] = await Promise.all([
    l2.lookup(thing(), [id]),
    l2.acquire(thing(), [held.id], { incarnation: present, leaseMs: 1_000, insist: false }),
    l2.invalidate(write(100), drops),
  ])
  for (const answer of [lookup, grant, dropped]) {
    expect(answer?.kind).toBe('unavailable')
    const shown = inspect(answer, { depth: 10 })
    expect(shown).toContain('NOPERM')
    expect(shown).not.toContain(id)
  }
})

test('a Redis that comes back is found again, and has forgotten nonces and scripts', async () => {
  const place = await openOwn()
  const { l2, server } = place
  const paused = await lease(l2, 'a')
  await put(l2, 'b', upTo(100))
  await server.kill()
  await everyAct(place, paused)
  await server.start()
  await until('it answers again', async () => (await found(l2, 'b')) === 'miss')
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('nonce-changed')
  await invalidate(l2, write(100), ['a'])
  await put(l2, 'a', upTo(101))
  expect(await found(l2, 'a')).toBe('value of a')
})

test('who waits is woken by the channel again after Redis came back', async () => {
  const place = await openOwn()
  const { l2, server, namespace } = place
  await server.kill()
  await server.start()
  const admin = administrator(server.url)
  await until('it listens again', async () => {
    const [, listeners] = (await admin.pubsub('NUMSUB', keySpace(namespace).bus)) as [
      string,
      number,
    ]
    return listeners === 1
  })
  await until('it answers again', async () => (await found(l2, 'a')) === 'miss')
  const leased = await lease(l2, 'a')
  const { l2: other } = await openRedisProcess({ url: server.url, namespace })
  await acquire(other, 'a')
  const woken = l2.filled(thing(), 'a', 60_000, new AbortController().signal)
  await fill(l2, fillOf(leased, upTo(100)))
  await woken
})

test('a server that has forgotten the scripts gets them again, for each act', async () => {
  const { l2, redis } = await openOwn()
  const forget = () => redis.script('FLUSH')
  await forget()
  const leased = await lease(l2, 'a')
  await forget()
  expect(await l2.renew(thing(), [leased], 9_000)).toEqual(['held'])
  await forget()
  expect(await fill(l2, fillOf(leased, upTo(100)))).toBe('filled')
  await forget()
  expect(await invalidate(l2, write(100), ['a'])).toHaveLength(1)
  await forget()
  await l2.release(thing(), [await lease(l2, 'a')])
  await forget()
  await put(l2, 'a', upTo(101))
  const [dropped] = await Promise.all([
    l2.invalidate(write(101), [{ entity: 'thing', id: 'a', versions: [1] }]),
    forget(),
  ])
  expect(dropped.kind).toBe('dropped')
})

test('a server that is full still takes invalidations, and refuses fills', async () => {
  const { l2, redis } = await openOwn({
    config: { maxmemory: '6mb', 'maxmemory-policy': 'noeviction' },
  })
  const [paused, waiting] = [await lease(l2, 'a'), await lease(l2, 'b')]
  await put(l2, 'c', upTo(100))
  await fillUp(redis)
  expect(await invalidate(l2, write(100), ['a', 'c', 'new'])).toHaveLength(3)
  // Nor does it matter whether there is a value to be dropped first.
  expect(await invalidate(l2, write(100), ['newer'], [])).toHaveLength(1)
  expect(await found(l2, 'c')).toBe('miss')
  expect(await fill(l2, fillOf(waiting, upTo(101)))).toBe('unavailable')
  expect((await acquire(l2, 'd')).kind).toBe('unavailable')
  expect(await l2.renew(thing(), [waiting], 9_000)).toEqual(['held'])
  await l2.release(thing(), [waiting])
  await redis.del('ballast')
  await until('there is room again', async () => (await acquire(l2, 'd')).kind === 'lease')
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('tombstone')
  expect(await fill(l2, fillOf(await lease(l2, 'new'), upTo(100)))).toBe('tombstone')
  await put(l2, 'a', upTo(101))
})

test('a server that evicts what it likes makes no stale fill possible', async () => {
  const { l2, redis } = await openOwn({
    config: { maxmemory: '6mb', 'maxmemory-policy': 'allkeys-random' },
  })
  const ids = Array.from({ length: 300 }, (_, index) => `id ${index}`)
  const options = { incarnation: present, leaseMs: 9_000, insist: false }
  const grants = await l2.acquire(thing(), ids, options)
  await invalidate(l2, write(100), ids)
  let evicted = 0
  for (let index = 0; evicted < 5_000; index += 100) {
    const ballast = Array.from({ length: 100 }, (_, more) => [
      `ballast ${index + more}`,
      '.'.repeat(2_000),
    ])
    await redis.mset(...ballast.flat())
    evicted = Number(/evicted_keys:(\d+)/.exec(await redis.info('stats'))?.[1])
  }
  const fills = grants.flatMap((grant) => (grant.kind === 'lease' ? fillOf(grant, upTo(100)) : []))
  expect(fills).toHaveLength(300)
  const answers = await l2.fill(thing(), fills)
  expect(answers).not.toContain('filled')
  expect(answers).toContain('nonce-changed')
})

test('a server that takes no writes is unavailable, and throws in nothing', async () => {
  const place = await openOwn()
  const { l2, server } = place
  const held = await lease(l2, 'a')
  const admin = administrator(server.url)
  // A replica of nobody: it takes no writes, and still answers reads.
  await admin.replicaof('127.0.0.1', '1')
  expect(await everyAct(place, held)).toEqual(['miss', ...Array(5).fill('unavailable')])
  await admin.replicaof('NO', 'ONE')
  await until('it takes writes again', async () => (await acquire(l2, 'b')).kind === 'lease')
})

/** Until a write is refused. */
async function fillUp(redis: Redis): Promise<void> {
  for (;;) {
    try {
      await redis.append('ballast', '.'.repeat(100_000))
    } catch (error) {
      expect(String(error)).toContain('OOM')
      return
    }
  }
}

async function keysOf(redis: Redis, namespace: string): Promise<readonly string[]> {
  const keys: string[] = []
  for await (const some of redis.scanStream({ match: `${namespace}:*`, count: 1_000 })) {
    keys.push(...(some as string[]))
  }
  return [...new Set(keys)].sort()
}

function zerosAfter(first: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  bytes[0] = first
  return bytes
}

function onesAfter(first: number, length: number): Buffer {
  const bytes = Buffer.alloc(length, 0xff)
  bytes[0] = first
  return bytes
}
