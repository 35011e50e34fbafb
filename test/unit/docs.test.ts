/** The docs are held to the code: codes of errors, settings. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type RowPlan, rowPlans } from '../../src/bench/row-plans.ts'
import { knownVariables, readConfig } from '../../src/config.ts'
import { timingDefaults } from '../../src/model/defaults.ts'
import { errorCodes } from '../../src/model/errors.ts'
import { doctorCatalogue } from '../../src/operations/doctor-catalogue.ts'
import { catalogue } from '../../src/telemetry/catalogue.ts'
import { eventCatalogue } from '../../src/telemetry/events.ts'

const read = (path: string): string =>
  readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

const errorsPage = read('docs/errors.md')
const sections = new Map(
  errorsPage
    .split(/^### /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf('\n')), section.split(/^## /m)[0] ?? '']),
)

test('every error code stands in docs/errors.md, and every code there is one', () => {
  expect([...sections.keys()].sort()).toEqual(Object.keys(errorCodes).sort())
})

test.each(Object.entries(errorCodes))(
  'docs/errors.md says of %s whether to retry, as the code does',
  (code, { retryable }) => {
    const section = sections.get(code) ?? ''
    expect(/\bnot\s+retryable\b/i.test(section)).toBe(!retryable)
    expect(/\bretryable\b/i.test(section)).toBe(true)
    // When it comes and what to do: more than its name.
    expect(section.length).toBeGreaterThan(100)
  },
)

const environmentExample = read('.env.example')
/** Settings stand there commented out: unset is what works. */
const exampleKeys = [...environmentExample.matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map(
  ([, key]) => key,
)

test('every key of the environment that config.ts reads stands in .env.example', () => {
  const source = read('src/config.ts')
  const keys = [...source.matchAll(/\benvironment(?:\.|\[['"])([A-Z][A-Z0-9_]+)/g)].map(
    ([, key]) => key,
  )
  expect(keys.length).toBeGreaterThan(3)
  expect(keys.filter((key) => !exampleKeys.includes(key))).toEqual([])
})

test('every key of .env.example is read by something', () => {
  const files = ['src/config.ts', 'docker-compose.yml', 'scripts/setup/kafka.mjs']
  const readers = files.map(read).join('\n')
  expect(exampleKeys.filter((key) => !readers.includes(key as string))).toEqual([])
})

test('every log level that .env.example names is one, and so is its example', () => {
  const line = /^# What the command line logs.*: (.*)\.$/m.exec(environmentExample)?.[1] ?? ''
  const levels = line.split(/, | or /)
  expect(levels.length).toBeGreaterThan(3)
  for (const level of levels) {
    expect(readConfig({ LOCKSTEP_LOG_LEVEL: level }).logLevel).toBe(level)
  }
  const example = /^#LOCKSTEP_LOG_LEVEL=(.*)$/m.exec(environmentExample)?.[1]
  expect(levels).toContain(example)
})

test('the tables of docs/metrics.md are those of the code', async () => {
  const tables = new URL('../../scripts/docs/tables.mjs', import.meta.url)
  const { metricsPage } = await import(tables.href)
  const page = read('docs/metrics.md')
  expect(page, 'node scripts/generate-docs.mjs').toBe(
    metricsPage(page, { catalogue, eventCatalogue }),
  )
  // Not by an empty catalogue, nor by a page that has no place for it.
  expect(page).toContain('lockstep_reads_total')
  expect(() => metricsPage('', { catalogue, eventCatalogue })).toThrow('no place')
})

test('the tables of docs/doctor.md are those of the code', async () => {
  const tables = new URL('../../scripts/docs/tables.mjs', import.meta.url)
  const { doctorPage } = await import(tables.href)
  const page = read('docs/doctor.md')
  expect(page, 'node scripts/generate-docs.mjs').toBe(doctorPage(page, doctorCatalogue))
  for (const check of ['config-names', 'redis-reachable', 'kafka-cleanup-policy']) {
    expect(page).toContain(`| \`${check}\``)
  }
})

test('the doctor knows every variable of .env.example, and no other', () => {
  expect(knownVariables.toSorted()).toEqual(exampleKeys.toSorted())
})

test('the tables of docs/configuration.md are those of the code', async () => {
  const options = new URL('../../scripts/docs/options.mjs', import.meta.url)
  const { configurationPage } = await import(options.href)
  const page = read('docs/configuration.md')
  expect(page, 'node scripts/generate-docs.mjs').toBe(configurationPage(page, read, timingDefaults))
  for (const option of ['namespace', 'stalenessBound', 'ttl', 'consistency', 'tx', 'REDIS_URL']) {
    expect(page).toContain(`| \`${option}\``)
  }
})

test('docs/metrics.md names no metric and no label that is none', () => {
  const names = [...read('docs/metrics.md').matchAll(/\blockstep_[a-z0-9_]+/g)].map(([name]) =>
    name.replace(/_(bucket|count|sum)$/, ''),
  )
  expect(names.length).toBeGreaterThan(40)
  expect(names.filter((name) => !Object.hasOwn(catalogue, name))).toEqual([])
})

test.each(Object.entries(catalogue))('%s is named as Prometheus wants it', (name, info) => {
  expect(name).toMatch(/^lockstep_[a-z0-9]+(_[a-z0-9]+)*$/)
  expect(name.endsWith('_total')).toBe(info.type === 'counter')
  if (info.type === 'histogram') expect(name).toMatch(/_seconds$/)
  expect(name).not.toMatch(/_(ms|milliseconds|kb|mb)\b/)
  expect(info.help).toMatch(/^[A-Z0-9].{10,}\.$/s)
})
/** Cells of docs/benchmarks.md: the names of a line, and what it says of their targets. */
const benchLines = read('docs/benchmarks.md')
  .split(/^## Rows$/m)[1]
  ?.split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => {
    const cells = line.split('|')
    const names = [...(cells[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name as string)
    return { names, target: cells.at(-2)?.trim() ?? '' }
  })

test('every row of the bench stands in docs/benchmarks.md, and every row there is one', () => {
  const documented = benchLines?.flatMap(({ names }) => names)
  expect(documented?.toSorted()).toEqual(Object.keys(rowPlans).sort())
})

test('docs/benchmarks.md has the targets of the rows', () => {
  for (const { names, target } of benchLines ?? []) {
    const numbers = [...target.matchAll(/\d+(?:\.\d+)?/g)].map(([number]) => Number(number))
    for (const [index, name] of names.entries()) {
      const plan: RowPlan = rowPlans[name as keyof typeof rowPlans]
      const [wanted] = Object.values(plan.target ?? {})
      expect({ name, target: numbers[index] ?? numbers[0] }).toEqual({ name, target: wanted })
      if (!plan.target) continue
      expect(target).toContain('atLeast' in plan.target ? '≥' : '≤')
      expect(target.includes('ratio')).toBe(plan.ratio !== undefined)
    }
  }
})
