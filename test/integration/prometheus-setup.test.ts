import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { newClone, prometheusOnly, recordOf, say, scripts } from '../support/clones.ts'
import { serveHttp } from '../support/prometheus.ts'
import { until } from '../support/until.ts'

const ops = fileURLToPath(new URL('../../ops', import.meta.url))

test('two setups at once start one server, with the rules; it is ended by stop', async () => {
  const clone = newClone()
  cpSync(ops, join(clone.root, 'ops'), { recursive: true })
  const setUp = () =>
    scripts.withLock(clone, () => scripts.findServices(clone, prometheusOnly), { say })

  const [one, two] = await Promise.all([setUp(), setUp()])

  expect(two).toEqual(one)
  expect(one.prometheus).toMatchObject({ version: expect.stringMatching(/^\d+\.\d+\./) })
  const rules = await fetch(`${one.prometheus.url}/api/v1/rules`)
  expect(await rules.text()).toContain('LockstepHitRatioLow')
  await until('it scrapes what a daemon of this machine serves', async () => {
    const targets = await fetch(`${one.prometheus.url}/api/v1/targets`)
    return (await targets.text()).includes('127.0.0.1:9464')
  })
  const { pid, startTime } = recordOf(clone, 'prometheus')
  expect(scripts.statusOf(clone)).toContain(`Prometheus runs as process ${pid}`)

  expect(await scripts.stopServices(clone)).toEqual(['Prometheus'])
  expect(scripts.startTimeOf(pid)).not.toBe(startTime)
})

test('a server from the environment is taken, with its password unseen, or refused by name', async () => {
  const asked: unknown[] = []
  const url = await serveHttp((request, response) => {
    asked.push(request.headers.authorization)
    response.end(JSON.stringify({ status: 'success', data: { version: '2.42.0' } }))
  })
  const named = url.replace('//', '//ops:hunter2@')
  const found = await scripts.findServices(newClone(), {
    ...prometheusOnly,
    env: { PROMETHEUS_URL: named },
  })
  expect(found.prometheus).toEqual({ url: named, how: 'PROMETHEUS_URL', version: '2.42.0' })
  expect(asked).toEqual([`Basic ${Buffer.from('ops:hunter2').toString('base64')}`])
  expect(scripts.tableOf(found)).not.toContain('hunter2')

  const page = await serveHttp((_, response) => void response.end('<html></html>'))
  const search = scripts.findServices(newClone(), {
    ...prometheusOnly,
    env: { PROMETHEUS_URL: page },
  })
  await expect(search).rejects.toThrow('is no Prometheus that answers (HTTP 200)')
  const other = scripts.findServices(newClone(), {
    ...prometheusOnly,
    env: { PROMETHEUS_URL: 'prometheus:9090' },
  })
  await expect(other).rejects.toThrow(
    'PROMETHEUS_URL is prometheus:9090: it must look like http://',
  )
})

test('without any, setup succeeds and says what is missing', async () => {
  const said: string[] = []
  const found = await scripts.findServices(newClone(), {
    ...prometheusOnly,
    without: ['standard port', 'installed', 'fetched', 'docker compose'],
    say: (line) => said.push(line),
  })
  expect(said.join()).toContain('No Prometheus was found')
  expect(scripts.tableOf(found)).toMatch(/^Prometheus +missing/m)
})
