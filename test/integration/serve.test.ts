/** `lockstep serve`: what it answers, what it does for instances that are gone, and how it ends. */
import { expect, test } from 'vitest'
import { cli } from '../support/cli.ts'
import { emptyDatabase, sharedDatabase } from '../support/database.ts'
import { ownTopic, sharedKafka } from '../support/kafka.ts'
import { ownNamespace } from '../support/namespace.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { openWorld, required, until } from '../support/world.ts'

const withoutKafka = { KAFKA_BROKERS: '' }

/** One that listens, with where it does. */
async function serve(environment: NodeJS.ProcessEnv, args: readonly string[] = []) {
  const running = cli(['serve', '--port', '0', '--json', ...args], environment)
  const said = { stdout: '', stderr: '' }
  running.child.stdout?.on('data', (text: string) => {
    said.stdout += text
  })
  running.child.stderr?.on('data', (text: string) => {
    said.stderr += text
  })
  await until('it serves', () => said.stdout.endsWith('}\n') || running.child.exitCode !== null)
  const { url, namespace } = JSON.parse(said.stdout) as { url: string; namespace: string }
  const get = async (path: string, method = 'GET') => {
    const response = await fetch(url + path, { method })
    return { status: response.status, text: await response.text(), headers: response.headers }
  }
  return { ...running, namespace, get, said }
}

test('it answers, relays what instances leave behind, and ends in order', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await cache.close()
  const daemon = await serve(withoutKafka)
  expect(daemon.namespace).toBe(world.namespace)
  expect((await daemon.get('/healthz')).status).toBe(200)
  const ready = await daemon.get('/readyz')
  expect({ status: ready.status, ...JSON.parse(ready.text) }).toMatchObject({
    status: 'ready',
    hops: { l2: { breaker: 'closed', held: false }, source: { breaker: 'closed', held: false } },
  })
  await world.redis.set(world.valueKey(1), 'whatever')
  await world.sql(`select lockstep.invalidate('item', 1, '${world.namespace}')`)
  await until('it is dropped', async () => (await world.redis.exists(world.valueKey(1))) === 0)
  // It is counted when the database has been told, too.
  const relayed = /^lockstep_outbox_relayed_rows_total\{.*destination="l2"\} [1-9]/m
  await until('it is counted', async () => relayed.test((await daemon.get('/metrics')).text))
  const { text, headers } = await daemon.get('/metrics')
  expect(headers.get('content-type')).toContain('text/plain')
  expect(text).toMatch(/^lockstep_relaying\{namespace=".*"\} 1$/m)
  expect((await daemon.get('/')).status).toBe(404)
  expect((await daemon.get('/metrics', 'POST')).status).toBe(405)
  expect(await daemon.get('/healthz', 'HEAD')).toMatchObject({ status: 200, text: '' })
  daemon.child.kill('SIGTERM')
  const { code, stdout, stderr } = await daemon.ended
  expect({ code, documents: stdout.trim().split('\n}\n').length }).toEqual({
    code: 0,
    documents: 1,
  })
  // Each line says who speaks.
  const lines = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string })
  const serving = lines.find(({ msg }) => msg === 'serving')
  expect(serving).toMatchObject({ namespace: world.namespace, level: 30 })
  for (const line of lines) expect(line).toMatchObject({ name: 'lockstep serve' })
})

test('it is not ready while PostgreSQL is silent, and ends all the same', async () => {
  await sharedDatabase()
  const proxy = await openTcpProxy(required('DATABASE_URL'))
  const DATABASE_URL = proxy.through(required('DATABASE_URL'))
  const daemon = await serve({ ...withoutKafka, DATABASE_URL })
  expect((await daemon.get('/readyz')).status).toBe(200)
  proxy.hang()
  await until('it is noticed', async () => (await daemon.get('/readyz')).status === 503)
  expect((await daemon.get('/healthz')).status).toBe(200)
  daemon.child.kill('SIGTERM')
  expect((await daemon.ended).code).toBe(0)
})

test('what it cannot start with: exit code 1, or 2 where it is used wrongly', async () => {
  const wrong = [
    [['--port', 'http'], {}, 2, /--port/],
    [[], { DATABASE_URL: 'postgres://postgres:hunter2@127.0.0.1:1/shop' }, 1, /PostgreSQL/],
    [[], { DATABASE_URL: await emptyDatabase() }, 1, /lockstep migrate/],
  ] as const
  const runs = wrong.map(async ([args, environment, code, message]) => {
    const answer = await cli(['serve', ...args], { ...withoutKafka, ...environment }).ended
    return { args, code, message, answer }
  })
  for (const { args, code, message, answer } of await Promise.all(runs)) {
    const stderr = expect.stringMatching(message)
    expect({ args, ...answer }).toEqual({ args, code, stdout: '', stderr })
    expect(answer.stderr).not.toContain('hunter2')
  }
})

test('another plane than that of the namespace is refused; the documented step changes it', async () => {
  const world = await openWorld()
  const cache = await world.open()
  expect((await cache.item.get(1))?.version).toBe(0)
  await cache.close()
  const environment = {
    KAFKA_BROKERS: sharedKafka().join(),
    LOCKSTEP_KAFKA_TOPIC: ownTopic('log'),
  }
  for (const beside of ['log.events', 'log.dead-letters']) ownTopic(beside)
  const refused = await cli(['serve', '--port', '0'], environment).ended
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('docs/kafka.md') })
  await world.sql(`update lockstep.namespaces set plane = null where name = '${ownNamespace()}'`)
  const daemon = await serve(environment)
  // What was written without the log before does not lie there; what comes does, and L1 is proven by it.
  const kafka = { brokers: sharedKafka(), topic: environment.LOCKSTEP_KAFKA_TOPIC }
  const after = await world.open({ options: { kafka } as never })
  await world.write(after, 1)
  await until('L1 serves it', async () => {
    const { tier, value } = await after.item.getEntry(1)
    return tier === 'l1' && value?.version === 1
  })
  daemon.child.kill('SIGTERM')
  expect((await daemon.ended).code).toBe(0)
})
