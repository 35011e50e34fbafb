/** Databases for tests: the one of the run, one of a test's own in the same server, one in a server of its own. */
import { Client } from 'pg'
import { onTestFinished } from 'vitest'
import { migrate } from '../../src/postgres/migrations.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { ownNamespace } from './namespace.ts'
import { required } from './world.ts'

let migrated: Promise<string> | undefined

/** The database of the run, migrated once by each process that asks. */
export function sharedDatabase(): Promise<string> {
  migrated ??= migratedUrl(required('DATABASE_URL'))
  return migrated
}

/** A migrated database in a server of one's own. */
export function migratedDatabase(server: { readonly url: string }): Promise<string> {
  return migratedUrl(server.url)
}

/** An empty database of this test's own in the server of the run; it is dropped after the test. */
export async function emptyDatabase(): Promise<string> {
  const url = new URL(required('DATABASE_URL'))
  const name = ownNamespace().replaceAll('-', '_')
  await runIn(url.href, `drop database if exists ${name} with (force)`)
  await runIn(url.href, `create database ${name} template template0 encoding 'UTF8'`)
  onTestFinished(() => runIn(required('DATABASE_URL'), `drop database ${name} with (force)`))
  url.pathname = `/${name}`
  return url.href
}

/** As `emptyDatabase`, migrated. */
export async function ownDatabase(): Promise<string> {
  return migratedUrl(await emptyDatabase())
}

/** A connection of this test's own, for what the library would not do. */
export async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: 'lockstep test' })
  // Without a listener the end of the server would end the test's process.
  client.on('error', () => {})
  await client.connect()
  onTestFinished(() => client.end().catch(() => {}))
  return client
}

async function migratedUrl(url: string): Promise<string> {
  const pool = openPool(url)
  try {
    await migrate(pool)
    return url
  } finally {
    await pool.close()
  }
}

async function runIn(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
