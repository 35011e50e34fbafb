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
  const lines = printed.trim().split('\n')
  // Its logger is the console, which gets the changes of the cache's state as well.
  const own = lines.filter((line) => !line.startsWith('{ state: '))
  expect(own).toEqual(['Lutetia 2', 'Paris'])
})
