/** A Redis that is down is no error at the start (I7), and costs it two seconds, with a client of the user's own too. */
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { freePort, startRedis } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { openWorld } from '../support/world.ts'

const inTime = (start: Promise<unknown>): Promise<string> => {
  let timer: NodeJS.Timeout
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve('still starting after 4 s'), 4_000)
  })
  return Promise.race([
    start.then(
      () => 'started',
      (error) => `failed: ${error}`,
    ),
    late,
  ]).finally(() => clearTimeout(timer))
}

function own(port: number, options: object): Redis {
  const redis = new Redis({ port, host: '127.0.0.1', ...options })
  redis.on('error', () => {})
  onTestFinished(() => redis.disconnect())
  return redis
}

test.each([
  ['with ioredis defaults', {}],
  ['that waits for ever (maxRetriesPerRequest: null)', { maxRetriesPerRequest: null }],
])(
  'a client of one’s own %s, to a Redis that is down, does not hold up the start',
  async (_, options) => {
    const world = await openWorld()
    const redis = own(await freePort(), options)
    expect(await inTime(world.open({ options: { redis } as never }))).toBe('started')
  },
  20_000,
)

test('a client of one’s own whose Redis hangs does not hold up the start', async () => {
  const server = await startRedis()
  const proxy = await openTcpProxy(server.url)
  const world = await openWorld()
  const redis = own(proxy.port, {})
  await redis.ping()
  proxy.hang()
  expect(await inTime(world.open({ options: { redis } as never }))).toBe('started')
}, 20_000)
