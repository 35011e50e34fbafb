// Writes with Knex, in a transaction that the application begins and ends: the cache's write joins it
// with `{ tx }`, and so gives a ticket, and tells Redis before the COMMIT and after it.

import knex from 'knex'
import { entity, lockstep } from 'lockstep'

interface City {
  readonly id: number
  readonly name: string
}

const url = process.env.DATABASE_URL as string
const db = knex({ client: 'pg', connection: url })

await db.schema.dropTableIfExists('example_cities')
await db.schema.createTable('example_cities', (table) => {
  table.integer('id').primary()
  table.text('name').notNullable()
})
await db<City>('example_cities').insert({ id: 42, name: 'Lutetia' })

const city = entity('city', {
  load: (ids: number[], { db }) => db<City>('example_cities').whereIn('id', ids),
  id: (row) => row.id,
})
const open = () =>
  lockstep({
    namespace: 'example-knex',
    postgres: url,
    redis: process.env.REDIS_URL,
    entities: { city },
  })

// Two caches, as if they were two processes.
const [one, other] = [await open(), await open()]
try {
  console.log('before:', await one.city.get(42), await other.city.get(42))

  const rolledBack = await db.transaction()
  await one.city.write(42, (tx) => rename(tx, 42, 'Atlantis'), { tx: rolledBack })
  await rolledBack.rollback()
  console.log('rolled back:', await one.city.get(42), await other.city.get(42))

  const { ticket, fencedAfterCommit } = await db.transaction((tx) =>
    one.city.write(42, (joined) => rename(joined, 42, 'Paris'), { tx }),
  )
  console.log('committed:', await other.city.get(42, { ticket }))
  // Not inside the transaction: it resolves when that has ended.
  console.log('Redis was told before and after the COMMIT:', await fencedAfterCommit)
} finally {
  await Promise.all([one.close(), other.close()])
  await db.schema.dropTable('example_cities')
  await db.destroy()
}

function rename(tx: knex.Knex, id: number, name: string): PromiseLike<number> {
  return tx<City>('example_cities').where({ id }).update({ name })
}
