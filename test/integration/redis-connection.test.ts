/** The way to Redis: what is refused at the start by name, what is waited for, and what is left when it is closed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Redis, type RedisOptions } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { LockstepError } from '../../src/model/errors.ts'
import type { Logger } from '../../src/model/log.ts'
import { connectRedis, type RedisConnections } from '../../src/redis/connection.ts'
import type { RedisConnectionOptions } from '../../src/redis/open.ts'
import { begun, built } from '../contract/filter-words.ts'
import { openRedisProcess } from '../contract/redis-process.ts'
import {
  acquire,
  fill,
  fillOf,
  found,
  invalidate,
  lease,
  thing,
  upTo,
  write,
} from '../contract/words.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startRedis } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { required, until } from '../support/world.ts'

const bus = () => `${ownNamespace()}:bus`

interface Connected extends RedisConnections {
  readonly warnings: readonly unknown[]
}

async function connect(
  options: RedisConnectionOptions,
  deadlineMs = 1_000,
  channel = bus(),
): Promise<Connected> {
  const warnings: unknown[] = []
  const log = {
    warn: (...args: unknown[]) => warnings.push(args),
    debug() {},
    info() {},
    error() {},
  }
  const connections = await connectRedis(options, channel, deadlineMs, log as unknown as Logger)
  onTestFinished(() => connections.close())
  return { ...connections, warnings }
}

async function failure(options: RedisConnectionOptions): Promise<LockstepError> {
  const reason = await connect(options).then(
    () => undefined,
    (error: unknown) => error,
  )
  if (reason instanceof LockstepError) return reason
  throw new Error(`a LockstepError was expected, not ${String(reason)}`)
}

/** An ioredis instance as an application has it. */
function instance(url: string, options: RedisOptions = {}): Redis {
  const redis = new Redis(url, options)
  redis.on('error', () => {})
  onTestFinished(() => redis.disconnect())
  return redis
}

// ---------------------------------------------------------------- refused at the start

test.each([
  '',
  'localhost',
  'localhost:6379',
  '127.0.0.1:6379',
  'http://user:secret-word@127.0.0.1:6379',
  'redis://:secret-word@127.0.0.1:99999',
  'redis//127.0.0.1',
  'redis://:100%secret-word@127.0.0.1:6379',
])('the URL "%s" is refused by the name of its option, and without its password', async (url) => {
  const error = await failure(url)
  expect(error).toMatchObject({ code: 'OPTION_INVALID', retryable: false })
  expect(error.message).toContain('"redis"')
  expect(error.message).not.toContain('secret-word')
})

test.each([
  ['a number', 42],
  ['a list of nodes', [{ host: '10.0.0.1', port: 6379 }]],
  ['a URL object', new URL('redis://10.0.0.1:6379')],
])(
  '%s is refused by the name of the option, and not taken for this machine',
  async (_what, odd) => {
    expect(await failure(odd as never)).toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining('"redis"'),
    })
  },
)

test('a wrong password is told at the start, and not repeated', async () => {
  const server = await startRedis({ config: { requirepass: 'right' } })
  const wrong = server.url.replace('redis://', 'redis://:secret-word@')
  for (const options of [wrong, { port: server.port, password: 'secret-word' }]) {
    const error = await failure(options)
    expect(error).toMatchObject({ code: 'REDIS_REFUSED', retryable: false })
    expect(error.message).toContain('WRONGPASS')
    expect(error.message).not.toContain('secret-word')
  }
})

test('a missing password is told at the start', async () => {
  const server = await startRedis({ config: { requirepass: 'right' } })
  expect(await failure(server.url)).toMatchObject({ code: 'REDIS_REFUSED' })
})

test('a password that the server does not want is told at the start', async () => {
  const server = await startRedis()
  const url = server.url.replace('redis://', 'redis://somebody:secret-word@')
  const error = await failure(url)
  expect(error).toMatchObject({ code: 'REDIS_REFUSED' })
  expect(error.message).not.toContain('secret-word')
})

test('a database that the server does not have is told at the start', async () => {
  const server = await startRedis({ config: { databases: '2' } })
  await connect(`${server.url}/1`)
  expect(await failure(`${server.url}/7`)).toMatchObject({ code: 'REDIS_REFUSED' })
})

test('a server that is too old is told at the start, with the version that would do', async () => {
  // Nothing that old is to be had: an instance that says so stands in for it.
  const old = instance(required('REDIS_URL'))
  await until('it is connected', () => old.status === 'ready')
  old.info = (async () => '# Server\r\nredis_version:6.2.14\r\n') as never
  const error = await failure(old)
  expect(error).toMatchObject({ code: 'REDIS_REFUSED', retryable: false })
  expect(error.message).toMatch(/6\.2\.14.*7\.0 or newer/)
  expect(old.status).toBe('ready')
})

// ---------------------------------------------------------------- rights

const rights = 'on >right ~test-* &test-* -@all'
const needed = '+@connection +info +eval +evalsha +mget +get +getrange +set +del +unlink +time'
const fenceCommands =
  '+exists +setrange +pexpire +publish +subscribe +strlen +append +getbit +setbit +bitop +bitcount +hset +hmget'

async function serverWithUser(rules: string): Promise<string> {
  const server = await startRedis()
  const admin = instance(server.url)
  await admin.call('ACL', 'SETUSER', 'app', ...rules.split(' '))
  return server.url.replace('redis://', 'redis://app:right@')
}

test('a user with no more than the rights that are needed can do everything', async () => {
  const url = await serverWithUser(`${rights} ${needed} ${fenceCommands}`)
  const { warnings } = await connect(url)
  expect(warnings).toEqual([])
  const { filters, l2 } = await openRedisProcess({ url, namespace: ownNamespace() })
  const { l2: other } = await openRedisProcess({ url, namespace: ownNamespace() })
  await invalidate(l2, write(100), ['a'])
  const leased = await lease(l2, 'a')
  expect((await acquire(other, 'a')).kind).toBe('wait')
  const woken = other.filled(thing(), 'a', 60_000, new AbortController().signal)
  expect(await fill(l2, fillOf(leased, upTo(101)))).toBe('filled')
  await woken
  expect(await found(other, 'a')).toBe('value of a')
  await built(filters, ['a'])
  const build = await begun(filters)
  await invalidate(l2, write(102), ['b'])
  expect(await filters.missing('thing', build.generation, ['a', 'b'])).toEqual([true, false])
})

test.each([
  ['scripts', `${rights} ${needed} ${fenceCommands} -eval -evalsha`],
  ['a command that a script needs', `${rights} ${needed} ${fenceCommands} -setrange`],
  ['the keys of the namespace', `${rights} ${needed} ${fenceCommands} resetkeys ~other-*`],
  // What Redis 7 gives a user who was made without a word about channels.
  ['the channel', 'on >right ~* +@all resetchannels'],
])('a user without rights to %s is told so at the start', async (_what, rules) => {
  const url = await serverWithUser(rules)
  const error = await failure(url)
  expect(error).toMatchObject({ code: 'REDIS_REFUSED', retryable: false })
  expect(error.message).toContain('NOPERM')
})

test('a password that is changed while the cache runs harms nothing that is connected', async () => {
  const url = await serverWithUser(`${rights} ${needed} ${fenceCommands}`)
  const { l2 } = await openRedisProcess({ url, namespace: ownNamespace() })
  const admin = instance(url.replace('app:right@', ''))
  await admin.call('ACL', 'SETUSER', 'app', 'resetpass', '>another')
  expect(await fill(l2, fillOf(await lease(l2, 'a'), upTo(100)))).toBe('filled')
})

// ---------------------------------------------------------------- waited for

test('a Redis that is down at the start is warned of, and found when it comes up', async () => {
  const server = await startRedis()
  await server.stop()
  const { commands, subscriber, warnings } = await connect(server.url)
  expect(warnings).toHaveLength(1)
  await expect(commands.get('a')).rejects.toThrow()
  await server.start()
  await until('it is found', () => commands.status === 'ready' && subscriber.status === 'ready')
  expect(await commands.get('a')).toBeNull()
  await until('somebody listens', async () => {
    const [, listeners] = (await commands.pubsub('NUMSUB', bus())) as [string, number]
    return listeners === 1
  })
})

test('a Redis that accepts and never answers is warned of in time', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  proxy.hang()
  const { warnings } = await connect(proxy.through(required('REDIS_URL')), 200)
  expect(warnings).toHaveLength(1)
})

test('a Redis that hangs behind an instance that was ready is warned of in time', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const redis = instance(proxy.through(required('REDIS_URL')))
  await until('it is connected', () => redis.status === 'ready')
  proxy.hang()
  let connected: Connected | undefined
  const connecting = connect(redis, 200).then((connections) => {
    connected = connections
  })
  connecting.catch(() => {})
  await until('it has given up', () => connected !== undefined, 5_000)
  expect(connected?.warnings).toHaveLength(1)
})

test('a Redis that is slow at the start is warned of, and waited for', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  proxy.delay(150)
  const { commands, warnings } = await connect(proxy.through(required('REDIS_URL')), 100)
  expect(warnings).toHaveLength(1)
  await until('it is found', () => commands.status === 'ready')
})

test('commands that were sent when the connection broke are not sent again', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const { commands } = await connect(proxy.through(required('REDIS_URL')))
  const key = `${ownNamespace()}:counter`
  onTestFinished(async () => {
    await instance(required('REDIS_URL')).del(key)
  })
  const cut = proxy.at(key, 'cut reply')
  await expect(commands.incr(key)).rejects.toThrow()
  await cut
  await until('it is connected again', () => commands.status === 'ready')
  expect(await commands.get(key)).toBe('1')
})

test('nothing waits in a queue for a connection', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const { commands } = await connect(proxy.through(required('REDIS_URL')))
  await proxy.refuse()
  await until('the connection is gone', () => commands.status !== 'ready')
  await expect(commands.get('a')).rejects.toThrow()
})

test('a connection that hangs is given up for one that works', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const { l2 } = await openRedisProcess({
    url: proxy.through(required('REDIS_URL')),
    namespace: ownNamespace(),
    deadlineMs: 100,
  })
  expect(await found(l2, 'a')).toBe('miss')
  proxy.hang()
  expect(await found(l2, 'a')).toBe('unavailable')
  await proxy.pass()
  // What was open stays half-open, as after a failover whose old primary is gone without a word.
  await until('Redis is found again', async () => (await found(l2, 'a')) === 'miss', 15_000)
})

test('a connection that listens breaks while it is set up again: no rejection is left, and it listens in the end', async () => {
  const rejections: unknown[] = []
  const note = (reason: unknown): void => void rejections.push(reason)
  process.on('unhandledRejection', note)
  onTestFinished(() => void process.off('unhandledRejection', note))
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const channel = bus()
  const url = proxy.through(required('REDIS_URL'))
  const { commands, subscriber } = await connect(url, 1_000, channel)
  const heard: string[] = []
  subscriber.on('message', (_, message) => heard.push(message))
  // Both connections say who they are when they come back, and are cut then.
  const cut = [1, 2, 3, 4].map(() => proxy.at('SETINFO', 'cut before'))
  proxy.cut()
  await Promise.all(cut)
  await until('it listens again', async () => {
    if (commands.status === 'ready') await commands.publish(channel, 'hello').catch(() => {})
    return heard.length > 0
  })
  expect(rejections).toEqual([])
})

// ---------------------------------------------------------------- an instance of one's own

test('an instance that was passed in stays open, and as it was', async () => {
  const redis = instance(required('REDIS_URL'))
  await until('it is connected', () => redis.status === 'ready')
  const listeners = () => redis.eventNames().map((name) => [name, redis.listenerCount(name)])
  const before = listeners()
  for (let turn = 0; turn < 3; turn++) {
    const connections = await connect(redis)
    expect(connections.commands).toBe(redis)
    connections.close()
    await until('the subscriber is closed', () => connections.subscriber.status === 'end')
  }
  expect(await redis.ping()).toBe('PONG')
  expect(listeners()).toEqual(before)
})

test('an instance that did not answer in time is as it was after the close', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  proxy.hang()
  const redis = instance(proxy.through(required('REDIS_URL')))
  const listeners = () => redis.eventNames().map((name) => [name, redis.listenerCount(name)])
  // ioredis listens to itself while it connects.
  await until('it is connecting', () => redis.listenerCount('ready') > 0)
  const before = listeners()
  const { close, warnings } = await connect(redis, 100)
  expect(warnings).toHaveLength(1)
  close()
  expect(listeners()).toEqual(before)
})

test('an instance that is not connected yet is connected', async () => {
  const redis = instance(required('REDIS_URL'), { lazyConnect: true })
  const { warnings } = await connect(redis)
  expect(redis.status).toBe('ready')
  expect(warnings).toEqual([])
})

test('an instance that is connecting is waited for', async () => {
  const { commands, warnings } = await connect(instance(required('REDIS_URL')))
  expect(commands.status).toBe('ready')
  expect(warnings).toEqual([])
})

test('an instance whose keys get a prefix is of the same use', async () => {
  const url = required('REDIS_URL')
  const prefixed = { ...urlOptions(url), keyPrefix: `${ownNamespace()}:prefix:` }
  const namespace = ownNamespace()
  const { l2 } = await openRedisProcess({ url: prefixed, namespace })
  const { l2: other } = await openRedisProcess({ url: prefixed, namespace })
  const leased = await lease(l2, 'a')
  expect((await acquire(other, 'a')).kind).toBe('wait')
  const leaving = new AbortController()
  let isWoken = false
  const waiting = other.filled(thing(), 'a', 60_000, leaving.signal).then(() => {
    isWoken = true
  })
  expect(await fill(l2, fillOf(leased, upTo(100)))).toBe('filled')
  onTestFinished(() => leaving.abort())
  await until('who waits is woken', () => isWoken, 5_000)
  await waiting
  expect(await found(other, 'a')).toBe('value of a')
})

// ---------------------------------------------------------------- closing

test('nothing is left open after a close', async () => {
  const server = await startRedis()
  const proxy = await openTcpProxy(server.url)
  const connections = await connect(proxy.through(server.url))
  await until('both are connected', () => connections.subscriber.status === 'ready')
  expect(proxy.open).toBe(2)
  connections.close()
  await until('both are closed', () => proxy.open === 0)
  const { commands, subscriber } = connections
  await until('both have ended', () => commands.status === 'end' && subscriber.status === 'end')
  connections.close()
})

test('nothing is left open when it is closed at once', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const connections = await connect(proxy.through(required('REDIS_URL')))
  connections.close()
  const { commands, subscriber } = connections
  await until('both have ended', () => commands.status === 'end' && subscriber.status === 'end')
  await until('both are closed', () => proxy.open === 0)
})

/** What a process does after `connectRedis` until it closes; how long it lives after that. */
async function msAfterClose(url: string, meanwhile: string): Promise<number> {
  const built = new URL('../../dist/redis/connection.js', import.meta.url).href
  const script = `
    const { connectRedis } = await import('${built}')
    const until = async (holds) => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const { commands, subscriber, close } = await connectRedis('${url}', 'bus', 500, { warn() {} })
    const both = [commands, subscriber]
    ${meanwhile}
    close()
    console.log('closed')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script])
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  await once(child.stdout, 'data')
  const closedAt = performance.now()
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
  return performance.now() - closedAt
}

test('a process ends by itself after a close, though Redis is down', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  await proxy.refuse()
  const isTrying = `await until(() => both.every(({ status }) => status === 'reconnecting'))`
  expect(await msAfterClose(proxy.through(required('REDIS_URL')), isTrying)).toBeLessThan(1_000)
})

test('a process ends soon after a close, though Redis hangs', async () => {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  proxy.hang()
  const isTrying = `commands.get('a').catch(() => {})`
  expect(await msAfterClose(proxy.through(required('REDIS_URL')), isTrying)).toBeLessThan(1_000)
})

test('a refusal at the start leaves nothing open', async () => {
  const server = await startRedis({ config: { requirepass: 'right' } })
  const proxy = await openTcpProxy(server.url)
  await failure(proxy.through(server.url))
  await until('nothing is open', () => proxy.open === 0)
})

function urlOptions(url: string): RedisOptions {
  const { hostname, port, password, username, pathname } = new URL(url)
  return {
    host: hostname,
    port: Number(port || 6379),
    ...(password ? { password } : {}),
    ...(username ? { username } : {}),
    db: Number(pathname.slice(1) || 0),
  }
}
