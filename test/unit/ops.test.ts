/** ops/prometheus is held to the code, and by promtool to Prometheus. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { defaultQuery } from '../../src/prometheus/fleet.ts'
import { catalogue, type MetricInfo } from '../../src/telemetry/catalogue.ts'

const folder = new URL('../../ops/prometheus/', import.meta.url)
const read = (file: string): string => readFileSync(new URL(file, folder), 'utf8')
const texts = {
  ...Object.fromEntries(['recording.yml', 'alerts.yml', 'rules.test.yml'].map((f) => [f, read(f)])),
  'the default query': defaultQuery('shop'),
}
const own = new Set(['namespace', 'instance', 'le'])

test.each(Object.entries(texts))('%s names metrics that there are, and their labels', (_, text) => {
  const uses = [...text.matchAll(/\b(lockstep_[a-z0-9_]+)(?:\{([^}]*)\})?/g)]
  expect(uses.length).toBeGreaterThan(3)
  for (const [, name = '', labels = ''] of uses) {
    const metric = name.replace(/_(bucket|count|sum)$/, '') as keyof typeof catalogue
    expect(catalogue, name).toHaveProperty([metric])
    const known: readonly string[] = (catalogue[metric] as MetricInfo).labels
    for (const [, label = ''] of labels.matchAll(/([a-z_]+)(?:=~|!~|!=|=)/g)) {
      expect(own.has(label) || known.includes(label), `${name}{${label}}`).toBe(true)
    }
  }
})

test('every alert is tried out, and says how bad it is', () => {
  const alerts = [...read('alerts.yml').matchAll(/- alert: (\w+)/g)].map(([, name]) => name)
  expect(alerts.length).toBeGreaterThan(10)
  for (const name of alerts) expect(read('rules.test.yml')).toContain(`alertname: ${name}`)
  const severities = read('alerts.yml').match(/severity: (page|ticket|scale-out)\b/g)
  expect(severities?.length).toBe(alerts.length)
})

test('the service levels are those that are promised', () => {
  const alerts = read('alerts.yml')
  for (const level of ['< 0.925', '> 0.008', '> 0.00005', '< 0.90 ']) {
    expect(alerts).toContain(level)
  }
})

test('what is mounted into the container is what is checked', () => {
  const compose = readFileSync(
    fileURLToPath(new URL('../../docker-compose.yml', import.meta.url)),
    'utf8',
  )
  expect(compose).toContain('./ops/prometheus:/etc/prometheus:ro')
})
