/** ops/prometheus as Prometheus itself sees it. */
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { promtool } from '../support/prometheus.ts'

const folder = fileURLToPath(new URL('../../ops/prometheus/', import.meta.url))

test('the configuration and its rules are valid', () => {
  const said = promtool('check', 'config', `${folder}prometheus.yml`)
  expect(said).toContain('SUCCESS: 2 rule files found')
  expect(said).not.toMatch(/FAILED|WARNING/)
  expect(promtool('check', 'rules', `${folder}recording.yml`, `${folder}alerts.yml`)).toMatch(
    /SUCCESS: 11 rules found[\s\S]*SUCCESS: 18 rules found/,
  )
})

test('the rules say what they are meant to say', () => {
  expect(promtool('test', 'rules', `${folder}rules.test.yml`)).toContain('SUCCESS')
})
