/**
 * I1, I2, I4 while a deployment brings something that writers have not heard of yet: another schema
 * version, or Redis itself (docs/decisions/0005).
 */
import { expect, test } from 'vitest'
import type { Parts } from '../../src/running-cache.ts'
import { connect, ownDatabase } from '../support/database.ts'
import { withL2, withTransactions } from '../support/parts.ts'
import { gate, type ItemWorldCache, openWorld, until, type World } from '../support/world.ts'

/** Runs `then` when a writer has recorded its write, before the first delete and the COMMIT. */
function betweenRecordAndDelete(then: () => Promise<void>): (parts: Parts) => Parts {
  let isDone = false
  return withTransactions((transaction) => ({
    record: async (keys) => {
      const recorded = await transaction.record(keys)
      if (!isDone) {
        isDone = true
        await then()
      }
      return recorded
    },
  }))
}

/** What an instance of the new version answers to a strong read once the write has returned. */
async function afterARollout(
  world: World,
  begin: (cache: ItemWorldCache, write: () => Promise<unknown>) => Promise<void>,
): Promise<{ answer: number | undefined; truth: number | undefined; fenced: unknown }> {
  let second: ItemWorldCache | undefined
  const first = await world.open({
    replace: betweenRecordAndDelete(async () => {
      // Two of them: the second finds the version registered already.
      await world.open({ entity: { version: 2 } as never })
      second = await world.open({ entity: { version: 2 } as never })
      expect((await second.item.get(1, { consistency: 'strong' }))?.version).toBe(0)
      expect(await world.redis.exists(world.valueKey(1, 2)), 'the old value is in Redis').toBe(1)
    }),
  })
  let fenced: unknown
  await begin(first, async () => {
    fenced = (await world.write(first, 1)).fenced
  })
  const answer = (await second?.item.get(1, { consistency: 'strong' }))?.version
  return { answer, truth: await world.truth(1), fenced }
}

test('a version that is registered and filled during a write is dropped by it', async () => {
  const world = await openWorld()
  const { answer, truth, fenced } = await afterARollout(world, async (_, write) => {
    await write()
  })
  expect({ answer, truth, fenced }).toEqual({ answer: 1, truth: 1, fenced: true })
})

test.each(['repeatable read', 'serializable'])(
  'and by one that reads under a snapshot of before: %s',
  async (isolation) => {
    const database = await ownDatabase()
    const owner = await connect(database)
    await owner.query(
      `alter database ${new URL(database).pathname.slice(1)} set default_transaction_isolation = '${isolation}'`,
    )
    const world = await openWorld({ databaseUrl: database })
    const { answer, truth, fenced } = await afterARollout(world, async (_, write) => {
      await write()
    })
    expect({ answer, truth, fenced }).toEqual({ answer: 1, truth: 1, fenced: true })
  },
)

test('a write of an instance without Redis reaches the one that has switched it on', async () => {
  const world = await openWorld()
  let second: ItemWorldCache | undefined
  const first = await world.open({
    redisUrl: undefined,
    replace: betweenRecordAndDelete(async () => {
      await world.open()
      second = await world.open()
      expect((await second.item.get(1, { consistency: 'strong' }))?.version).toBe(0)
    }),
  })
  await world.write(first, 1)
  await until('Redis has been told', async () => {
    return (await second?.item.get(1, { consistency: 'strong' }))?.version === 1
  })
})

test('a version whose registration a failover has lost is registered again before it is filled', async () => {
  const database = await ownDatabase()
  const world = await openWorld({ databaseUrl: database })
  const cache = await world.open({ entity: { version: 2 } as never })
  await world.sql(`delete from lockstep.schema_versions; delete from lockstep.incarnations`)
  await until('it is registered', async () => {
    const rows = await world.sql('select version from lockstep.schema_versions')
    return rows.length === 1
  })
  const writer = await world.open()
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(0)
  await until('the value is in Redis', async () => {
    await cache.item.get(1, { consistency: 'strong' })
    return (await world.redis.exists(world.valueKey(1, 2))) === 1
  })
  await world.write(writer, 1)
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(1)
})

test('no strong read answers the old value after another one has answered the new', async () => {
  const world = await openWorld()
  const second = gate()
  let calls = 0
  const writer = await world.open({
    replace: withL2((l2) => ({
      invalidate: async (...args) => {
        if (++calls === 2) await second.pass()
        return l2.invalidate(...args)
      },
    })),
  })
  const reader = await world.open()
  const newer = await world.open({ entity: { version: 2 } as never })
  const strong = async (cache: typeof reader) =>
    (await cache.item.get(1, { consistency: 'strong' }))?.version
  // All of it long before the write begins.
  expect(await strong(reader)).toBe(0)
  expect(await strong(newer)).toBe(0)
  expect(await world.redis.exists(world.valueKey(1, 2))).toBe(1)
  const writing = world.write(writer, 1)
  await second.held
  const answers = [await strong(reader), await strong(newer)]
  second.open()
  expect((await writing).fenced).toBe(true)
  expect(answers).toEqual([1, 1])
})
