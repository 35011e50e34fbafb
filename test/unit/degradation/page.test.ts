/** docs/degradation.md has what `npm run degradation -- --write` puts there. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { matrix } from '../../degradation/cells.ts'
import { promisedIn } from '../../degradation/promises.ts'

interface Report {
  pageWith(page: string, cells: readonly object[]): string
  tableOf(cells: readonly object[]): string
}

const at = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
const { pageWith, tableOf }: Report = await import(at('scripts/degradation/report.mjs'))
const page = readFileSync(at('docs/degradation.md'), 'utf8')

const cell = {
  ...{ services: ['redis', 'kafka'], fault: 'hung', faultMs: 60_000, promise: 'all succeed' },
  ...{ success: 0.99999, p99Ms: 12.4, staleMs: 1_234, sourceConcurrency: 3, transitions: 7 },
  ...{ recoveryMs: null, violations: 0, met: false, broken: ['not well again'] },
}

test('a cell is a row, and what failed once is not 100 %', () => {
  expect(tableOf([cell]).split('\n').at(-1)).toBe(
    '| redis + kafka | hung, 60 s | all succeed | 99.99 % | 12 ms | 1.2 s | 3 | 7 | never | 0 | no: not well again |',
  )
})

test('a new table takes the place of the old one, and nothing else', () => {
  const once = pageWith(page, [cell])
  expect(once).toContain('| redis + kafka | hung, 60 s |')
  expect(pageWith(once, [cell])).toBe(once)
  expect(once.slice(0, 500)).toBe(page.slice(0, 500))
  expect(() => pageWith('no table', [cell])).toThrow('begin matrix')
})

test('the page has every cell, with what it promises, and all is kept', () => {
  const table = page.slice(page.indexOf('<!-- begin matrix -->'))
  const rows = table.split('\n').filter((line) => line.startsWith('| '))
  const said = rows.slice(2).map((row) => row.split(' | '))
  expect(said.map((columns) => columns[2])).toEqual(matrix.map((one) => promisedIn(one).text))
  expect(said.map((columns) => columns.at(-1))).toEqual(matrix.map(() => 'yes |'))
})
