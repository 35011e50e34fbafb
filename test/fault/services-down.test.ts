/** Redis or PostgreSQL down at the start, or going down in the middle: what goes on, what fails, and how. */
import { expect, test } from 'vitest'
import { lockstep } from '../../src/lockstep.ts'
import { entity } from '../../src/types.ts'
import { connect, emptyDatabase, migratedDatabase } from '../support/database.ts'
import { startPostgres, startRedis } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { type ItemWorldCache, openWorld, required, until, type World } from '../support/world.ts'

const id = 1
const timing = {
  redisDeadline: '200ms',
  loadDeadline: '500ms',
  readDeadline: '3s',
  writeDeadline: '500ms',
} as const

async function strongVersion(cache: ItemWorldCache): Promise<number | undefined> {
  return (await cache.item.get(id, { consistency: 'strong' }))?.version
}

test('with Redis down at the start the cache starts, answers, writes, and finds Redis later', async () => {
  const redis = await startRedis()
  const world = await openWorld({ redisUrl: redis.url })
  await redis.stop()
  const cache = await world.open({ timing })
  expect((await cache.item.get(id))?.version).toBe(0)
  expect(await world.write(cache, id)).toMatchObject({ version: 1, fenced: false })
  expect((await cache.item.get(id))?.version).toBe(1)
  await redis.start()
  await until('writes are fenced again', async () => (await world.write(cache, id)).fenced, 20_000)
  expect(await strongVersion(cache)).toBe(await world.truth(id))
})

test('with Redis killed in the middle every read and write goes on, and nothing is stale after it', async () => {
  const redis = await startRedis()
  const world = await openWorld({ redisUrl: redis.url })
  const one = await world.open({ timing })
  const other = await world.open({ timing })
  await one.item.get(id)
  await redis.kill()
  for (let round = 0; round < 20; round++) {
    const { version } = await world.write(round % 2 ? one : other, id)
    expect(await strongVersion(one)).toBe(version)
    expect(await strongVersion(other)).toBe(version)
  }
  await redis.start()
  await until(
    'both use Redis again',
    async () => {
      const { fenced } = await world.write(one, id)
      return fenced && (await world.write(other, id)).fenced
    },
    20_000,
  )
  expect(await strongVersion(one)).toBe(await world.truth(id))
  expect(await strongVersion(other)).toBe(await world.truth(id))
})

test('with Redis hung a read is answered within its deadline, and soon without waiting at all', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const world = await openWorld()
  const cache = await world.open({
    redisUrl: proxy.through(required('REDIS_URL')),
    timing: { ...timing, redisDeadline: '100ms' },
  })
  await cache.item.get(id)
  proxy.hang()
  const beganAt = performance.now()
  expect(await strongVersion(cache)).toBe(0)
  expect(performance.now() - beganAt).toBeLessThan(3_000)
  await until('a strong read costs no deadline any more', async () => {
    const at = performance.now()
    await strongVersion(cache)
    return performance.now() - at < 50
  })
})

test('a Redis that hung and comes back on a new connection is used again', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const world = await openWorld()
  const cache = await world.open({ redisUrl: proxy.through(required('REDIS_URL')), timing })
  await cache.item.get(id)
  proxy.hang()
  await until('a write is not fenced', async () => !(await world.write(cache, id)).fenced)
  // The hung connections stay as they are: only who gives them up gets through again.
  await proxy.pass()
  await until('writes are fenced again', async () => (await world.write(cache, id)).fenced, 20_000)
})

test('with PostgreSQL killed in the middle L2 goes on answering, and what needs the source fails clearly', async () => {
  const postgres = await startPostgres()
  const world = await openWorld({ databaseUrl: await migratedDatabase(postgres) })
  const cache = await world.open({ timing })
  await cache.item.get(id)
  await postgres.kill9()
  await until('L1 is not trusted any more', () => cache.item.peek(id) === undefined)
  expect(await cache.item.getEntry(id)).toMatchObject({ tier: 'l2', proven: false })
  await expect(cache.item.get(2)).rejects.toMatchObject({
    code: 'SOURCE_UNAVAILABLE',
    retryable: true,
  })
  await expect(world.write(cache, id)).rejects.toMatchObject({ retryable: true })
  await postgres.start()
  await until(
    'a write goes through',
    async () => {
      return (await world.write(cache, id).catch(() => undefined)) !== undefined
    },
    20_000,
  )
  expect(await strongVersion(cache)).toBe(await world.truth(id))
  await until('L1 is served again', async () => (await cache.item.getEntry(id)).tier === 'l1')
})

test('a write whose connections break again and again is told that PostgreSQL is away', async () => {
  const proxy = await openTcpProxy(required('DATABASE_URL'))
  const world = await openWorld()
  const postgres = proxy.through(required('DATABASE_URL'))
  const cache = await world.open({ timing, options: { postgres } as never })
  let tries = 0
  const failing = cache.item.write(id, async (tx) => {
    tries++
    proxy.cut()
    await tx(world.table)
      .where({ id })
      .increment('version', 1)
      .catch(() => {})
    return tx(world.table).where({ id }).increment('version', 1)
  })
  await expect(failing).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
  expect(tries).toBe(3)
  expect((await world.write(cache, id)).version).toBe(1)
})

test('a write whose first delete went through and whose process died blocks nobody', async () => {
  const world = await openWorld()
  const cache = await world.open({ timing })
  const client = await connect(world.databaseUrl)
  const hung = cache.item.write(
    id,
    async (tx) => {
      await tx(world.table).where({ id }).increment('version', 1)
      const { rows } = await tx.raw('select pg_backend_pid() as pid')
      await client.query('select pg_terminate_backend($1)', [rows[0].pid])
    },
    { retries: 0 },
  )
  await expect(hung).rejects.toThrow()
  expect(await strongVersion(cache)).toBe(0)
  expect((await world.write(cache, id)).version).toBe(1)
})

const nobody = 'postgres://postgres:secret-word@127.0.0.1:1/none'

test('a PostgreSQL that does not answer at the start is told, without its password', async () => {
  const item = entity('item', {
    load: async (ids: number[]) => ids.map((one) => ({ id: one })),
    id: (row) => row.id,
  })
  const options = { namespace: 'nobody', entities: { item } }
  const error = await lockstep({ ...options, postgres: nobody }).catch((cause: unknown) => cause)
  expect(error).toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
  expect(String((error as Error).stack)).not.toContain('secret-word')
  await expect(lockstep({ ...options, postgres: 'not a url' })).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringContaining('"postgres"'),
  })
  await expect(lockstep({ ...options, postgres: '' })).rejects.toMatchObject({
    code: 'OPTION_INVALID',
  })
  await expect(lockstep({ ...options, postgres: nobody, redis: 'http://x' })).rejects.toMatchObject(
    { code: expect.stringMatching(/OPTION_INVALID|SOURCE_UNAVAILABLE/) },
  )
})

test('a database without the schema is told which command to run', async () => {
  const item = entity('item', {
    load: async (ids: number[]) => ids.map((one) => ({ id: one })),
    id: (row) => row.id,
  })
  const start = lockstep({
    namespace: 'empty',
    postgres: await emptyDatabase(),
    entities: { item },
  })
  await expect(start).rejects.toMatchObject({
    code: 'SCHEMA_MISSING',
    message: expect.stringContaining('lockstep migrate'),
  })
})

test('an instance without Redis is refused where others keep the namespace in Redis', async () => {
  const world: World = await openWorld()
  await world.open()
  await expect(world.open({ redisUrl: undefined })).rejects.toMatchObject({
    code: 'REDIS_REQUIRED',
  })
})
