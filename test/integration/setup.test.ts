import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, lstatSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  copyScripts,
  newClone,
  ownServers,
  recordOf,
  redisOnly,
  say,
  scripts,
} from '../support/clones.ts'

test('the server that the environment names is taken as it is', async () => {
  const { DATABASE_URL } = process.env
  const { redis } = await scripts.findServices(newClone(), redisOnly)
  const env = { ...process.env, REDIS_URL: `${redis.url}/3` }

  const found = await scripts.findServices(newClone(), { env, say })

  expect(found.redis).toEqual({ url: `${redis.url}/3`, how: 'REDIS_URL', version: redis.version })
  expect(found.postgres).toMatchObject({ url: DATABASE_URL, how: 'DATABASE_URL' })
})

test('a .env file counts as the environment, and the environment wins over it', async () => {
  const { redis } = await scripts.findServices(newClone(), redisOnly)
  const clone = newClone()
  writeFileSync(
    join(clone.root, '.env'),
    `REDIS_URL=${redis.url}\nLOCKSTEP_NAMESPACE=from-file\nUNUSED=1\n`,
  )

  const found = await scripts.findServices(clone, {
    ...redisOnly,
    env: { LOCKSTEP_NAMESPACE: 'from-environment' },
  })

  expect(found).toMatchObject({ namespace: 'from-environment', redis: { how: 'REDIS_URL' } })
})

test('an address from the environment where nobody answers ends setup with exit code 1', async () => {
  const clone = newClone()
  copyScripts(clone)
  const port = await scripts.freePort()
  const env = { ...process.env, REDIS_URL: `redis://:secret@127.0.0.1:${port}` }

  const setup = spawnSync(process.execPath, ['scripts/setup.mjs'], {
    cwd: clone.root,
    env,
    encoding: 'utf8',
  })

  expect(setup.stderr).toContain(`REDIS_URL is redis://:***@127.0.0.1:${port}, but Redis`)
  expect(setup.stderr).toContain('ECONNREFUSED')
  expect(setup.status).toBe(1)
  expect(scripts.readServices(clone)).toBeUndefined()
})

test.each([
  ['REDIS_URL', 'localhost'],
  ['DATABASE_URL', 'mysql://user:secret@127.0.0.1/shop'],
])('a %s of another kind is refused by name, without its password', async (variable, url) => {
  const env = { ...process.env, [variable]: url }
  const search = scripts.findServices(newClone(), { env, say })
  await expect(search).rejects.toThrow(`${variable} is ${url.replace('secret', '***')}: it must`)
})

test('a record whose start time does not fit is not believed: neither used nor ended', async () => {
  const clone = newClone()
  const foreign = newClone()
  const { redis } = await scripts.findServices(foreign, redisOnly)
  const record = recordOf(foreign)
  const forged = { ...record, root: clone.root, startTime: `${record.startTime}0` }
  writeFileSync(join(clone.state, 'redis.json'), JSON.stringify(forged))

  expect(await scripts.stopServices(clone)).toEqual([])
  writeFileSync(join(clone.state, 'redis.json'), JSON.stringify(forged))
  const found = await scripts.findServices(clone, redisOnly)

  expect(found.redis.url).not.toBe(redis.url)
  expect(await scripts.redis.probe(redis.url)).toBe(redis.version)
})

test('the records in a copied clone are not believed', async () => {
  const original = newClone()
  const copy = newClone()
  const { redis } = await scripts.findServices(original, redisOnly)
  const isOwn = (path: string) => !lstatSync(path).isSymbolicLink()
  cpSync(original.state, copy.state, { recursive: true, filter: isOwn })

  expect(await scripts.stopServices(copy)).toEqual([])
  expect(await scripts.redis.probe(redis.url)).toBe(redis.version)
})

test('two clones get servers, namespaces and databases of their own; stop ends only its own', async () => {
  const clones = [newClone(), newClone()] as const
  const services = [scripts.postgres, scripts.redis]
  const [one, two] = await Promise.all(
    clones.map((clone) => scripts.findServices(clone, { ...ownServers, services })),
  )
  const started = clones.flatMap((clone) => [recordOf(clone, 'postgres'), recordOf(clone)])

  expect(new Set(started.map(({ port }) => port)).size).toBe(4)
  expect(new Set(started.map(({ dataDir }) => dataDir)).size).toBe(4)
  expect(one?.namespace).toBe(clones[0].namespace)
  expect(two?.namespace).toBe(clones[1].namespace)
  expect(one?.namespace).not.toBe(two?.namespace)
  expect(one?.postgres.url.endsWith(`/${clones[0].database}`)).toBe(true)
  expect(two?.postgres.url.endsWith(`/${clones[1].database}`)).toBe(true)
  expect(clones[0].database).not.toBe(clones[1].database)

  expect(await scripts.stopServices(clones[0])).toEqual(['PostgreSQL', 'Redis'])
  const running = started.map(({ pid, startTime }) => scripts.startTimeOf(pid) === startTime)
  expect(running).toEqual([false, false, true, true])
  expect(existsSync(recordOf(clones[1], 'postgres').dataDir)).toBe(true)
})

test('a server that the clone already runs is used again', async () => {
  const clone = newClone()
  const first = await scripts.findServices(clone, redisOnly)
  const pid = recordOf(clone).pid

  expect(await scripts.findServices(clone, redisOnly)).toEqual(first)
  expect(recordOf(clone).pid).toBe(pid)
})

test('setups of one clone run one after the other, and a lock without a holder is taken', async () => {
  const clone = newClone()
  writeFileSync(join(clone.state, 'setup.lock'), JSON.stringify({ pid: 1, startTime: 'earlier' }))
  const order: string[] = []
  const setUp = (name: string) =>
    scripts.withLock(
      clone,
      async () => {
        order.push(`${name} begins`)
        await scripts.freePort()
        order.push(`${name} ends`)
      },
      { say },
    )

  await Promise.all([setUp('first'), setUp('second')])

  expect(order).toEqual(['first begins', 'first ends', 'second begins', 'second ends'])
  expect(existsSync(join(clone.state, 'setup.lock'))).toBe(false)
})
