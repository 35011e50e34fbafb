import { describe, expect, test } from 'vitest'
import { type PrometheusOptions, settlePrometheus } from '../../../src/prometheus/options.ts'

const secret = 'hunter2'

const refusal = (options: unknown): string => {
  try {
    settlePrometheus(options as PrometheusOptions)
  } catch (error) {
    return `${(error as { code?: string }).code} ${(error as Error).message}`
  }
  throw new Error('it was accepted')
}
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`

test('a URL alone will do', () => {
  expect(settlePrometheus('http://prometheus:9090')).toEqual({
    url: new URL('http://prometheus:9090/'),
    authorization: undefined,
    ca: undefined,
    query: undefined,
    intervalMs: 10_000,
    deadlineMs: 2_000,
    holdForMs: 60_000,
  })
  expect(settlePrometheus('https://ops.example/prometheus?x=1#y').url.href).toBe(
    'https://ops.example/prometheus/',
  )
})

test('user and password stand in the URL, or beside it', () => {
  const inUrl = settlePrometheus(`http://ops:${secret}%3A%40@prometheus:9090`)
  expect([inUrl.url.href, inUrl.authorization]).toEqual([
    'http://prometheus:9090/',
    basic(`ops:${secret}:@`),
  ])
  const url = 'http://prometheus:9090'
  const beside = settlePrometheus({ url, username: 'ops', password: 'pä%3A' })
  expect(beside.authorization).toBe(basic('ops:pä%3A'))
  expect(settlePrometheus({ url, username: 'ops' }).authorization).toBe(basic('ops:'))
})

test('the rest is as it was given', () => {
  const ca = Buffer.from('-----BEGIN CERTIFICATE-----')
  const own = settlePrometheus({
    url: 'https://prometheus',
    ca,
    query: 'lockstep:ratio',
    interval: '1m',
    deadline: 500,
    holdFor: '5m',
  })
  const rest = { intervalMs: 60_000, deadlineMs: 500, holdForMs: 300_000 }
  expect(own).toMatchObject({ ca, query: 'lockstep:ratio', ...rest })
})

describe('what will not do is refused by name', () => {
  const url = 'http://prometheus:9090'
  test.each([
    ['prometheus:9090', /^OPTION_INVALID option "prometheus": a URL like/],
    ['ftp://prometheus', /"prometheus": a URL like/],
    [7, /"prometheus": a URL like .*, or an object with url/],
    [null, /"prometheus"/],
    [{}, /"prometheus\.url": a URL like/],
    [{ url: 'nowhere' }, /"prometheus\.url"/],
    [{ url, timeout: 1 }, /"prometheus\.timeout": it is not known; one of url, .*holdFor would do/],
    [{ url, username: 7 }, /"prometheus\.username": a text would do/],
    [{ url, username: 'a:b', password: secret }, /"prometheus\.username": one without ":"/],
    [{ url, password: secret }, /"prometheus\.password": prometheus\.username beside it/],
    [{ url, username: 'ops', password: '' }, /"prometheus\.password": a text would do/],
    [{ url: `http://ops:${secret}@p`, username: 'ops' }, /one of the two would do/],
    [`http://ops:${secret}%ZZ@p`, /with %XX for special characters/],
    [{ url, ca: 'pem' }, /"prometheus\.ca": with a URL that begins with https/],
    [{ url: 'https://p', ca: '' }, /"prometheus\.ca": certificates as PEM/],
    [{ url: 'https://p', ca: 7 }, /"prometheus\.ca"/],
    [{ url, query: '' }, /"prometheus\.query" is ""; PromQL of up to/],
    [{ url, query: 'x'.repeat(8_193) }, /"prometheus\.query"/],
    [{ url, interval: '10ms' }, /"prometheus\.interval" is "10ms"; at least 100 ms would do/],
    [{ url, holdFor: 0 }, /"prometheus\.holdFor" is 0; at least 100 ms would do/],
    [{ url, holdFor: '6m' }, /"prometheus\.holdFor" is "6m"; at most 300000 ms would do/],
    [{ url, deadline: 'soon' }, /"prometheus\.deadline" is "soon"; a duration/],
  ])('%j', (options, message) => {
    const refused = refusal(options)
    expect(refused).toMatch(message)
    expect(refused).not.toContain(secret)
  })
})
