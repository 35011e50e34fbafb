/** `cache.health()` tells of each hop: what is not asked, or held back, is seen while reads go on. */
import { expect, test } from 'vitest'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { startRedis } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { type ItemWorldCache, openWorld, required, until } from '../support/world.ts'

const well = { breaker: 'closed', held: false }
const timing = { redisDeadline: '200ms', loadDeadline: '300ms', writeDeadline: '300ms' } as const
const strong = { consistency: 'strong' } as const
const isReady = (cache: ItemWorldCache): boolean => cache.health().status === 'ready'

test('Redis that is gone: l2 is open, and it is degraded and ready to answer', async () => {
  const server = await startRedis()
  const world = await openWorld({ redisUrl: server.url })
  const cache = await world.open({ timing })
  await until('all is well', () => isReady(cache))
  expect(cache.health().hops).toEqual({ l2: well, source: well })
  await server.kill()
  await until('l2 is open', async () => {
    await cache.item.get(1, strong)
    return cache.health().hops.l2?.breaker === 'open'
  })
  expect(cache.health()).toMatchObject({
    ...{ status: 'degraded', ready: true },
    hops: { l2: { breaker: 'open', held: false }, source: well },
  })
  await server.start()
  await until('all is well again', async () => {
    await cache.item.get(1, strong)
    return isReady(cache)
  })
})

test('PostgreSQL that hangs: source is open, and it is degraded while Redis answers', async () => {
  const proxy = await openTcpProxy(required('DATABASE_URL'))
  const world = await openWorld()
  const cache = await world.open({
    timing,
    options: { postgres: proxy.through(world.databaseUrl) } as never,
  })
  await until('all is well', () => isReady(cache))
  proxy.hang()
  let id = 1
  await until('source is open', async () => {
    await cache.item.get(id++ % 50).catch(() => {})
    return cache.health().hops.source.breaker === 'open'
  })
  expect(cache.health()).toMatchObject({
    ...{ status: 'degraded', ready: true },
    hops: { l2: well, source: { breaker: 'open', held: false } },
  })
  await proxy.pass()
})

test('Kafka that takes no publishing: bus is open, and it is degraded', async () => {
  const world = await openWorld({ plane: 'kafka' })
  let isDown = false
  const cache = await world.open({
    timing: { kafkaDeadline: '100ms' },
    replace: ({ log, ...parts }) => ({
      ...parts,
      log: log && {
        ...log,
        publish: (writes, signal) =>
          isDown ? Promise.reject(new Error('it is down')) : log.publish(writes, signal),
      },
    }),
  })
  await until('all is well', () => isReady(cache), 20_000)
  expect(cache.health().hops.bus).toEqual(well)
  isDown = true
  await until('bus is open', async () => {
    await world.write(cache, 1)
    return cache.health().hops.bus?.breaker === 'open'
  })
  expect(cache.health()).toMatchObject({
    ...{ status: 'degraded', ready: true },
    hops: { l2: well, source: well },
  })
})

test('a node of a cluster that is gone is named, and the others are asked', async () => {
  const cluster = await startRedisCluster()
  const world = await openWorld()
  const cache = await world.open({ timing, options: { redis: { cluster: cluster.cluster } } })
  const ids = Array.from({ length: 50 }, (_, index) => index + 1)
  await until('each node has been asked', async () => {
    await cache.item.getMany(ids, strong)
    return Object.keys(cache.health().hops.l2?.nodes ?? {}).length === 3
  })
  await cluster.nodes[2]?.kill()
  const states = (): string[] => Object.values(cache.health().hops.l2?.nodes ?? {}).sort()
  await until('one is open', async () => {
    await cache.item.getMany(ids, strong)
    return states().includes('open')
  })
  expect(states()).toEqual(['closed', 'closed', 'open'])
  expect(cache.health()).toMatchObject({
    ...{ status: 'degraded', ready: true },
    hops: { l2: { breaker: 'open' }, source: well },
  })
})
