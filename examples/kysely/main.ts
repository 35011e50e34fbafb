// Writes with Kysely, in its own transaction: one more statement in it tells every cache.

import { setTimeout } from 'node:timers/promises'
import { Kysely, PostgresDialect, sql } from 'kysely'
import { entity, lockstep } from 'lockstep'
import { Pool } from 'pg'

interface City {
  readonly id: number
  readonly name: string
}

const url = process.env.DATABASE_URL as string
const kysely = new Kysely<{ example_cities: City }>({
  dialect: new PostgresDialect({ pool: new Pool({ connectionString: url }) }),
})

await kysely.schema.dropTable('example_cities').ifExists().execute()
await kysely.schema
  .createTable('example_cities')
  .addColumn('id', 'integer', (column) => column.primaryKey())
  .addColumn('name', 'text', (column) => column.notNull())
  .execute()
await kysely.insertInto('example_cities').values({ id: 42, name: 'Lutetia' }).execute()

const city = entity('city', {
  load: (ids: number[], { db }) => db<City>('example_cities').whereIn('id', ids),
  id: (row) => row.id,
})
const open = () =>
  lockstep({
    namespace: 'example-kysely',
    postgres: url,
    redis: process.env.REDIS_URL,
    entities: { city },
  })

function rename(id: number, name: string, fail?: 'and fail'): Promise<void> {
  return kysely.transaction().execute(async (tx) => {
    await tx.updateTable('example_cities').set({ name }).where('id', '=', id).execute()
    await sql`select lockstep.invalidate('city', ${id})`.execute(tx)
    if (fail) throw new Error('rolled back')
  })
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
  await kysely.schema.dropTable('example_cities').execute()
  await kysely.destroy()
}
