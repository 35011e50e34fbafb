/** README's ten lines compile against the front door, and run. */
import { expect, test } from 'vitest'
import { exampleOf, outputOf, ownSchema } from '../support/example.ts'

const schema = `readme_${process.pid}`

test('README’s example runs', async () => {
  const databaseUrl = await ownSchema(schema, [
    'create table cities (id int primary key, name text)',
    `insert into cities values (42, 'Lutetia')`,
  ])
  const printed = await outputOf(exampleOf('README.md'), { databaseUrl, namespace: schema })
  expect(printed).toContain("name: 'Lutetia'")
  expect(printed).toContain("name: 'Paris'")
})
