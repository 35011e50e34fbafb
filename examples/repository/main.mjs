// A repository that knows nothing of a cache, and the same one wrapped.
//
//   npm run services && npm run build
//   node scripts/with-services.mjs node bin/lockstep.mjs migrate
//   node scripts/with-services.mjs node examples/repository/main.mjs
//
// docs/wrapping-a-repository.md tells the rest, in TypeScript.

import knex from 'knex'
import { entity, lockstep, wrapRepository } from 'lockstep'

class BookRepository {
  #db

  constructor(db) {
    this.#db = db
  }

  async findById(id) {
    return (await this.#books().where({ id }).first()) ?? null
  }

  async findByIds(ids) {
    return this.#books().whereIn('id', ids)
  }

  async create(title) {
    const [book] = await this.#books().insert({ title }).returning('*')
    return book
  }

  async retitle(id, title) {
    const [book] = await this.#books().where({ id }).update({ title }).returning('*')
    return book ?? null
  }

  async count() {
    const [{ count }] = await this.#books().count()
    return Number(count)
  }

  #books() {
    return this.#db('example_books')
  }
}

const { DATABASE_URL, REDIS_URL } = process.env
const db = knex({ client: 'pg', connection: DATABASE_URL })
const book = entity('book', {
  load: (ids, { db }) => new BookRepository(db).findByIds(ids),
  id: (row) => row.id,
})

await db.schema.dropTableIfExists('example_books')
await db.schema.createTable('example_books', (table) => {
  table.increments('id')
  table.text('title')
})
const cache = await lockstep({
  namespace: `example-${process.pid}`,
  postgres: db,
  redis: REDIS_URL,
  entities: { book },
})

try {
  const books = wrapRepository(new BookRepository(db), cache.book, {
    read: {
      findById: { id: (id) => id, result: (found) => found ?? null },
      findByIds: { ids: (ids) => ids, result: (found) => [...found.values()] },
    },
    write: {
      create: { run: (tx, title) => new BookRepository(tx).create(title) },
      retitle: {
        id: (id) => id,
        run: (tx, id, title) => new BookRepository(tx).retitle(id, title),
      },
    },
    onWrite: ({ method, ticket }) => console.log(`${method} left the ticket ${ticket}`),
  })

  const { id } = await books.create('The Mill on the Floss')
  for (let read = 0; read < 1000; read++) await books.findById(id)
  console.log('1,000 reads, loads of the database:', cache.stats().book.loads)

  await books.retitle(id, 'Middlemarch')
  console.log('after the write:', await books.findById(id))
  console.log('what is not named is the repository’s own:', await books.count(), 'book')
} finally {
  await cache.close()
  await db.schema.dropTable('example_books')
  await db.destroy()
}
