// Writes with Prisma, in its own transaction: one more statement in it tells every cache.

import { setTimeout } from 'node:timers/promises'
import { PrismaPg } from '@prisma/adapter-pg'
import { entity, lockstep } from 'lockstep'
import { type City, PrismaClient } from './generated/client.ts'

const url = process.env.DATABASE_URL as string
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) })

await prisma.$executeRaw`drop table if exists example_cities`
await prisma.$executeRaw`create table example_cities (id int primary key, name text not null)`
await prisma.city.create({ data: { id: 42, name: 'Lutetia' } })

const city = entity('city', {
  load: (ids: number[], { db }) => db<City>('example_cities').whereIn('id', ids),
  id: (row) => row.id,
})
const open = () =>
  lockstep({
    namespace: 'example-prisma',
    postgres: url,
    redis: process.env.REDIS_URL,
    entities: { city },
  })

function rename(id: number, name: string, fail?: 'and fail'): Promise<void> {
  return prisma.$transaction(async (tx) => {
    await tx.city.update({ where: { id }, data: { name } })
    await tx.$queryRaw`select lockstep.invalidate('city', ${id})`
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
  await prisma.$executeRaw`drop table example_cities`
  await prisma.$disconnect()
}
