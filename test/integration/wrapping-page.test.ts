/** The code of docs/wrapping-a-repository.md compiles against the front door, and runs; so does examples/repository. */
import { expect, test } from 'vitest'
import { exampleOf, outputOf, ownSchema, printedBy } from '../support/example.ts'

const page = 'docs/wrapping-a-repository.md'
const schema = `wrapping_${process.pid}`

test('the page’s code runs, and prints what the page says', async () => {
  const databaseUrl = await ownSchema(schema, [
    'create table cities (id int generated always as identity primary key, name text)',
  ])
  const printed = await outputOf(exampleOf(page), { databaseUrl, namespace: schema })
  expect(printed.trim().split('\n')).toEqual([
    "{ id: 1, name: 'Lutetia' }",
    "{ id: 1, name: 'Paris' }",
    "[ { id: 1, name: 'Paris' } ]",
    "{ id: 1, name: 'Lyon' }",
    "{ id: 1, name: 'Marseille' }",
  ])
})

test('the example runs, and its reads are few loads', async () => {
  const printed = await printedBy('examples/repository/main.mjs', await ownSchema(schema, []))
  expect(printed).toMatch(/^1,000 reads, loads of the database: \d{1,2}$/m)
  expect(printed).toContain("after the write: { id: 1, title: 'Middlemarch' }")
  expect(printed).toContain('own: 1 book')
})
