/** The code of docs/writing.md compiles and runs, and its SQL is heard of. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { connect, ownDatabase } from '../support/database.ts'
import { exampleOf, outputOf } from '../support/example.ts'
import { ownNamespace } from '../support/namespace.ts'

const page = 'docs/writing.md'

test('it runs', async () => {
  const databaseUrl = await ownDatabase()
  const client = await connect(databaseUrl)
  await client.query(`create table cities (id int primary key, name text);
    insert into cities values (42, 'Lutetia');
    create table journal (text text)`)
  const namespace = ownNamespace()
  const printed = await outputOf(exampleOf(page), { databaseUrl, namespace })
  expect(printed.trim().split('\n')).toEqual([
    "[ { id: 42, name: 'Paris' } ] true { id: 42, name: 'Paris' }",
    "true { id: 42, name: 'Lyon' }",
    'true',
    '[ { namespaces: 1 } ]',
    "true { id: 42, name: 'Lille' }",
  ])
  const text = readFileSync(fileURLToPath(new URL(`../../${page}`, import.meta.url)), 'utf8')
  const sql = /```sql\n([\s\S]*?)```/.exec(text)?.[1] as string
  const rows = async () =>
    (await client.query('select namespace, entity, ids from lockstep.outbox order by row_id')).rows
  const before = await rows()
  await client.query(sql)
  expect((await rows()).slice(before.length)).toEqual([{ namespace, entity: 'city', ids: ['42'] }])
})
