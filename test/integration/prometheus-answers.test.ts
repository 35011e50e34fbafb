/** All that a Prometheus may do instead of answering: breakers stay with what the process sees. */
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { PrometheusPlace } from '../../src/prometheus/options.ts'
import { certificate } from '../support/certificate.ts'
import { serveHttp, serveSilence, startPrometheus } from '../support/prometheus.ts'
import { answers, expectNoDifference, interval, openTold } from '../support/second-signal.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { openWorld, until } from '../support/world.ts'

describe('without a Prometheus that is of use there is no difference but a metric', () => {
  const html = (): Promise<string> =>
    serveHttp((_, response) => void response.end('<html>Welcome to nginx!</html>'))
  const answering = (result: unknown) => (): Promise<string> =>
    serveHttp((_, response) => {
      const data = { resultType: 'vector', result }
      response.end(JSON.stringify({ status: 'success', data }))
    })
  const now = (): number => Date.now() / 1_000
  const all = (value: string, at = now()): unknown =>
    ['l2', 'source'].map((hop) => ({ metric: { hop }, value: [at, value] }))

  /** Ends never, whatever it has to say. */
  const endless = (): Promise<string> =>
    serveHttp((_, response) => {
      const drip = setInterval(() => response.write(' '), 10)
      response.on('close', () => clearInterval(drip))
    })
  const redirecting = async (): Promise<string> => {
    const other = await answering(all('1'))()
    return serveHttp((_, response) => {
      response.writeHead(307, { location: `${other}/api/v1/query` }).end()
    })
  }
  const ofType = (resultType: string, result: unknown) => (): Promise<string> =>
    serveHttp((_, response) => {
      response.end(JSON.stringify({ status: 'success', data: { resultType, result } }))
    })
  const many = Array.from({ length: 10_000 }, (_, id) => ({
    metric: { hop: `l${id}` },
    value: [now(), '1'],
  }))

  test.each<[string, string, () => Promise<string>]>([
    ['a matrix', 'type', ofType('matrix', [])],
    ['a string', 'type', ofType('string', [now(), '1'])],
    ['a scalar, which is of no hop', 'implausible', ofType('scalar', [now(), '1'])],
    ['10,000 series', 'too-big', answering(many)],
    ['a ratio without bounds', 'implausible', answering(all('+Inf'))],
    ['two ratios of one hop', 'implausible', () => answering([all('1'), all('0')].flat())()],
    ['an answer that never ends', 'deadline', endless],
    ['one that is elsewhere', 'http', redirecting],
    ['nobody there', 'unreachable', async () => 'http://127.0.0.1:1'],
    ['one that hangs', 'deadline', serveSilence],
    ['a web page', 'not-json', html],
    ['one that is of yesterday', 'stale', () => answering(all('1', now() - 86_400))()],
    ['one that is of tomorrow', 'stale', () => answering(all('1', now() + 86_400))()],
    ['ratios above 1', 'implausible', answering(all('17'))],
    ['no number', 'not-a-number', answering(all('NaN'))],
    ['no series', 'empty', answering([])],
    ['series of something else', 'implausible', answering([{ metric: {}, value: [1, '1'] }])],
    [
      'hops that there are not',
      'known',
      () => answering([{ metric: { hop: 'x' }, value: [now(), '1'] }])(),
    ],
  ])('%s', async (_, outcome, place) => {
    const world = await openWorld()
    // A busy machine must not make another answer of it.
    const deadline = outcome === 'deadline' ? '200ms' : '5s'
    const told = await openTold(world, { url: await place(), interval, deadline })
    await until('it was asked', async () => (await answers(told.cache, outcome)) > 1)
    await expectNoDifference(world, told)
    const said = told.logged.filter((line) => line.includes('Prometheus'))
    expect(said).toHaveLength(outcome === 'empty' || outcome === 'known' ? 0 : 1)
    const beganAt = performance.now()
    await told.cache.close()
    expect(performance.now() - beganAt).toBeLessThan(3_000)
  })

  test('killed in the middle, and hung in the middle', async () => {
    const world = await openWorld()
    const prometheus = await startPrometheus()
    const proxy = await openTcpProxy(prometheus.url)
    const url = proxy.through(prometheus.url)
    const told = await openTold(world, { url, interval, deadline: '300ms' })
    await until('it was heard', async () => (await answers(told.cache, 'empty')) > 1)
    proxy.hang()
    await until('it hangs', async () => (await answers(told.cache, 'deadline')) > 1)
    await expectNoDifference(world, told)
    await proxy.pass()
    const before = await answers(told.cache, 'empty')
    await until('it is heard again', async () => (await answers(told.cache, 'empty')) > before)
    await prometheus.kill()
    await until('it is gone', async () => (await answers(told.cache, 'unreachable')) > 1)
    await expectNoDifference(world, told)
    const said = told.logged.filter((line) => line.includes('Prometheus'))
    expect(said.length).toBe(3)
  })

  test('a query that is none', async () => {
    const world = await openWorld()
    const { url } = await startPrometheus()
    const told = await openTold(world, { url, interval, query: 'sum by (hop' })
    await until('it was asked', async () => (await answers(told.cache, 'query')) > 1)
    expect(told.logged.join()).toContain('parse error')
    await expectNoDifference(world, told)
  })
})

test('over TLS it is heard with its own authority, and with another one not, and nothing is told', async () => {
  const world = await openWorld()
  const [own, other] = [certificate(), certificate()]
  const body = JSON.stringify({ status: 'success', data: { resultType: 'vector', result: [] } })
  const server = createServer({ key: own.key, cert: own.ca }, (_, response) => {
    response.end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const url = `https://ops:hunter2@127.0.0.1:${(server.address() as AddressInfo).port}`
  const places: readonly (readonly [PrometheusPlace, string, number])[] = [
    [{ url, ca: own.ca }, 'empty', 0],
    [{ url, ca: other.ca }, 'unreachable', 1],
    [{ url }, 'unreachable', 1],
  ]
  for (const [prometheus, outcome, lines] of places) {
    const told = await openTold(world, { ...prometheus, interval })
    await until('it was asked', async () => (await answers(told.cache, outcome)) > 1)
    await expectNoDifference(world, told)
    expect(told.logged.filter((line) => line.includes('Prometheus'))).toHaveLength(lines)
    expect(told.logged.join()).not.toContain('hunter2')
    await told.cache.close()
  }
})
