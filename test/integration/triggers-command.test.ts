/** `lockstep triggers`: what it prints, and its exit codes. */
import { expect, test } from 'vitest'
import { type Cli, cli } from '../support/cli.ts'
import { connect, emptyDatabase, ownDatabase } from '../support/database.ts'

function triggers(databaseUrl: string, ...args: readonly string[]): Cli['ended'] {
  return cli(['triggers', ...args], { DATABASE_URL: databaseUrl }).ended
}

const install = ['install', 'cities', '--entity', 'city', '--id', 'id'] as const

test('install, list and remove', async () => {
  const url = await ownDatabase()
  const client = await connect(url)
  await client.query('create table cities (id int primary key) partition by range (id)')
  await client.query('create table cities_1 partition of cities for values from (0) to (9)')
  expect(await triggers(url, 'list')).toEqual({
    code: 0,
    stdout: 'no table has triggers of lockstep\n',
    stderr: '',
  })
  const { stdout } = await triggers(url, ...install)
  expect(stdout).toBe(
    'triggers installed on public.cities, public.cities_1: its rows are "city" by id\n' +
      'no cache has had an entity "city" yet; nobody is told until one has\n',
  )
  const again = await triggers(url, ...install, '--json')
  expect(JSON.parse(again.stdout)).toEqual({
    table: 'public.cities',
    entity: 'city',
    id: 'id',
    installed: [],
    isKnown: false,
  })
  expect(await triggers(url, 'list', '--check')).toMatchObject({ code: 0, stderr: '' })
  await client.query('create table cities_2 partition of cities for values from (9) to (99)')
  const listed = await triggers(url, 'list', 'cities', '--check')
  expect(listed).toMatchObject({ code: 1, stderr: 'lockstep: incomplete: public.cities\n' })
  expect(listed.stdout).toBe(
    [
      'table          entity  id  covered  always',
      'public.cities  city    id  2 of 3   yes',
      `lacking on public.cities_2: lockstep triggers install 'public.cities' --entity city --id 'id'`,
      'no cache has had an entity "city" yet; nobody is told until one has',
      '',
    ].join('\n'),
  )
  const document = JSON.parse((await triggers(url, 'list', '--json')).stdout)
  expect(document).toMatchObject({ triggers: [{ tables: 3, lacking: ['public.cities_2'] }] })
  expect(await triggers(url, 'remove', 'cities')).toMatchObject({
    code: 0,
    stdout: 'removed "city" by id from public.cities\n',
  })
  expect(JSON.parse((await triggers(url, 'list', '--json')).stdout)).toEqual({ triggers: [] })
})

test('without the schema, or the server: exit code 1', async () => {
  const missing = await triggers(await emptyDatabase(), 'list')
  expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('lockstep migrate') })
  const down = await triggers('postgres://postgres:secret@127.0.0.1:1/shop', 'list', '--json')
  expect(down).toMatchObject({ code: 1, stderr: expect.stringContaining('PostgreSQL') })
  expect(down.stderr + down.stdout).not.toContain('secret')
})

test('used wrongly: exit code 2', async () => {
  const url = await ownDatabase()
  const bad = [
    [install, /no such table/],
    [['install', 'cities', '--entity', 'city'], /--id/],
    [['install', '--entity', 'city', '--id', 'id'], /table/],
    [['instal', 'cities'], /instal/],
    [['remove', 'cities'], /no such table/],
  ] as const
  const runs = bad.map(async ([args, message]) => ({
    args,
    message,
    ...(await triggers(url, ...args)),
  }))
  for (const { args, message, ...answer } of await Promise.all(runs)) {
    const stderr = expect.stringMatching(message)
    expect({ args, ...answer }).toEqual({ args, code: 2, stdout: '', stderr })
  }
})
