import { expect, onTestFinished, test } from 'vitest'
import { type AdminOptions, openAdmin } from '../../../src/admin/http.ts'
import { silent } from '../../../src/model/log.ts'

async function open(change: Partial<AdminOptions> = {}) {
  const admin = await openAdmin({
    host: '127.0.0.1',
    port: 0,
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
    readiness: () => ({ isReady: true, details: { relaying: true } }),
    log: silent,
    ...change,
  })
  onTestFinished(() => admin.close())
  return admin
}

async function get(url: string, method = 'GET') {
  const response = await fetch(url, { method })
  const type = response.headers.get('content-type')
  return { status: response.status, type, text: await response.text() }
}

test('metrics, health and readiness', async () => {
  const { url } = await open()
  const type = 'application/json'
  expect(await get(`${url}/metrics?x=1`)).toEqual({
    status: 200,
    type: 'text/plain; version=0.0.4',
    text: 'up 1\n',
  })
  expect(await get(`${url}/healthz`)).toEqual({ status: 200, type, text: '{"status":"running"}\n' })
  expect(await get(`${url}/readyz`)).toEqual({
    status: 200,
    type,
    text: '{"status":"ready","relaying":true}\n',
  })
  expect(await get(`${url}/healthz`, 'HEAD')).toEqual({ status: 200, type, text: '' })
  expect(await get(`${url}/metrics`, 'POST')).toMatchObject({ status: 405 })
  expect(await get(`${url}/../etc/passwd`)).toMatchObject({ status: 404 })
})

test('not ready is 503, and what goes wrong 500, without its details', async () => {
  const { url } = await open({
    readiness: () => ({ isReady: false, details: {} }),
    metrics: () => Promise.reject(new Error('hunter2')),
  })
  expect(await get(`${url}/readyz`)).toMatchObject({ status: 503 })
  expect(await get(`${url}/metrics`)).toMatchObject({ status: 500, text: '' })
})

test('a port that is taken is told with its name, and close frees it', async () => {
  const first = await open()
  const port = Number(new URL(first.url).port)
  await expect(open({ port })).rejects.toThrow(`127.0.0.1:${port}`)
  await first.close()
  const second = await open({ port })
  expect((await get(`${second.url}/healthz`)).status).toBe(200)
})

test('close ends connections that are kept alive', async () => {
  const admin = await open()
  await get(`${admin.url}/healthz`)
  await admin.close()
  await expect(get(`${admin.url}/healthz`)).rejects.toThrow()
})
