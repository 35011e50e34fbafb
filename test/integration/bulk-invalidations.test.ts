/** I2, I3, I7 when one statement changes a large part of a table, and when a part of Redis is gone. */
import type { Client } from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { mostRowsAPoll } from '../../src/model/defaults.ts'
import { slotOf } from '../../src/redis/slot.ts'
import { connect, ownDatabase } from '../support/database.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { startRedis } from '../support/servers.ts'
import { openWorld, until } from '../support/world.ts'

test('Redis is told of 100,000 ids of one call within its usual deadline', async () => {
  const databaseUrl = await ownDatabase()
  const server = await startRedis()
  const world = await openWorld({ databaseUrl, redisUrl: server.url })
  const cache = await world.open({ redisUrl: server.url, timing: { redisDeadline: '200ms' } })
  const client = await connect(databaseUrl)
  expect((await cache.item.get(1))?.version).toBe(0)
  await client.query(
    `begin; update ${world.table} set version = version + 1 where id = 1; ${invalidate(100_000)}; commit`,
  )
  await until('Redis has been told of all', async () => (await unapplied(client)) === 0, 30_000)
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(1)
})

test('L1 is emptied by more ids than a poll brings, and trusted again at once', async () => {
  const databaseUrl = await ownDatabase()
  const world = await openWorld({ databaseUrl })
  const cache = await world.open({ redisUrl: undefined })
  const client = await connect(databaseUrl)
  const changes: unknown[] = []
  onTestFinished(cache.on('trust', (change) => changes.push(change)))
  await until('L1 has the value', async () => {
    await cache.item.get(1)
    return cache.item.peek(1) !== undefined
  })
  const rows = 1_000
  expect(rows).toBeLessThan(mostRowsAPoll)
  await client.query(
    `begin; update ${world.table} set version = version + 1 where id = 1; ${invalidate(rows * 1_000)}; commit`,
  )
  await until('a gap is told of', () =>
    changes.some((one) => (one as { reason?: string }).reason === 'too-many-rows'),
  )
  await until('L1 is served again', async () => {
    await cache.item.get(1)
    return cache.item.peek(1)?.version === 1
  })
})

test('rows for a node of the cluster that is gone do not keep the others from being told', async () => {
  const databaseUrl = await ownDatabase()
  const cluster = await startRedisCluster()
  const world = await openWorld({ databaseUrl })
  const cache = await world.open({
    options: { redis: { cluster: cluster.cluster } } as never,
    timing: { redisDeadline: '200ms', readDeadline: '21s' },
  })
  const client = await connect(databaseUrl)
  const ownerOf = (id: number) => cluster.ownerOf(slotOf(world.valueKey(id)))
  const gone = await ownerOf(1)
  let healthy = 2
  while ((await ownerOf(healthy)) === gone) healthy++
  const onGone: number[] = []
  for (let id = 1; onGone.length < 700; id++) if ((await ownerOf(id)) === gone) onGone.push(id)
  const strong = async () => (await cache.item.get(healthy, { consistency: 'strong' }))?.version
  expect(await strong()).toBe(0)
  await gone.kill()
  for (const id of onGone) await client.query(`select lockstep.invalidate('item', ${id})`)
  await client.query(
    `begin; update ${world.table} set version = version + 1 where id = ${healthy};
     select lockstep.invalidate('item', ${healthy}); commit`,
  )
  await until('the healthy node has been told', async () => (await strong()) === 1, 30_000)
})

const invalidate = (count: number): string =>
  `select lockstep.invalidate('item', array(select i::text from generate_series(1, ${count}) i))`

async function unapplied(client: Client): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    'select count(*)::int as count from lockstep.outbox where not applied',
  )
  return rows[0]?.count ?? 0
}
