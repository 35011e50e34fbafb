// Writes with Drizzle, in its own transaction: one more statement in it tells every cache.

import { setTimeout } from 'node:timers/promises'
import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { entity, lockstep } from 'lockstep'
import { Pool } from 'pg'

const cities = pgTable('example_cities', {
  id: integer().primaryKey(),
  name: text().notNull(),
})
type City = typeof cities.$inferSelect

const url = process.env.DATABASE_URL as string
const pool = new Pool({ connectionString: url })
const orm = drizzle(pool)

await orm.execute(sql`drop table if exists ${cities}`)
await orm.execute(sql`create table ${cities} (id int primary key, name text not null)`)
await orm.insert(cities).values({ id: 42, name: 'Lutetia' })

const city = entity('city', {
  load: (ids: number[], { db }) => db<City>('example_cities').whereIn('id', ids),
  id: (row) => row.id,
})
const open = () =>
  lockstep({
    namespace: 'example-drizzle',
    postgres: url,
    redis: process.env.REDIS_URL,
    entities: { city },
  })

function rename(id: number, name: string, fail?: 'and fail'): Promise<void> {
  return orm.transaction(async (tx) => {
    await tx.update(cities).set({ name }).where(eq(cities.id, id))
    await tx.execute(sql`select lockstep.invalidate('city', ${id})`)
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
  await orm.execute(sql`drop table ${cities}`)
  await pool.end()
}
