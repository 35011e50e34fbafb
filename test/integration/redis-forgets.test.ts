/**
 * A Redis that forgets what it has acknowledged, or brings old values back (DESIGN §7): nothing in it
 * is proven until it has been told again of what it may have forgotten.
 */
import { expect, test } from 'vitest'
import type { NodeChange } from '../../src/model/l2-port.ts'
import { covers, type Snapshot } from '../../src/model/snapshot.ts'
import type { RedisConnectionOptions } from '../../src/redis/open.ts'
import { openRedisProcess, type RedisProcess } from '../contract/redis-process.ts'
import {
  beside,
  changes,
  fill,
  fillOf,
  found,
  invalidate,
  lease,
  proves,
  put,
  restore,
  upTo,
  write,
} from '../contract/words.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { startReplicatedRedis, startSentinel } from '../support/redis-replicas.ts'
import { startRedis } from '../support/servers.ts'
import { until } from '../support/world.ts'

/** Proven up to 100, with a value of `a` that was read under 90. */
async function open(url: RedisConnectionOptions): Promise<RedisProcess> {
  const namespace = ownNamespace()
  const process = await openRedisProcess({ url, namespace, deadlineMs: 1_000 })
  const { l2 } = process
  expect(await restore(l2, await changes(l2, upTo(100)), upTo(100))).toEqual(['written'])
  await put(l2, 'a', upTo(90))
  return process
}

/** What will be forgotten: a write of `a`, and the barrier that says that L2 was told of it. */
async function toBeForgotten({ l2 }: RedisProcess): Promise<void> {
  await invalidate(l2, write(150), ['a'])
  await proves(l2, upTo(160))
  expect(await found(l2, 'a')).toBe('miss')
}

/** The old value is there again, and nothing that is read with it says that it sees the write. */
async function isUnproven({ l2 }: RedisProcess): Promise<void> {
  expect(await found(l2, 'a')).toBe('value of a')
  const barrier = (await beside(l2, 'a')) as Snapshot | undefined
  if (barrier) expect(covers(barrier, upTo(151))).toBe(false)
}

/** From the change on nothing is proven, until the write has been told again. */
async function isRestored({ l2 }: RedisProcess, changed: readonly NodeChange[]): Promise<void> {
  expect(await beside(l2, 'a')).toBeUndefined()
  await invalidate(l2, write(150), ['a'])
  expect(await restore(l2, changed, upTo(170))).toEqual(['written'])
  expect(await found(l2, 'a')).toBe('miss')
  await put(l2, 'a', upTo(151))
  expect(await beside(l2, 'a')).toEqual(upTo(170))
  await proves(l2, upTo(180))
}

test('a failover under Sentinel that loses acknowledged commands', async () => {
  const [primary, replica] = [await startReplicatedRedis(), await startReplicatedRedis()]
  await replica.follow(primary)
  const sentinel = await startSentinel(primary, 1)
  const process = await open({
    sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
    name: 'main',
  })
  await replica.follow(primary)
  await replica.detach()
  await toBeForgotten(process)
  await primary.kill()
  await until('the replica is the primary', async () => {
    return (await sentinel.primaryPort()) === replica.port
  })
  await until('the cache has found it', async () => {
    return (await found(process.l2, 'a')) === 'value of a'
  })
  await isUnproven(process)
  const changed: NodeChange[] = []
  await until('it takes writes', async () => {
    const [answer] = await process.l2.barrier(upTo(165))
    if (answer?.kind === 'changed') changed.push(answer.change)
    return changed.length > 0
  })
  expect(changed.map((change) => change.found)).toEqual([upTo(100)])
  await isRestored(process, changed)
})

test('a demotion and a promotion without a reconnect', async () => {
  const [server, other] = [await startReplicatedRedis(), await startReplicatedRedis()]
  await other.follow(server)
  const process = await open(server.url)
  const connection = await process.redis.client('ID')
  await other.follow(server)
  await other.promote()
  await toBeForgotten(process)
  await server.follow(other)
  await isUnproven(process)
  const [refused] = await process.l2.barrier(upTo(165))
  expect(refused?.kind).toBe('unavailable')
  await isUnproven(process)
  await server.promote()
  expect(await process.redis.client('ID')).toBe(connection)
  await isUnproven(process)
  const changed = await changes(process.l2, upTo(165))
  expect(changed.map((change) => change.found)).toEqual([upTo(100)])
  await isRestored(process, changed)
})

test('a demotion and a promotion that lose nothing count as a change all the same', async () => {
  const server = await startReplicatedRedis()
  const process = await open(server.url)
  await server.detach()
  await server.promote()
  const changed = await changes(process.l2, upTo(165))
  expect(changed.map((change) => change.found)).toEqual([upTo(100)])
  await isRestored(process, changed)
})

test('a restart from an old dump', async () => {
  const server = await startRedis()
  const process = await open(server.url)
  await process.redis.save()
  await toBeForgotten(process)
  await server.kill()
  await server.start()
  await until('it answers again', async () => (await found(process.l2, 'a')) === 'value of a')
  await isUnproven(process)
  const changed = await changes(process.l2, upTo(165))
  expect(changed.map((change) => change.found)).toEqual([upTo(100)])
  await isRestored(process, changed)
})

test('a restart with nothing', async () => {
  const server = await startRedis()
  const process = await open(server.url)
  await toBeForgotten(process)
  await server.kill()
  await server.start()
  await until('it answers again', async () => (await found(process.l2, 'a')) === 'miss')
  const changed = await changes(process.l2, upTo(165))
  expect(changed.map((change) => change.found)).toEqual([undefined])
  await put(process.l2, 'a', upTo(90))
  await isRestored(process, changed)
})

test('FLUSHALL: nothing is proven until the next barrier, and loads of before fill nothing', async () => {
  const server = await startRedis()
  const process = await open(server.url)
  const { l2 } = process
  const paused = await lease(l2, 'b')
  await toBeForgotten(process)
  await process.redis.flushall()
  await put(l2, 'c', upTo(155))
  expect(await beside(l2, 'c')).toBeUndefined()
  await proves(l2, upTo(170))
  expect(await beside(l2, 'c')).toEqual(upTo(170))
  expect(await fill(l2, fillOf(paused, upTo(90)))).toBe('nonce-changed')
})

test('a replica of a cluster that takes over', async () => {
  const cluster = await startRedisCluster({ replicas: 1 })
  const [replica] = cluster.replicas
  if (!replica) throw new Error('a replica was expected')
  const process = await open({ cluster: cluster.cluster })
  const { l2 } = process
  const ids = Array.from({ length: 30 }, (_, index) => `id ${index}`)
  for (const id of ids) await put(l2, id, upTo(90))
  const barriers = async () => {
    const all = await Promise.all(ids.map((id) => beside(l2, id)))
    return new Set(all.map((one) => JSON.stringify(one)))
  }
  expect(await barriers()).toEqual(new Set([JSON.stringify(upTo(100))]))
  await replica.takeOver()
  // The others go on; the one that has taken over has what the one before was told.
  let changed: readonly NodeChange[] = []
  await until('the change is seen', async () => {
    const answers = await l2.barrier(upTo(110))
    changed = answers.flatMap((answer) => (answer.kind === 'changed' ? answer.change : []))
    // Until the slots are asked for again it goes by the name of the one before.
    return changed.some(({ node }) => node === `127.0.0.1:${replica.port}`)
  })
  expect(changed.map(({ found: before }) => before)).toEqual([upTo(100)])
  expect(await barriers()).toEqual(new Set([undefined, JSON.stringify(upTo(110))]))
  expect(await restore(l2, changed, upTo(120))).toEqual(['written'])
  await proves(l2, upTo(120))
  expect(await barriers()).toEqual(new Set([JSON.stringify(upTo(120))]))
})

test('a slot that moves to another node of a cluster brings no barrier along', async () => {
  const cluster = await startRedisCluster()
  const process = await open({ cluster: cluster.cluster })
  const { l2, redis } = process
  const [record] = (
    await Promise.all(cluster.nodes.map(({ admin }) => admin.keys('*:barrier:*')))
  ).flat()
  const slot = await cluster.nodes[0]?.admin.cluster('KEYSLOT', record as string)
  const from = await cluster.ownerOf(slot as number)
  const to = cluster.nodes.find((node) => node !== from)
  if (!to) throw new Error('another node was expected')
  await cluster.openSlot(slot as number, to)
  await cluster.moveKeys(slot as number, to)
  await cluster.closeSlot(slot as number, to)
  await until('all nodes are proven again', async () => {
    const answers = await l2.barrier(upTo(110))
    for (const answer of answers) {
      if (answer.kind === 'changed') await l2.restore(answer.change, upTo(110), undefined)
    }
    return answers.every(({ kind }) => kind === 'written')
  })
  expect(await beside(l2, 'a')).toEqual(upTo(110))
  expect(redis.status).toBe('ready')
})
