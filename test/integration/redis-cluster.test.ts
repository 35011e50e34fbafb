/** Redis Cluster: many slots, many nodes, slots that move, nodes that end. On servers of this file's own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Cluster, type Redis } from 'ioredis'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import type { Told } from '../../src/model/bus-ports.ts'
import { silent } from '../../src/model/log.ts'
import { connectRedis } from '../../src/redis/connection.ts'
import { keySpace } from '../../src/redis/keys.ts'
import type { RedisConnectionOptions } from '../../src/redis/open.ts'
import { slotOf } from '../../src/redis/slot.ts'
import type { Parts } from '../../src/running-cache.ts'
import { built, says } from '../contract/filter-words.ts'
import { openRedisProcess, type RedisProcess } from '../contract/redis-process.ts'
import {
  acquire,
  changes,
  fill,
  fillOf,
  found,
  invalidate,
  lease,
  present,
  put,
  restore,
  thing,
  upTo,
  write,
} from '../contract/words.ts'
import { ownNamespace } from '../support/namespace.ts'
import { withL2 } from '../support/parts.ts'
import {
  type ClusterServer,
  type RedisCluster,
  startRedisCluster,
} from '../support/redis-cluster.ts'
import {
  bump,
  type ItemWorldCache,
  openWorld,
  required,
  until,
  type World,
} from '../support/world.ts'

/** For the tests that leave it as it was. */
let shared: Promise<RedisCluster> | undefined
const atEnd: (() => Promise<void> | void)[] = []
afterAll(async () => {
  for (const close of atEnd.splice(0).reverse()) await close()
})

function sharedCluster(): Promise<RedisCluster> {
  shared ??= startRedisCluster({ atEnd: (close) => atEnd.push(close) })
  return shared
}

interface Place extends RedisProcess {
  readonly cluster: RedisCluster
  readonly namespace: string
  readonly valueKey: (id: string) => string
  readonly fenceKey: (id: string) => string
  /** Ids whose keys lie on that node. */
  readonly idsOn: (node: ClusterServer, count: number) => Promise<readonly string[]>
}

async function place(cluster: RedisCluster, deadlineMs = 5_000): Promise<Place> {
  const namespace = ownNamespace()
  const keys = keySpace(namespace)
  const valueKey = (id: string): string => keys.value('thing', 1, id)
  const url = { cluster: cluster.cluster }
  return {
    ...(await openRedisProcess({ url, namespace, deadlineMs })),
    cluster,
    namespace,
    valueKey,
    fenceKey: (id) => keys.fence('thing', id),
    idsOn: async (node, count) => {
      const ids: string[] = []
      for (let next = 0; ids.length < count; next++) {
        if ((await cluster.ownerOf(slotOf(valueKey(`id ${next}`)))) === node) ids.push(`id ${next}`)
      }
      return ids
    },
  }
}

async function connected(options: RedisConnectionOptions, deadlineMs = 2_000) {
  const connections = await connectRedis(options, `${ownNamespace()}:bus`, deadlineMs, silent)
  onTestFinished(() => connections.close())
  return connections
}

// ---------------------------------------------------------------- slots and nodes

test('the slot of a key is the one that Redis says', async () => {
  const [node] = (await sharedCluster()).nodes
  const odd = ['', '{', '}', '{}', '{}a', 'a{b}c', 'a{b}{c}', '{{a}}', 'a}{b', 'ä💶{ö}', 'x{y']
  const keys = [...odd, ...Array.from({ length: 200 }, (_, n) => `shop:{city:${n * 7919}}:v1`)]
  const slots = await Promise.all(keys.map((key) => node?.admin.cluster('KEYSLOT', key)))
  expect(keys.map(slotOf)).toEqual(slots)
})

test('many ids are read with one command per node', async () => {
  const { l2, redis, cluster } = await place(await sharedCluster())
  const ids = Array.from({ length: 600 }, (_, index) => `id ${index}`)
  const asked = { incarnation: present, leaseMs: 9_000, insist: false }
  const grants = await l2.acquire(thing(), ids, asked)
  expect(grants.map((grant) => grant.kind === 'lease' && grant.id)).toEqual(ids)
  const leases = grants.flatMap((grant) => (grant.kind === 'lease' ? grant : []))
  const answers = await l2.fill(
    thing(),
    leases.map((one) => fillOf(one, upTo(100))),
  )
  expect(new Set(answers)).toEqual(new Set(['filled']))
  await l2.lookup(thing(), ids)
  const writes = (redis as unknown as Cluster).nodes().map(countWrites)
  for (const { admin } of cluster.nodes) await admin.config('RESETSTAT')
  const lookups = await l2.lookup(thing(), ids)
  expect(lookups.map((one) => one.kind === 'fresh' && String(one.stored.payload))).toEqual(
    ids.map((id) => `value of ${id}`),
  )
  const commands = await Promise.all(cluster.nodes.map(({ admin }) => calls(admin, 'evalsha')))
  expect(commands).toEqual([1, 1, 1])
  expect(writes.map((count) => count())).toEqual([1, 1, 1])
  expect(await invalidate(l2, write(100), ids)).toHaveLength(600)
  expect(await found(l2, 'id 7')).toBe('miss')
})

test('no round holds a node up with more than 256 ids', async () => {
  const { l2, cluster, redis, idsOn } = await place(await sharedCluster())
  const ids = await idsOn(cluster.nodes[1] as ClusterServer, 300)
  const writes = (redis as unknown as Cluster).nodes().map(countWrites)
  await l2.acquire(thing(), ids, { incarnation: present, leaseMs: 9_000, insist: false })
  expect(writes.map((count) => count()).sort()).toEqual([0, 0, 2])
})

test('a write of keys on several nodes is told to who listens on any of them', async () => {
  const cluster = await sharedCluster()
  const { l2, idsOn, namespace } = await place(cluster)
  const other = await openRedisProcess({ url: { cluster: cluster.cluster }, namespace })
  const told: Told[] = []
  other.fastPlane.listen((message) => told.push(message))
  const ids = (await Promise.all(cluster.nodes.map((node) => idsOn(node, 2)))).flat()
  await invalidate(l2, write(100), ids)
  const heard = () => told.flatMap(({ keys }) => keys.map(({ id }) => id))
  await until('it has come', () => heard().length >= ids.length)
  expect(heard().sort()).toEqual([...ids].sort())
  expect(told.every(({ write: { xid } }) => xid === 100)).toBe(true)
})

test('a node that has forgotten the scripts gets them again, in the middle of the others', async () => {
  const { l2, cluster } = await place(await sharedCluster())
  const ids = Array.from({ length: 60 }, (_, index) => `id ${index}`)
  await l2.acquire(thing(), ids, { incarnation: present, leaseMs: 1, insist: false })
  await cluster.nodes[1]?.admin.script('FLUSH')
  expect(await invalidate(l2, write(100), ids)).toHaveLength(60)
  await cluster.nodes[2]?.admin.script('FLUSH')
  const asked = { incarnation: present, leaseMs: 9_000, insist: true }
  const grants = await l2.acquire(thing(), ids, asked)
  expect(new Set(grants.map(({ kind }) => kind))).toEqual(new Set(['lease']))
})

/** How often something has been written to the node's connection since. */
function countWrites(node: Redis): () => number {
  let writes = 0
  const { stream } = node
  if (!stream) return () => writes
  const write = stream.write.bind(stream)
  stream.write = ((...args: Parameters<typeof write>) => {
    writes++
    return write(...args)
  }) as typeof stream.write
  return () => writes
}

async function calls(admin: Redis, command: string): Promise<number> {
  const stats = await admin.info('commandstats')
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
}

// ---------------------------------------------------------------- a slot that moves

/** A slot on its way between two nodes, and put back when the test has ended. */
async function movingSlot(id: string, { cluster, valueKey }: Place, key = valueKey(id)) {
  const slot = slotOf(key)
  const from = await cluster.ownerOf(slot)
  const to = cluster.nodes.find((node) => node !== from) as ClusterServer
  const finish = async (): Promise<void> => {
    if ((await cluster.ownerOf(slot)) === to) return
    await cluster.moveKeys(slot, to)
    await cluster.closeSlot(slot, to)
  }
  onTestFinished(finish)
  await cluster.openSlot(slot, to)
  return { move: (...keys: string[]) => cluster.moveKeys(slot, to, keys), finish, to }
}

test('no write is told without its filter while the slot of that moves, and no id is refused', async () => {
  const here = await place(await sharedCluster())
  const { filters, l2, namespace } = here
  await built(filters, ['a'])
  await restore(l2, await changes(l2, upTo(100)), upTo(100))
  expect(await says(l2, ['a', 'new'])).toEqual(['miss', 'refused'])
  const keys = keySpace(namespace)
  const { move, finish } = await movingSlot('', here, keys.filter('thing', 0))
  const told = async (): Promise<string> =>
    (await l2.invalidate(write(110), [{ entity: 'thing', id: 'new', versions: [1] }])).kind
  // Of its two keys one is nowhere: neither node can say so.
  expect(await told()).toBe('unavailable')
  expect(await says(l2, ['a', 'new'])).toEqual(['miss', 'miss'])
  await move(keys.filter('thing', 0))
  await move(keys.filter('thing', 1))
  expect(await told()).toBe('unavailable')
  expect(await says(l2, ['a', 'new'])).toEqual(['miss', 'miss'])
  await finish()
  expect(await told()).toBe('dropped')
  // Until the client knows whose the slot is, it names another node's barrier.
  await until('its barrier is read', async () => (await says(l2, ['none']))[0] === 'refused')
  expect(await says(l2, ['a', 'new', 'none'])).toEqual(['miss', 'miss', 'refused'])
})

test('a value is found wherever it lies while its slot moves', async () => {
  const here = await place(await sharedCluster())
  const { l2, valueKey } = here
  await put(l2, 'a', upTo(100))
  const { move, finish } = await movingSlot('a', here)
  expect(await found(l2, 'a')).toBe('value of a')
  await move(valueKey('a'))
  expect(await found(l2, 'a')).toBe('value of a')
  // In the pipeline of its node, too: the others are answered by theirs.
  const ids = ['a', ...Array.from({ length: 50 }, (_, index) => `id ${index}`)]
  await l2.acquire(thing(), ids.slice(1), { incarnation: present, leaseMs: 1, insist: false })
  const kinds = async () => (await l2.lookup(thing(), ids)).map(({ kind }) => kind)
  expect(await kinds()).toEqual(['fresh', ...Array(50).fill('miss')])
  await finish()
  expect(await kinds()).toEqual(['fresh', ...Array(50).fill('miss')])
})

test('a write is not told by half while value and fence lie on two nodes', async () => {
  const here = await place(await sharedCluster())
  const { l2, valueKey, fenceKey } = here
  await put(l2, 'a', upTo(100))
  // Beside the value a fence, as a load has it that insists.
  const paused = await lease(l2, 'a', { insist: true })
  const { move, finish } = await movingSlot('a', here)
  for (const key of [valueKey('a'), fenceKey('a')]) {
    await move(key)
    if (key === fenceKey('a')) break
    const dropped = await l2.invalidate(write(100), [{ entity: 'thing', id: 'a', versions: [1] }])
    expect(dropped.kind).toBe('unavailable')
    expect(await found(l2, 'a')).toBe('value of a')
    expect((await acquire(l2, 'a', { insist: true })).kind).toBe('unavailable')
    expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('unavailable')
  }
  // Both lie on the new node, and the slot is not its own yet.
  expect(await invalidate(l2, write(100), ['a'])).toHaveLength(1)
  expect(await found(l2, 'a')).toBe('miss')
  await finish()
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('tombstone')
  expect(await fill(l2, fillOf(paused, upTo(101)))).toBe('filled')
})

test('a fence that has moved still keeps out what it kept out, and lets in what it let in', async () => {
  const here = await place(await sharedCluster())
  const { l2, fenceKey } = here
  const paused = await lease(l2, 'a')
  const { move, finish } = await movingSlot('a', here)
  // Without a value no node has all keys of the id, so nobody can be sure of them.
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('unavailable')
  await move(fenceKey('a'))
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('unavailable')
  await finish()
  expect((await acquire(l2, 'a', { leaseMs: 1 })).kind).toBe('lease')
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('filled')
})

test('a fence that is lost on the way lets nobody in who knew it', async () => {
  const here = await place(await sharedCluster())
  const { l2, fenceKey, redis } = here
  const paused = await lease(l2, 'a')
  await invalidate(l2, write(100), ['a'])
  const { finish } = await movingSlot('a', here)
  await redis.del(fenceKey('a'))
  await finish()
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('nonce-changed')
  expect((await lease(l2, 'a')).nonce).not.toBe(paused.nonce)
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('nonce-changed')
})

const ids = [1, 2, 3]

interface Judged {
  readonly caches: readonly [ItemWorldCache, ItemWorldCache]
  readonly world: World
  /** Strong reads that missed a write which had returned fenced before they began. */
  readonly tooOld: number
  readonly fenced: number
}

/** Writes and strong reads of two caches, while the slots of their keys move to and fro. */
async function loadWhileSlotsMove(replace?: (parts: Parts) => Parts): Promise<Judged> {
  const cluster = await sharedCluster()
  const world = await openWorld()
  const open = (): Promise<ItemWorldCache> =>
    world.open({ options: { redis: { cluster: cluster.cluster } }, ...(replace && { replace }) })
  const caches = [await open(), await open()] as const
  const returned = new Map<number, number>()
  const counts = { tooOld: 0, fenced: 0, reads: 0 }
  let isOver = false
  const anyId = (): number => ids[Math.floor(Math.random() * ids.length)] as number
  const writeOne = async (cache: ItemWorldCache): Promise<void> => {
    const id = anyId()
    const { version, fenced } = await world.write(cache, id)
    if (!fenced) return
    counts.fenced++
    returned.set(id, Math.max(returned.get(id) ?? 0, version))
  }
  const readOne = async (cache: ItemWorldCache): Promise<void> => {
    const id = anyId()
    const floor = returned.get(id) ?? 0
    const seen = (await cache.item.get(id, { consistency: 'strong' }))?.version ?? 0
    counts.reads++
    if (seen < floor) counts.tooOld++
  }
  const loop = async (act: () => Promise<void>): Promise<void> => {
    while (!isOver) await act()
  }
  const load = Promise.all(
    caches.flatMap((cache) => [
      loop(() => writeOne(cache)),
      ...Array.from({ length: 4 }, () => loop(() => readOne(cache))),
    ]),
  )
  load.catch(() => {})
  for (let round = 0; round < 12; round++) {
    const slot = slotOf(world.valueKey(ids[round % ids.length] as number))
    const from = await cluster.ownerOf(slot)
    const to = cluster.nodes.find((node) => node !== from) as ClusterServer
    const readBefore = counts.reads
    await cluster.openSlot(slot, to)
    await until('it is read while its keys lie here', () => counts.reads > readBefore + 20)
    await cluster.moveKeys(slot, to)
    await until('it is read while its keys lie there', () => counts.reads > readBefore + 40)
    await cluster.closeSlot(slot, to)
    await until('it is read by its new address', () => counts.reads > readBefore + 60)
  }
  isOver = true
  await load
  return { caches, world, tooOld: counts.tooOld, fenced: counts.fenced }
}

test('no strong read is stale while slots move under load, and writes are fenced again after it', async () => {
  const { caches, world, tooOld, fenced } = await loadWhileSlotsMove()
  expect(tooOld).toBe(0)
  expect(fenced).toBeGreaterThan(0)
  for (const id of ids) {
    await until('a write is fenced', async () => (await world.write(caches[0], id)).fenced)
    const strong = await caches[1].item.get(id, { consistency: 'strong' })
    expect(strong?.version).toBe(await world.truth(id))
  }
})

test('the load notices writes that are not told', async () => {
  const silent = withL2(() => ({
    invalidate: async (_write, drops) => ({
      kind: 'dropped',
      nonces: drops.map(() => '' as never),
      values: 0,
    }),
  }))
  expect((await loadWhileSlotsMove(silent)).tooOld).toBeGreaterThan(0)
})

// ---------------------------------------------------------------- caches

test('caches over a cluster: getMany over many slots, a write of two slots, and what the other is told', async () => {
  const cluster = await sharedCluster()
  const world = await openWorld()
  const redis = { cluster: cluster.cluster }
  const one = await world.open({ options: { redis } })
  const two = await world.open({ options: { redis } })
  const ids = Array.from({ length: 50 }, (_, index) => index + 1)
  expect((await one.item.getMany(ids)).size).toBe(50)
  expect([...(await two.item.getMany(ids)).keys()]).toEqual(ids)
  expect(two.stats().item).toMatchObject({ hits: { l2: 50 }, loads: 0 })
  const [a, b] = await twoOnTwoNodes(cluster, ids, world.valueKey)
  const { fenced, ticket } = await one.write([one.item.key(a), one.item.key(b)], async (tx) => {
    await bump(tx, world.table, a)
    await bump(tx, world.table, b)
  })
  expect(fenced).toBe(true)
  const strong = await two.item.getMany([a, b], { consistency: 'strong' })
  expect([...strong.values()].map(({ version }) => version)).toEqual([1, 1])
  expect((await two.item.get(a, { ticket }))?.version).toBe(1)
  await two.item.invalidate(b)
  expect((await one.item.get(b))?.version).toBe(1)
})

async function twoOnTwoNodes(
  cluster: RedisCluster,
  ids: readonly number[],
  valueKey: (id: number) => string,
): Promise<readonly [number, number]> {
  const owners = await Promise.all(ids.map((id) => cluster.ownerOf(slotOf(valueKey(id)))))
  const second = owners.findIndex((owner) => owner !== owners[0])
  return [ids[0] as number, ids[second] as number]
}

// ---------------------------------------------------------------- a node that ends

test('of a node that has ended the keys are unavailable in time, and the others go on', async () => {
  const cluster = await startRedisCluster()
  const here = await place(cluster, 300)
  const { l2, idsOn } = here
  const gone = cluster.nodes[2] as ClusterServer
  const lost = await idsOn(gone, 20)
  const kept = (await Promise.all(cluster.nodes.slice(0, 2).map((node) => idsOn(node, 20)))).flat()
  const paused = await lease(l2, lost[0] as string)
  for (const id of kept) await put(l2, id, upTo(100))
  await gone.kill()
  for (let round = 0; round < 8; round++) {
    const began = performance.now()
    const lookups = await l2.lookup(thing(), [...lost, ...kept])
    expect(performance.now() - began).toBeLessThan(2_000)
    expect(lookups.slice(0, 20).map(({ kind }) => kind)).toEqual(Array(20).fill('unavailable'))
    expect(lookups.slice(20).map(({ kind }) => kind)).toEqual(Array(40).fill('fresh'))
  }
  const dropped = await l2.invalidate(write(100), [
    { entity: 'thing', id: lost[1] as string, versions: [1] },
    { entity: 'thing', id: kept[1] as string, versions: [1] },
  ])
  expect(dropped.kind).toBe('unavailable')
  expect(await found(l2, kept[1] as string)).toBe('miss')
  // Nor does it matter to who comes now.
  const { l2: late } = await place(cluster, 300)
  expect(await found(late, kept[2] as string)).toBe(`value of ${kept[2]}`)
  await gone.start()
  await until('it is found again', async () => (await found(l2, lost[0] as string)) === 'miss')
  // It has come back with nothing.
  expect(await fill(l2, fillOf(paused, upTo(100)))).toBe('nonce-changed')
  await put(l2, lost[0] as string, upTo(101))
})

test('a write that its filter was not told of is not fenced', async () => {
  const cluster = await startRedisCluster()
  const { idsOn, l2, namespace } = await place(cluster, 300)
  const gone = await cluster.ownerOf(slotOf(keySpace(namespace).filter('thing', 0)))
  const left = cluster.nodes.find((node) => node !== gone) as ClusterServer
  const [id] = (await idsOn(left, 1)) as [string]
  const told = async (): Promise<string> =>
    (await l2.invalidate(write(100), [{ entity: 'thing', id, versions: [1] }])).kind
  await put(l2, id, upTo(90))
  expect(await told()).toBe('dropped')
  await gone?.kill()
  await put(l2, id, upTo(101))
  expect(await told()).toBe('unavailable')
})

test('who listened at a node that has ended listens at another', async () => {
  const cluster = await startRedisCluster()
  const { l2, namespace, idsOn } = await place(cluster)
  const options: RedisConnectionOptions = {
    cluster: cluster.cluster,
    options: { slotsRefreshInterval: 100 },
  }
  const { bus } = keySpace(namespace)
  const { subscriber } = await connectRedis(options, bus, 5_000, silent).then((connections) => {
    onTestFinished(() => connections.close())
    return connections
  })
  await until('it listens', () => subscriber.status === 'ready')
  const heard: string[] = []
  subscriber.on('message', (_channel, message: string) => {
    // The empty ones are what each start tries its rights with.
    if (message !== '') heard.push(message)
  })
  const at = cluster.nodes.find(({ port }) => port === subscriber.options.port) as ClusterServer
  const other = cluster.nodes.find((node) => node !== at) as ClusterServer
  const [id] = (await idsOn(other, 1)) as [string]
  await at.kill()
  await until('it hears of a write again', async () => {
    await l2.invalidate(write(100), [{ entity: 'thing', id, versions: [1] }])
    return heard.length > 0
  })
  expect(subscriber.options.port).not.toBe(at.port)
})

// ---------------------------------------------------------------- what is passed in

test('a Cluster that was passed in stays open, and as it was', async () => {
  const { cluster } = await sharedCluster()
  const redis = instance(cluster)
  await until('it is connected', () => redis.status === 'ready')
  const listeners = () => redis.eventNames().map((name) => [name, redis.listenerCount(name)])
  const before = listeners()
  for (let turn = 0; turn < 3; turn++) {
    const { commands, subscriber, close } = await connected(redis)
    expect(commands).toBe(redis)
    expect(subscriber.status).toBe('ready')
    close()
    await until('the subscriber is closed', () => subscriber.status === 'end')
  }
  expect(await redis.ping()).toBe('PONG')
  expect(listeners()).toEqual(before)
})

test('a Cluster whose keys get a prefix is of the same use', async () => {
  const { cluster } = await sharedCluster()
  // A hash tag may also come before an empty one, or end in the key.
  for (const keyPrefix of ['prefix:', '{prefix}:', '{prefix}{}', 'pre{fix:', '}{']) {
    const url = instance(cluster, keyPrefix)
    const namespace = ownNamespace()
    const { l2 } = await openRedisProcess({ url, namespace })
    const { l2: other } = await openRedisProcess({ url, namespace })
    const leased = await lease(l2, `a of ${keyPrefix}`)
    expect((await acquire(other, leased.id)).kind).toBe('wait')
    const woken = other.filled(thing(), leased.id, 60_000, new AbortController().signal)
    expect(await fill(l2, fillOf(leased, upTo(100)))).toBe('filled')
    await woken
    const ids = [leased.id, 'b', 'c', 'd']
    const kinds = (await other.lookup(thing(), ids)).map(({ kind }) => kind)
    expect(kinds).toEqual(['fresh', 'miss', 'miss', 'miss'])
  }
})

function instance(nodes: { host: string; port: number }[], keyPrefix = ''): Cluster {
  const redis = new Cluster(nodes, { keyPrefix })
  redis.on('error', () => {})
  onTestFinished(() => redis.disconnect())
  return redis
}

// ---------------------------------------------------------------- refused at the start

test('what will not do is told by the name of its option', async () => {
  const nodes = [{ host: '10.0.0.1', port: 6379 }]
  const odd: readonly unknown[] = [
    { cluster: [] },
    { cluster: '10.0.0.1:6379' },
    { cluster: ['10.0.0.1:6379'] },
    { cluster: [{ host: 42 }] },
    { cluster: nodes, password: 'secret-word' },
    { cluster: nodes, options: 'secret-word' },
    { cluster: nodes, options: { scaleReads: 'slave' } },
    new Cluster(nodes, { scaleReads: 'all', lazyConnect: true }),
    { cluster: nodes, options: { keyPrefix: '{}' } },
    { cluster: nodes, options: { redisOptions: { keyPrefix: 'app{}{shop}:' } } },
    new Cluster(nodes, { keyPrefix: 'app:{}', lazyConnect: true }),
  ]
  for (const option of odd) {
    const refused = await connected(option as never).then(
      () => undefined,
      (error: Error) => error,
    )
    expect(refused).toMatchObject({ code: 'OPTION_INVALID' })
    expect(refused?.message).toContain('"redis')
    expect(refused?.message).not.toContain('secret-word')
  }
})

test('a node of a cluster is no plain server, and a plain server no cluster', async () => {
  const { nodes } = await sharedCluster()
  const { hostname, port } = new URL(required('REDIS_URL'))
  const odd: readonly RedisConnectionOptions[] = [
    (nodes[0] as ClusterServer).url,
    { cluster: [{ host: hostname, port: Number(port || 6379) }] },
  ]
  for (const option of odd) {
    await expect(connected(option)).rejects.toMatchObject({
      code: 'REDIS_REFUSED',
      message: expect.stringContaining('cluster'),
    })
  }
})

test('a user whom only some nodes know is told so at the start', async () => {
  const { cluster, nodes } = await sharedCluster()
  const redisOptions = { username: 'app', password: 'right' }
  const option = { cluster, options: { redisOptions } }
  onTestFinished(async () => {
    await Promise.all(nodes.map(({ admin }) => admin.call('ACL', 'DELUSER', 'app')))
  })
  for (const [index, { admin }] of nodes.entries()) {
    await expect(connected(option)).rejects.toMatchObject({ code: 'REDIS_REFUSED' })
    const rules = index < 2 ? ['+@all'] : ['+@all', '-evalsha']
    await admin.call('ACL', 'SETUSER', 'app', 'on', '>right', '~*', '&*', ...rules)
  }
  await expect(connected(option)).rejects.toMatchObject({ code: 'REDIS_REFUSED' })
  await nodes[2]?.admin.call('ACL', 'SETUSER', 'app', '+evalsha')
  expect((await connected(option)).commands.status).toBe('ready')
})

// ---------------------------------------------------------------- closing

test('a process ends by itself after a close, though the cluster is down', async () => {
  const built = new URL('../../dist/redis/connection.js', import.meta.url).href
  const script = `
    const { connectRedis } = await import('${built}')
    const cluster = { cluster: [{ host: '127.0.0.1', port: 1 }] }
    const { commands, close } = await connectRedis(cluster, 'bus', 300, { warn() {} })
    while (commands.status !== 'reconnecting') await new Promise((done) => setTimeout(done, 5))
    close()
    console.log('closed')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script])
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  const closedAt = performance.now()
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
  expect(performance.now() - closedAt).toBeLessThan(1_000)
})
