import { expect, test } from 'vitest'
import { systemClock } from '../../../src/model/clock.ts'
import { defaultQuery, openFleet } from '../../../src/prometheus/fleet.ts'
import { settlePrometheus } from '../../../src/prometheus/options.ts'
import { serveHttp } from '../../support/prometheus.ts'

const at = 1_700_000_000
const { signal } = new AbortController()

interface Series {
  readonly metric: Readonly<Record<string, string>>
  readonly value: string
}

async function heard(...series: readonly Series[]) {
  const result = series.map(({ metric, value }) => ({ metric, value: [at, value] }))
  const body = JSON.stringify({ status: 'success', data: { resultType: 'vector', result } })
  const url = await serveHttp((_, response) => void response.end(body))
  return openFleet(settlePrometheus(url), 'shop', systemClock).ask(signal)
}
const of = (value: string, metric: Readonly<Record<string, string>> = { hop: 'l2' }): Series => ({
  metric,
  value,
})

test('ratios by hop, and on a cluster by node', async () => {
  const node = '10.0.0.1:6379'
  expect(await heard(of('0.25'), of('1', { hop: 'l2', node }), of('0', { hop: 'bus' }))).toEqual({
    kind: 'known',
    atMs: at * 1_000,
    ratios: [
      { hop: 'l2', node: undefined, errorRatio: 0.25 },
      { hop: 'l2', node, errorRatio: 1 },
      { hop: 'bus', node: undefined, errorRatio: 0 },
    ],
  })
})

test('a hop that was not asked for anything has no ratio', async () => {
  expect(await heard(of('NaN'), of('0.5', { hop: 'source' }))).toMatchObject({
    ratios: [{ hop: 'source', errorRatio: 0.5 }],
  })
  expect(await heard(of('NaN'))).toMatchObject({ kind: 'unknown', reason: 'not-a-number' })
})

test.each([
  ['a ratio above 1', [of('1.01')]],
  ['a ratio below 0', [of('-0.1')]],
  ['a ratio without bounds', [of('+Inf')]],
  ['one that lies beside others that do not', [of('0.5', { hop: 'source' }), of('7')]],
  ['no hop', [of('0.5', { job: 'lockstep' })]],
  ['two of one hop', [of('0.5'), of('0.6')]],
])('%s is implausible, and all of it is ignored', async (_, series) => {
  expect(await heard(...series)).toMatchObject({ kind: 'unknown', reason: 'implausible' })
})

test('the query of one’s own is asked instead', async () => {
  const asked: string[] = []
  const url = await serveHttp((request, response) => {
    request.on('data', (part) => asked.push(String(part)))
    request.on('end', () => response.end('{}'))
  })
  const options = settlePrometheus({ url, query: 'lockstep:ratio' })
  await openFleet(options, 'shop', systemClock).ask(signal)
  expect(asked).toEqual(['query=lockstep%3Aratio'])
})

test('the default asks for one namespace, whatever it is called', () => {
  expect(defaultQuery('shop')).toContain('{namespace="shop",outcome=~"failed"}')
})
