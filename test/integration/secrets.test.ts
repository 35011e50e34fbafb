/** No URL or password in what the start throws. */
import { inspect } from 'node:util'
import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { lockstep } from '../../src/lockstep.ts'
import { entity } from '../../src/types.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startRedis } from '../support/servers.ts'
import { required } from '../support/world.ts'

const secret = 'hunter2'
const item = entity('item', { load: async () => [], id: (row: { id: number }) => row.id })

const failure = async (options: object): Promise<unknown> =>
  lockstep({
    namespace: ownNamespace(),
    postgres: required('DATABASE_URL'),
    entities: { item },
    ...options,
  } as never).then(
    async (cache) => {
      await cache.close()
      return undefined
    },
    (error: unknown) => error,
  )

describe('a misspelt option that is a URL is told without it', () => {
  const primary = `postgres://u:${secret}@db/shop`
  test.each([
    ['postgres.replica', { postgres: { primary, replica: `postgres://u:${secret}@r/shop` } }],
    [
      'postgres.replicas that is no array',
      { postgres: { primary, replicas: `postgres://u:${secret}@r/shop` } },
    ],
    ['redisUrl', { redisUrl: `redis://:${secret}@10.0.0.1` }],
    ['postgresql', { postgresql: primary }],
    ['password', { password: secret }],
    ['postgres.password', { postgres: { primary, password: secret } }],
  ])('%s', async (_, options) => {
    const error = await failure(options)
    expect(error).toMatchObject({ code: 'OPTION_INVALID' })
    expect(inspect(error, { depth: 10 })).not.toContain(secret)
  })
})

describe('REDIS_REFUSED', () => {
  test('does not tell a wrong password', async () => {
    const server = await startRedis({ config: { requirepass: 'right' } })
    const error = await failure({ redis: `redis://:${secret}@127.0.0.1:${server.port}` })
    expect(error).toMatchObject({ code: 'REDIS_REFUSED' })
    expect(inspect(error, { depth: 10 })).not.toContain(secret)
  })

  test('does not tell the password of a user that is not there', async () => {
    const server = await startRedis()
    const error = await failure({ redis: `redis://nobody:${secret}@127.0.0.1:${server.port}` })
    expect(error).toMatchObject({ code: 'REDIS_REFUSED' })
    expect(inspect(error, { depth: 10 })).not.toContain(secret)
  })

  test('does not tell a wrong password of a client of one’s own', async () => {
    const server = await startRedis({ config: { requirepass: 'right' } })
    const own = new Redis({ port: server.port, password: secret })
    own.on('error', () => {})
    onTestFinished(() => own.disconnect())
    const error = await failure({ redis: own })
    expect(error).toMatchObject({ code: 'REDIS_REFUSED' })
    expect(inspect(error, { depth: 10 })).not.toContain(secret)
  })
})
