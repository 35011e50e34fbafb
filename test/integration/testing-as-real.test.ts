/** A test cache answers what the real one does. */
import knex from 'knex'
import { describe, expect, onTestFinished, test } from 'vitest'
import { testCache } from '../../src/testing.ts'
import { entity } from '../../src/types.ts'
import { openWorld, required } from '../support/world.ts'

const item = entity('item', { load: async () => [{ id: 1 }], id: (row: { id: number }) => row.id })
const outcome = (call: Promise<unknown>) =>
  call.then(
    () => 'done',
    (error: { code?: string }) => error.code ?? 'error',
  )

async function both() {
  const world = await openWorld()
  const db = knex({ client: 'pg', connection: required('DATABASE_URL') })
  onTestFinished(() => db.destroy())
  const real = await world.open()
  const { cache } = await testCache({ entities: { item }, knex: db })
  onTestFinished(() => cache.close())
  return { world, db, real, cache }
}

describe('a test sees what production shows', () => {
  test('a callback that meets a serialization failure, and succeeds when it runs again', async () => {
    const { real, cache } = await both()
    const run = () => {
      let tries = 0
      return async () => {
        if (tries++ === 0)
          throw Object.assign(new Error('could not serialize access'), { code: '40001' })
      }
    }
    expect(await outcome(cache.item.write(1, run()))).toBe(await outcome(real.item.write(1, run())))
  })

  test('a callback that swallows an error of a statement', async () => {
    const { real, cache } = await both()
    const run = async (tx: { raw(sql: string): PromiseLike<unknown> }) => {
      await Promise.resolve(tx.raw('select 1/0')).catch(() => {})
    }
    expect(await outcome(cache.item.write(1, run as never))).toBe(
      await outcome(real.item.write(1, run as never)),
    )
  })

  test('a statement that failed in a transaction before a write joins it', async () => {
    const { real, cache, db } = await both()
    const joined = async (one: typeof cache) => {
      const tx = await db.transaction()
      await tx.raw('select 1/0').catch(() => {})
      const written = await outcome(one.item.write(1, async () => [], { tx }))
      await tx.commit().catch(() => {})
      return written
    }
    expect(await joined(cache)).toBe(await joined(real as never))
  })

  test('a joined callback that ends the transaction itself', async () => {
    const { real, cache, db } = await both()
    const joined = async (one: typeof cache) => {
      const tx = await db.transaction()
      return outcome(one.item.write(1, async () => tx.commit(), { tx }))
    }
    expect(await joined(cache)).toBe(await joined(real as never))
  })

  test('a statement that failed, and was taken back by its savepoint', async () => {
    const { real, cache } = await both()
    const run = async (tx: { transaction(run: unknown): Promise<unknown> }) => {
      await tx
        .transaction((one: { raw(sql: string): unknown }) => one.raw('select 1/0'))
        .catch(() => {})
    }
    expect(await outcome(cache.item.write(1, run as never))).toBe('done')
    expect(await outcome(real.item.write(1, run as never))).toBe('done')
  })

  test('a callback that ends its transaction in SQL', async () => {
    const { real, cache } = await both()
    const run = async (tx: { raw(sql: string): PromiseLike<unknown> }) =>
      void (await tx.raw('commit'))
    expect(await outcome(cache.item.write(1, run as never))).toBe('WRITE_ENDED_EARLY')
    expect(await outcome(real.item.write(1, run as never))).toBe('WRITE_ENDED_EARLY')
  })

  test('a loader that fails once with a broken connection', async () => {
    const failing = () => {
      let tries = 0
      return async () => {
        if (tries++ === 0) throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
        return [{ id: 1 }]
      }
    }
    const world = await openWorld()
    const { cache } = await testCache({ entities: { item }, loaders: { item: failing() } })
    onTestFinished(() => cache.close())
    const load = failing()
    const real = await world.open({ afterRead: async () => void (await load()) })
    expect(await outcome(cache.item.get(1))).toBe(await outcome(real.item.get(1)))
  })
})
