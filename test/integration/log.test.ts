/** What the log says of breakers and flags: each change once, for machines to read, without a secret. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { cli } from '../support/cli.ts'
import { parseScrape, type Scrape } from '../support/scrape.ts'
import { startRedis } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { openWorld, until } from '../support/world.ts'

const secret = 'hunter2'
const redisConfig = { requirepass: secret }
const withPassword = (url: string): string => url.replace('//', `//:${secret}@`)

interface Line extends Readonly<Record<string, unknown>> {
  readonly level: number
  readonly time: number
  readonly pid: number
  readonly hostname: string
  readonly msg: string
}

const linesOf = (text: string): readonly Line[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)
const ofBreaker = (lines: readonly Line[]): readonly Line[] =>
  lines.filter(({ msg }) => msg.startsWith('the breaker of Redis'))
const ofFlag = (lines: readonly Line[]): readonly Line[] =>
  lines.filter(({ msg }) => msg.startsWith('flag "'))
const warn = 40
const info = 30

/** As many lines as changes, on the levels that fit; how many changes there may be is bounded by time. */
function expectBreakerLines(lines: readonly Line[], scrape: Scrape, seconds: number): void {
  expect(lines[0]).toMatchObject({
    ...{ level: warn, hop: 'l2', state: 'open', reason: 'local' },
    err: { type: expect.any(String), message: expect.any(String), stack: expect.any(String) },
  })
  expect(lines.at(-1)).toMatchObject({ level: info, hop: 'l2', state: 'closed' })
  for (const [index, { state, level }] of lines.entries()) {
    expect(state).not.toBe(lines[index - 1]?.state)
    expect(level).toBe(state === 'open' ? warn : info)
  }
  for (const state of ['open', 'half-open', 'closed']) {
    const labels = { hop: 'l2', state, reason: 'local' }
    expect(scrape.value('lockstep_breaker_changes_total', labels)).toBe(
      lines.filter((line) => line.state === state).length,
    )
  }
  // It is open for a second at the least, and then half-open.
  expect(lines.length).toBeLessThan(3 + 2 * seconds)
}

test('a running daemon: one line for each change of a breaker and of a flag, and no secret', async () => {
  const world = await openWorld()
  const server = await startRedis({ config: redisConfig })
  // The namespace has the entity from here on.
  await (await world.open({ redisUrl: withPassword(server.url) })).close()
  const daemon = cli(['serve', '--port', '0', '--json'], {
    KAFKA_BROKERS: '',
    LOCKSTEP_LOG_LEVEL: 'info',
    REDIS_URL: withPassword(server.url),
  })
  const beganAt = performance.now()
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    daemon.child[name]?.on('data', (text: string) => {
      said[name] += text
    })
  }
  const lines = (): readonly Line[] => linesOf(said.stderr)
  await until('it serves', () => said.stdout.endsWith('}\n'))
  const { url } = JSON.parse(said.stdout) as { url: string }
  await server.kill()
  // It relays, so that rows without a writer are what it asks Redis for.
  const stopWriting = keepInvalidating(world)
  await until('it is noticed', () => ofBreaker(lines()).length > 0)
  await server.start()
  await until('it is over', () => ofBreaker(lines()).at(-1)?.state === 'closed', 20_000)
  await stopWriting()
  const scrape = parseScrape(await (await fetch(`${url}/metrics`)).text())
  expectBreakerLines(ofBreaker(lines()), scrape, (performance.now() - beganAt) / 1_000)

  const flags = (args: readonly string[]) =>
    cli(['flags', ...args], { REDIS_URL: withPassword(server.url) }).ended
  const reason = `see postgres://u:${secret}@db`
  const set = ['set', 'fill.off', '--for', '10m', '--reason', reason, '--author', 'anna']
  expect((await flags(set)).code).toBe(0)
  await until('it is set', () => ofFlag(lines()).length > 0)
  expect((await flags(['unset', 'fill.off'])).code).toBe(0)
  await until('it is unset', () => ofFlag(lines()).length > 1)
  const shown = { flag: 'fill.off', by: 'operator', author: 'anna' }
  expect(ofFlag(lines())).toMatchObject([
    { level: warn, state: 'set', ...shown, reason: 'see postgres://***@db' },
    { level: info, state: 'unset', ...shown },
  ])

  daemon.child.kill('SIGTERM')
  expect((await daemon.ended).code).toBe(0)
  for (const line of lines()) {
    expect(line).toMatchObject({
      ...{ level: expect.any(Number), time: expect.any(Number), msg: expect.any(String) },
      ...{ pid: daemon.child.pid, hostname: expect.any(String), name: 'lockstep serve' },
    })
  }
  expect(lines().at(-1)?.msg).toBe('ended')
  expect(said.stdout + said.stderr).not.toContain(secret)
})

test('a cache with a logger of pino: as many lines, and no secret', async () => {
  const world = await openWorld()
  const server = await startRedis({ config: redisConfig })
  const proxy = await openTcpProxy(server.url)
  let text = ''
  const logger = pino(
    { level: 'trace' },
    {
      write: (line: string) => {
        text += line
      },
    },
  )
  const beganAt = performance.now()
  const redisUrl = withPassword(proxy.through(server.url))
  const cache = await world.open({ redisUrl, options: { logger } as never })
  const read = (): Promise<unknown> =>
    Promise.all([1, 2].map((id) => cache.item.get(id, { consistency: 'strong' })))
  await read()
  proxy.hang()
  await until('it is noticed', async () => {
    await read()
    return ofBreaker(linesOf(text)).length > 0
  })
  await proxy.pass()
  await until(
    'it is over',
    async () => {
      await read()
      return ofBreaker(linesOf(text)).at(-1)?.state === 'closed'
    },
    20_000,
  )
  const seconds = (performance.now() - beganAt) / 1_000
  const scrape = async () => parseScrape(await cache.metrics().metrics())
  expectBreakerLines(ofBreaker(linesOf(text)), await scrape(), seconds)

  await cache.flags.set('refresh.off', { for: '300ms', reason: `password=${secret}` })
  await until('it has ended', () => ofFlag(linesOf(text)).length === 2)
  expect(ofFlag(linesOf(text))).toMatchObject([
    { level: warn, state: 'set', flag: 'refresh.off', reason: 'password=***' },
    { level: info, state: 'expired', flag: 'refresh.off' },
  ])
  for (const state of ['set', 'expired']) {
    const labels = { flag: 'refresh.off', entity: '*', state }
    expect((await scrape()).value('lockstep_flag_changes_total', labels)).toBe(1)
  }
  await cache.close()
  expect(text).not.toContain(secret)
})

test('what is logged by a command is JSON where no terminal is, and redacted', async () => {
  const text = `postgres://shop:${secret}@db:5432/shop`
  const { code, stderr } = await logging(['warn', '2', text])
  expect(code).toBe(0)
  const lines = linesOf(stderr)
  expect(lines).toMatchObject([0, 1].map((line) => ({ line, level: warn, name: 'a test' })))
  expect(lines[0]).toMatchObject({
    msg: 'at postgres://***@db:5432/shop',
    ...{ password: '***', nested: { url: 'postgres://***@db:5432/shop' } },
    err: { message: expect.stringContaining('postgres://***@db') },
  })
  expect(stderr).not.toContain(secret)
  expect((await logging(['silent', '10', text])).stderr).toBe('')
})

test('a log that nobody reads stops nothing: what does not fit is lost, and told', async () => {
  const child = spawn(process.execPath, [logs, 'warn', '20000', 'x'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let done = false
  child.stdout.on('data', () => {
    done = true
  })
  await until('it has logged', () => done, 20_000)
  let text = ''
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  await once(child, 'close')
  const lines = linesOf(text)
  const [told] = lines.filter(({ msg }) => msg.startsWith('lines of the log were lost'))
  expect(told?.lines).toBeGreaterThan(0)
  expect(lines.length - 1).toBeLessThan(20_000)
})

test('a disk that is full behind stderr ends nothing, and keeps no process from its end', async () => {
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [logs, 'warn', '3', 'x'], {
    stdio: ['ignore', 'pipe', full],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
    closeSync(full)
  })
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (part: string) => {
    said += part
  })
  await until('it has ended', () => child.exitCode !== null)
  expect([child.exitCode, said]).toEqual([0, 'done\n'])
})

const logs = fileURLToPath(new URL('../support/children/logging.mjs', import.meta.url))

async function logging(args: readonly string[]) {
  const child = spawn(process.execPath, [logs, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    stderr += part
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stderr }
}

/** Rows of the outbox, one after the other, until it is called. */
function keepInvalidating(world: Awaited<ReturnType<typeof openWorld>>): () => Promise<void> {
  let isEnded = false
  const run = async (): Promise<void> => {
    for (let id = 1; !isEnded; id++) {
      await world.sql(`select lockstep.invalidate('item', ${id}, '${world.namespace}')`)
    }
  }
  const ended = run()
  return () => {
    isEnded = true
    return ended
  }
}
