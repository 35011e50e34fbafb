// Writes with plain `pg`, in a transaction of the application's own: one more statement in it tells
// every cache. In psql, in a migration or in a stored procedure it is the same statement.

import { setTimeout } from 'node:timers/promises'
import { entity, lockstep } from 'lockstep'
import { Pool } from 'pg'

interface City {
  readonly id: number
  readonly name: string
}

const url = process.env.DATABASE_URL as string
const pool = new Pool({ connectionString: url })

await pool.query('drop table if exists example_cities')
await pool.query('create table example_cities (id int primary key, name text not null)')
await pool.query("insert into example_cities values (42, 'Lutetia')")

const city = entity('city', {
  load: (ids: number[], { db }) => db<City>('example_cities').whereIn('id', ids),
  id: (row) => row.id,
})
const open = () =>
  lockstep({
    namespace: 'example-pg',
    postgres: url,
    redis: process.env.REDIS_URL,
    entities: { city },
  })

async function rename(id: number, name: string, fail?: 'and fail'): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    await client.query('update example_cities set name = $2 where id = $1', [id, name])
    await client.query("select lockstep.invalidate('city', $1)", [id])
    if (fail) throw new Error('rolled back')
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

// Two caches, as if they were two processes.
const [one, other] = [await open(), await open()]
try {
  console.log('before:', await one.city.get(42), await other.city.get(42))
  await rename(42, 'Atlantis', 'and fail').catch(() => {})
  console.log('rolled back:', await one.city.get(42), await other.city.get(42))

  await rename(42, 'Paris')
  const committedAt = performance.now()
  while ((await other.city.get(42))?.name !== 'Paris') {
    if (performance.now() - committedAt > 10_000) throw new Error('the write was not heard of')
    await setTimeout(10)
  }
  console.log(`committed: Paris after ${Math.round(performance.now() - committedAt)} ms`)
} finally {
  await Promise.all([one.close(), other.close()])
  await pool.query('drop table example_cities')
  await pool.end()
}
