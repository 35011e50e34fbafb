/** TLS, and a user with no more than the rights that docs/redis.md gives. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import type { RedisConnectionOptions } from '../../src/redis/open.ts'
import { openRedisProcess } from '../contract/redis-process.ts'
import { acquire, beside, changes, proves, put, restore, upTo } from '../contract/words.ts'
import { diagnosed } from '../support/doctor.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import { freePort, ownFolder, type RedisServer, startRedis } from '../support/servers.ts'
import { gate, openWorld, untilProven, type World } from '../support/world.ts'

const password = 'right-word'

// ---------------------------------------------------------------- the user of the docs

/** The rules of the user, as docs/redis.md has them, for another namespace. */
function documentedRules(namespace: string): readonly (readonly string[])[] {
  const page = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8')
  const blocks = [...page.matchAll(/^ACL SETUSER lockstep ([^`]+)/gm)].map(
    ([, rules]) => rules ?? '',
  )
  expect(blocks).toHaveLength(2)
  return blocks.map((rules) =>
    rules
      .trim()
      .replace('>PASSWORD', `>${password}`)
      .replaceAll('shop:', `${namespace}:`)
      .split(/\s+/),
  )
}

function administrator(url: string): Redis {
  const admin = new Redis(url)
  admin.on('error', () => {})
  onTestFinished(() => admin.disconnect())
  return admin
}

/** Reads, writes, invalidations, leases that are waited for, and the fast plane, of two caches; once per `first`. */
async function everything(
  world: World,
  redis: RedisConnectionOptions,
  first: 1 | 21 = 1,
): Promise<void> {
  const held = gate()
  const one = await world.open({
    options: { redis },
    entity: { writeThrough: true },
    afterRead: () => held.pass(),
  })
  const two = await world.open({ options: { redis }, entity: { writeThrough: true } })
  const ids = Array.from({ length: 20 }, (_, index) => first + index)
  const loading = one.item.getMany(ids)
  await held.held
  const waiting = two.item.getMany(ids)
  held.open()
  expect((await loading).size).toBe(20)
  expect((await waiting).size).toBe(20)
  await untilProven(two)
  expect(await two.item.getEntry(first, { consistency: 'strong' })).toMatchObject({ tier: 'l2' })
  expect(await world.write(one, first)).toMatchObject({ version: 1, fenced: true })
  expect(await two.item.getEntry(first, { consistency: 'strong' })).toMatchObject({
    tier: 'l2',
    value: { version: 1 },
  })
  expect((await two.item.invalidate(first + 1)).fenced).toBe(true)
  expect((await one.item.get(first + 1))?.version).toBe(0)
  expect(await one.item.get(999)).toBeUndefined()
  // Those that come next have another Redis: a relay tells its own.
  await Promise.all([one.close(), two.close()])
}

async function denied(admin: Redis): Promise<readonly unknown[]> {
  const log = (await admin.call('ACL', 'LOG')) as readonly (readonly unknown[])[]
  return log.map((entry) => entry[entry.indexOf('object') + 1])
}

test('the user of the docs can do all that a cache does, and is refused nothing', async () => {
  const server = await startRedis()
  const world = await openWorld()
  const admin = administrator(server.url)
  const [rules] = documentedRules(world.namespace)
  await admin.call('ACL', 'SETUSER', 'lockstep', ...(rules as string[]))
  await everything(world, server.url.replace('redis://', `redis://lockstep:${password}@`))
  await everything(world, { port: server.port, username: 'lockstep', password }, 21)
  expect(await denied(admin)).toEqual([])
})

test('the doctor finds that the user of the docs lacks nothing, and what another lacks', async () => {
  const server = await startRedis()
  const admin = administrator(server.url)
  const [rules = []] = documentedRules(ownNamespace())
  await admin.call('ACL', 'SETUSER', 'lockstep', ...rules)
  const REDIS_URL = server.url.replace('redis://', `redis://lockstep:${password}@`)
  const found = await diagnosed({ REDIS_URL })
  expect(found.all('broken', 'redis')).toEqual([])
  expect(found.row('redis-rights').state).toBe('ok')
  expect(found.row('redis-writable').state).toBe('ok')
  for (const rule of rules.filter((one) => one.startsWith('+') && one !== '+info')) {
    const command = rule.slice(1)
    await admin.call('ACL', 'SETUSER', 'lockstep', `-${command}`)
    const { found: words, state } = (await diagnosed({ REDIS_URL })).row('redis-rights')
    await admin.call('ACL', 'SETUSER', 'lockstep', rule)
    expect(`${state}: ${words}`).toBe(`broken: the user may not use ${command.toUpperCase()}`)
  }
})

/** Barriers too, and what is read beside values. */
async function barriers(redis: RedisConnectionOptions, namespace: string): Promise<void> {
  const { l2 } = await openRedisProcess({ url: redis, namespace })
  expect(await restore(l2, await changes(l2, upTo(100)), upTo(100))).toEqual(['written'])
  await proves(l2, upTo(101))
  await put(l2, 'a', upTo(90))
  expect(await beside(l2, 'a')).toEqual(upTo(101))
  const grant = await acquire(l2, 'a')
  expect(grant.kind === 'value' && grant.stored.barrier).toEqual(upTo(101))
}

test('the user of the docs may write barriers, and read them', async () => {
  const server = await startRedis()
  const admin = administrator(server.url)
  const namespace = ownNamespace()
  const [rules] = documentedRules(namespace)
  await admin.call('ACL', 'SETUSER', 'lockstep', ...(rules as string[]))
  await barriers({ port: server.port, username: 'lockstep', password }, namespace)
  expect(await denied(admin)).toEqual([])
})

test('none of the rights of the docs is superfluous', async () => {
  const server = await startRedis()
  const world = await openWorld()
  const admin = administrator(server.url)
  const [rules = []] = documentedRules(world.namespace)
  const needed = rules.filter((rule) => rule.startsWith('+'))
  expect(needed.length).toBeGreaterThan(10)
  const redis = { port: server.port, username: 'lockstep', password }
  for (const right of needed) {
    await admin.call('ACL', 'SETUSER', 'lockstep', 'reset', ...rules, right.replace('+', '-'))
    const started = world.open({ options: { redis } })
    await expect(started, right).rejects.toMatchObject({ code: 'REDIS_REFUSED' })
  }
})

test('the user of the docs can do on a cluster all that a cache does, with a prefix too', async () => {
  const cluster = await startRedisCluster()
  const world = await openWorld()
  const keyPrefix = 'prefix:'
  for (const { admin } of cluster.nodes) {
    for (const rules of documentedRules(world.namespace)) {
      await admin.call('ACL', 'SETUSER', 'lockstep', ...rules, `~${keyPrefix}${world.namespace}:*`)
    }
  }
  const redisOptions = { username: 'lockstep', password }
  await everything(world, { cluster: cluster.cluster, options: { redisOptions } })
  await everything(world, { cluster: cluster.cluster, options: { redisOptions, keyPrefix } }, 21)
  for (const { admin } of cluster.nodes) expect(await denied(admin)).toEqual([])
})

test('the user of the docs may write barriers on a cluster, and read them, with a prefix too', async () => {
  const { nodes, cluster } = await startRedisCluster()
  const namespace = ownNamespace()
  const keyPrefix = 'prefix:'
  for (const { admin } of nodes) {
    for (const rules of documentedRules(namespace)) {
      await admin.call('ACL', 'SETUSER', 'lockstep', ...rules, `~${keyPrefix}${namespace}:*`)
    }
  }
  const redisOptions = { username: 'lockstep', password }
  await barriers({ cluster, options: { redisOptions } }, namespace)
  await barriers({ cluster, options: { redisOptions, keyPrefix } }, namespace)
  for (const { admin } of nodes) expect(await denied(admin)).toEqual([])
})

// ---------------------------------------------------------------- TLS

interface SecureServer extends RedisServer {
  readonly tlsPort: number
  readonly ca: Buffer
  readonly caFile: string
}

/** It wants a password too, and has a certificate for `localhost` that nobody else has signed. */
async function startSecure(): Promise<SecureServer> {
  const folder = ownFolder('lockstep-tls-')
  const [keyFile, caFile] = [join(folder, 'redis.key'), join(folder, 'redis.crt')]
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  const files = ['-keyout', keyFile, '-out', caFile]
  execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, ...name, ...files], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const tlsPort = await freePort()
  const server = await startRedis({
    config: {
      'tls-port': String(tlsPort),
      'tls-cert-file': caFile,
      'tls-key-file': keyFile,
      'tls-ca-cert-file': caFile,
      'tls-auth-clients': 'no',
      requirepass: password,
    },
  })
  return { ...server, tlsPort, ca: readFileSync(caFile), caFile }
}

test('a cache over TLS, by options and by an instance', async () => {
  const { tlsPort, ca } = await startSecure()
  const world = await openWorld()
  const options = { host: 'localhost', port: tlsPort, password, tls: { ca } }
  await everything(world, options)
  const instance = new Redis({ ...options, keyPrefix: 'prefix:' })
  instance.on('error', () => {})
  onTestFinished(() => instance.disconnect())
  await everything(world, instance, 21)
})

test('a URL of TLS trusts what Node trusts', async () => {
  const { tlsPort, caFile } = await startSecure()
  const built = new URL('../../dist/redis/connection.js', import.meta.url).href
  const script = `
    const { connectRedis } = await import('${built}')
    const url = 'rediss://default:${password}@localhost:${tlsPort}'
    const warnings = []
    const log = { warn: (...args) => warnings.push(args) }
    const { commands, subscriber, close } = await connectRedis(url, 'test:bus', 5_000, log)
    console.log(commands.stream.encrypted, subscriber.stream.encrypted, warnings.length)
    close()`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: caFile },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (text) => {
    said += text
  })
  await once(child, 'exit')
  expect(said.trim()).toBe('true true 0')
})

test('a certificate that is not trusted, or of another host, is told at the start', async () => {
  const { tlsPort, ca } = await startSecure()
  const world = await openWorld()
  const refused: readonly RedisConnectionOptions[] = [
    `rediss://default:${password}@localhost:${tlsPort}`,
    { host: 'localhost', port: tlsPort, password, tls: {} },
    { host: '127.0.0.1', port: tlsPort, password, tls: { ca } },
  ]
  for (const redis of refused) {
    const error = await world.open({ options: { redis } }).then(
      () => undefined,
      (reason: Error) => reason,
    )
    expect(error).toMatchObject({ code: 'REDIS_REFUSED', retryable: false })
    expect(error?.message).not.toContain(password)
  }
})
