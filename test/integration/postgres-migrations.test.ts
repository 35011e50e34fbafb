/** The schema `lockstep`: brought up to date by any number at once, and told of when it is not what this code knows. */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { LockstepError } from '../../src/model/errors.ts'
import { checkSchema, migrate } from '../../src/postgres/migrations.ts'
import { openPool, type Pool, type PostgresPlace } from '../../src/postgres/pool.ts'
import { connect, emptyDatabase, ownDatabase } from '../support/database.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startPostgres } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { required } from '../support/world.ts'

const files = readdirSync(new URL('../../migrations/', import.meta.url))
  .filter((name) => name.endsWith('.sql') && name !== 'schema.sql')
  .sort()

function pool(options: PostgresPlace): Pool {
  const opened = openPool(options)
  onTestFinished(() => opened.close())
  return opened
}

async function failure(call: Promise<unknown>): Promise<LockstepError> {
  const reason = await call.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (reason instanceof LockstepError) return reason
  throw new Error(`a LockstepError was expected, not ${String(reason)}`)
}

test('a database without a schema is told so, with the command that makes it', async () => {
  const error = await failure(checkSchema(pool(await emptyDatabase())))
  expect(error).toMatchObject({ code: 'SCHEMA_MISSING', retryable: false })
  expect(error.message).toContain('`lockstep migrate`')
})

test('a schema that is older is told so, with the command that brings it up to date', async () => {
  const url = await ownDatabase()
  await (await connect(url)).query('delete from lockstep.migrations')
  const error = await failure(checkSchema(pool(url)))
  expect(error).toMatchObject({ code: 'SCHEMA_MISSING' })
  expect(error.message).toContain('`lockstep migrate`')
})

test('a schema that is newer is told so, and what would do', async () => {
  const url = await ownDatabase()
  const client = await connect(url)
  await client.query(
    `insert into lockstep.migrations (number, name) values (9999, '9999_later.sql')`,
  )
  const error = await failure(checkSchema(pool(url)))
  expect(error).toMatchObject({ code: 'SCHEMA_NEWER', retryable: false })
  expect(error.message).toContain('9999')
  expect(error.message).toContain('`lockstep migrate`')
  // Whoever is older leaves what is newer alone.
  expect(await migrate(pool(url))).toEqual([])
})

test('a schema of that name that somebody else made is not taken for ours', async () => {
  const url = await emptyDatabase()
  await (await connect(url)).query('create schema lockstep; create table lockstep.other (id int)')
  expect(await failure(checkSchema(pool(url)))).toMatchObject({ code: 'SCHEMA_MISSING' })
  expect(await migrate(pool(url))).toEqual(files)
  await checkSchema(pool(url))
})

test('any number migrate at once: each step runs once, and all find the schema', async () => {
  const url = await emptyDatabase()
  const pools = Array.from({ length: 6 }, () => pool(url))
  const ran = await Promise.all(pools.map(migrate))
  expect(ran.flat().sort()).toEqual(files)
  await Promise.all(pools.map(checkSchema))
  expect(await Promise.all(pools.map(migrate))).toEqual(pools.map(() => []))
})

test('a migration that is cut off half-way leaves nothing, and the next try runs it', async () => {
  const url = await emptyDatabase()
  const proxy = await openTcpProxy(url)
  const cut = proxy.at('create unlogged table', 'cut after')
  const error = await failure(migrate(pool(proxy.through(url))))
  await cut
  expect(error).toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
  expect(error.message).toContain(files[0])
  expect(await migrate(pool(url))).toEqual(files)
  await checkSchema(pool(url))
})

test('a migration waits for one that is under way, however long it takes', async () => {
  const url = await emptyDatabase()
  const proxy = await openTcpProxy(url)
  // Its COMMIT is late: until then nobody else may begin.
  const slow = proxy.at('commit', 'cut before')
  const first = migrate(pool(proxy.through(url))).catch(() => 'cut off')
  await slow
  const second = migrate(pool(url))
  expect(await first).toBe('cut off')
  expect(await second).toEqual(files)
})

test('a role without rights is told what it lacks', async () => {
  const url = await ownDatabase()
  const role = `role_${ownNamespace().replace('-', '_')}`
  const admin = await connect(url)
  await admin.query(`drop role if exists ${role}`)
  await admin.query(`create role ${role} login password 'secret-word'`)
  onTestFinished(async () => {
    const cleaning = new Client(required('DATABASE_URL'))
    await cleaning.connect()
    await cleaning.query(`drop role if exists ${role}`)
    await cleaning.end()
  })
  const weak = new URL(url)
  weak.username = role
  weak.password = 'secret-word'
  for (const call of [checkSchema, migrate]) {
    const error = await failure(call(pool(weak.href)))
    expect(error.message).toContain('permission denied')
    expect(error.message).not.toContain('secret-word')
  }
})

test('a server that cannot be reached is told as such, without its password', async () => {
  const url = new URL(required('DATABASE_URL'))
  url.password = 'secret-word'
  const proxy = await openTcpProxy(url.href)
  const away = pool(proxy.through(url.href))
  await proxy.refuse()
  for (const call of [checkSchema, migrate]) {
    const error = await failure(call(away))
    expect(error).toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
    expect(error.message).not.toContain('secret-word')
  }
})

test('a server that does not answer is told as such, in time', async () => {
  const proxy = await openTcpProxy(required('DATABASE_URL'))
  const hanging = pool(proxy.through(required('DATABASE_URL')))
  proxy.hang()
  expect(await failure(checkSchema(hanging))).toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
})

test('a wrong password, a wrong database and a wrong user are told, without the password', async () => {
  const server = await startPostgres()
  const wrong = (change: (url: URL) => void) => {
    const url = new URL(server.url)
    change(url)
    return url.href
  }
  const urls = [
    wrong((url) => {
      url.password = 'secret-word'
    }),
    wrong((url) => {
      url.pathname = '/nowhere'
    }),
    wrong((url) => {
      url.username = 'nobody-we-know'
    }),
  ]
  const messages = [/password authentication failed/, /"nowhere" does not exist/, /nobody-we-know/]
  for (const [index, url] of urls.entries()) {
    const error = await failure(checkSchema(pool(url)))
    expect(error.message).toMatch(messages[index] as RegExp)
    expect(error.message).not.toContain('secret-word')
    expect(error.message).not.toContain(new URL(server.url).password)
  }
})

test.each(['', 'localhost', '//127.0.0.1', 'http://127.0.0.1', 'postgres://host:99999/db'])(
  'the URL "%s" is refused by the name of its option',
  async (url) => {
    const opening = async () => {
      const opened = openPool(url)
      await opened.close()
    }
    expect(await failure(opening())).toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining('"postgres"'),
    })
  },
)

test.each([
  ['a number', 42],
  ['a list', [{ host: '10.0.0.1' }]],
  ['a URL object', new URL('postgres://10.0.0.1/db')],
  ['a function that is no Knex', () => {}],
])(
  '%s is refused by the name of the option, and not taken for this machine',
  async (_what, odd) => {
    const opening = async () => {
      const opened = openPool(odd as never)
      await opened.close()
    }
    expect(await failure(opening())).toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining('"postgres"'),
    })
  },
)

test('a standby is told as such: it takes no writes', async () => {
  const server = await startPostgres()
  await migrate(pool(server.url))
  await server.stop()
  writeFileSync(join(server.dataFolder, 'standby.signal'), '')
  await server.start()
  for (const call of [checkSchema, migrate]) {
    const error = await failure(call(pool(server.url)))
    expect(error).toMatchObject({ code: 'SOURCE_UNSUPPORTED', retryable: false })
    expect(error.message).toContain('standby')
  }
})

test('a server that is too old is told as such, with the version that would do', async () => {
  // Nothing that old is to be had: a connection that says so stands in for it.
  const old = { version: 120_022, name: '12.22', standby: false }
  const connection = { query: async () => ({ rows: [old] }), end: async () => {} }
  const stub = { connect: async () => connection } as unknown as Pool
  for (const call of [checkSchema, migrate]) {
    const error = await failure(call(stub))
    expect(error).toMatchObject({ code: 'SOURCE_UNSUPPORTED', retryable: false })
    expect(error.message).toMatch(/12\.22.*13 or newer/)
  }
})

test('neither a check nor a migration leaves a connection behind', async () => {
  const url = await emptyDatabase()
  const proxy = await openTcpProxy(url)
  const opened = pool(proxy.through(url))
  await failure(checkSchema(opened))
  await migrate(opened)
  await checkSchema(opened)
  await expect.poll(() => proxy.open, { timeout: 10_000 }).toBe(0)
})
