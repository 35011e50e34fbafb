/** The code of docs/getting-started.md, its blocks put together, compiles and runs. */
import { expect, test } from 'vitest'
import { exampleOf, outputOf, ownSchema } from '../support/example.ts'

const page = 'docs/getting-started.md'
const schema = `getting_started_${process.pid}`

test('it runs', async () => {
  const databaseUrl = await ownSchema(schema, [
    'create table cities (id int primary key, name text)',
    `insert into cities values (42, 'Lutetia'), (7, 'Rome')`,
  ])
  const printed = await outputOf(exampleOf(page), { databaseUrl, namespace: schema })
  expect(printed.trim().split('\n')).toEqual(['Lutetia 2', 'Paris'])
})
