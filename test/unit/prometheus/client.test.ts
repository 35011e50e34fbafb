import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/model/clock.ts'
import type { QueryAnswer } from '../../../src/prometheus/answer.ts'
import { askPrometheus } from '../../../src/prometheus/client.ts'
import { type PrometheusOptions, settlePrometheus } from '../../../src/prometheus/options.ts'
import { certificate } from '../../support/certificate.ts'
import { serveHttp, serveSilence } from '../../support/prometheus.ts'
import { freePort } from '../../support/servers.ts'

const secret = 'hunter2'
const one = JSON.stringify({
  status: 'success',
  data: { resultType: 'vector', result: [{ metric: { hop: 'l2' }, value: [1, '0.5'] }] },
})

const ask = (options: PrometheusOptions, signal = new AbortController().signal) =>
  askPrometheus(settlePrometheus(options), 'up{a="b"} + 1', systemClock, signal)
const reasonOf = (answer: QueryAnswer): string =>
  answer.kind === 'unknown' ? answer.reason : answer.kind

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part)
  return Buffer.concat(parts).toString()
}

test('the query is posted below the path, with user and password', async () => {
  const seen: unknown[] = []
  const url = await serveHttp(async (request, response) => {
    seen.push(request.method, request.url, request.headers.authorization, await bodyOf(request))
    response.end(one)
  })
  const answer = await ask({ url: `${url}/ops/prometheus`, username: 'ops', password: secret })
  expect(answer).toMatchObject({ kind: 'samples', samples: [{ value: 0.5 }] })
  const authorization = `Basic ${Buffer.from(`ops:${secret}`).toString('base64')}`
  const form = 'query=up%7Ba%3D%22b%22%7D+%2B+1'
  expect(seen).toEqual(['POST', '/ops/prometheus/api/v1/query', authorization, form])
})

test('nobody there, and somebody who never says a word', async () => {
  expect(await ask(`http://127.0.0.1:${await freePort()}`)).toEqual({
    kind: 'unknown',
    reason: 'unreachable',
    detail: 'ECONNREFUSED',
  })
  const beganAt = performance.now()
  expect(reasonOf(await ask({ url: await serveSilence(), deadline: 100 }))).toBe('deadline')
  expect(performance.now() - beganAt).toBeLessThan(2_000)
})

test('an answer that does not end is given up at the deadline', async () => {
  const url = await serveHttp((_, response) => void response.write(one.slice(0, 20)))
  expect(reasonOf(await ask({ url, deadline: 100 }))).toBe('deadline')
})

test('an answer that is cut off, or resets the connection', async () => {
  const cut = await serveHttp((_, response) => {
    response.setHeader('content-length', 1_000)
    response.write(one)
    setImmediate(() => response.destroy())
  })
  expect(reasonOf(await ask(cut))).toBe('unreachable')
  const reset = await serveHttp((request) => request.socket.resetAndDestroy())
  expect(reasonOf(await ask(reset))).toBe('unreachable')
})

test('no more is read than an answer can have, however much is sent', async () => {
  let sent = 0
  const url = await serveHttp((_, response) => {
    const part = Buffer.alloc(64 * 1024, ' ')
    const more = (): void => {
      if (response.destroyed || sent > 100 * 1024 * 1024) return
      sent += part.length
      if (response.write(part)) setImmediate(more)
      else response.once('drain', more)
    }
    more()
  })
  expect(reasonOf(await ask(url))).toBe('too-big')
  expect(sent).toBeLessThan(50 * 1024 * 1024)
})

test('10,000 series are too many, in whatever way they come', async () => {
  const result = Array.from({ length: 10_000 }, (_, id) => ({
    metric: { id: `${id}` },
    value: [1, '1'],
  }))
  const body = JSON.stringify({ status: 'success', data: { resultType: 'vector', result } })
  expect(reasonOf(await ask(await serveHttp((_, response) => void response.end(body))))).toBe(
    'too-big',
  )
})

test('a redirect is not followed: the password goes nowhere else', async () => {
  let isAsked = false
  const other = await serveHttp((_, response) => {
    isAsked = true
    response.end(one)
  })
  const url = await serveHttp((_, response) => {
    response.writeHead(302, { location: `${other}/api/v1/query` }).end()
  })
  expect(reasonOf(await ask({ url, username: 'ops', password: secret }))).toBe('http')
  expect(isAsked).toBe(false)
})

test('who sends back what was sent shows no secret', async () => {
  const echo = (request: IncomingMessage, response: ServerResponse): void => {
    const { authorization } = request.headers
    const error = `${authorization} ${secret} http://ops:${secret}@here`
    response.end(JSON.stringify({ status: 'error', errorType: 'bad_data', error }))
  }
  const answer = await ask({ url: await serveHttp(echo), username: 'ops', password: secret })
  expect(answer).toMatchObject({ reason: 'query' })
  expect(JSON.stringify(answer)).not.toContain(secret)
  expect(JSON.stringify(answer)).not.toContain(Buffer.from(`ops:${secret}`).toString('base64'))
})

test('who aborts waits no longer', async () => {
  const controller = new AbortController()
  const asked = ask({ url: await serveSilence(), deadline: '10s' }, controller.signal)
  controller.abort()
  expect(reasonOf(await asked)).toBe('closed')
  expect(reasonOf(await ask('http://127.0.0.1:1', controller.signal))).toBe('closed')
})

test('a certificate of one’s own is trusted when it is given, and not otherwise', async () => {
  const { key, ca } = certificate()
  const server = createServer({ key, cert: ca }, (_, response) => {
    response.end(one)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  expect(reasonOf(await ask({ url, ca }))).toBe('samples')
  expect(await ask(url)).toMatchObject({ reason: 'unreachable' })
})
