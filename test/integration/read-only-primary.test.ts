/** A primary that takes no writes: reads are answered, nothing is proven that could be wrong, and writes fail clearly. */
import { expect, test } from 'vitest'
import { connect, migratedDatabase } from '../support/database.ts'
import { startPostgres } from '../support/servers.ts'
import { type ItemWorldCache, openWorld, until } from '../support/world.ts'

/** It has to be said again that an instance runs: after 10 s, and B. */
const untilUnproven = 20_000

async function takesWrites(url: string, does: boolean): Promise<void> {
  const client = await connect(url)
  const value = does ? 'off' : 'on'
  await client.query(`alter system set default_transaction_read_only = ${value}`)
  await client.query('select pg_reload_conf()')
}

const health = (cache: ItemWorldCache) => {
  const { ready, source, status, trust } = cache.health()
  return { ready, source: source.state, status, proven: trust.proven }
}

test('reads go on, unproven after a while where it matters; writes and flags fail; then all is well again', {
  timeout: 60_000,
}, async () => {
  const postgres = await startPostgres()
  const world = await openWorld({ databaseUrl: await migratedDatabase(postgres) })
  const cache = await world.open()
  const alone = await world.open({
    redisUrl: undefined,
    options: { namespace: `${world.namespace}-alone` } as never,
  })
  const both = [cache, alone]
  for (const one of both) await one.item.get(1)
  await takesWrites(world.databaseUrl, false)
  await until('writes fail', async () =>
    world.write(cache, 40).then(
      () => false,
      (error: { code?: string }) => error.code === '25006',
    ),
  )
  // What L1 has is known to be fresh for as long as it is known that this instance runs.
  await until('L1 serves it', async () => {
    const { tier, proven } = await cache.item.getEntry(1)
    return tier === 'l1' && proven
  })
  await expect(cache.item.invalidate(1)).rejects.toMatchObject({ code: '25006' })
  const set = cache.flags.set('fill.off', { for: '1m', reason: 'a test' })
  await expect(set).rejects.toMatchObject({ code: 'SOURCE_READONLY' })
  await expect(world.open()).rejects.toMatchObject({ code: 'SOURCE_READONLY', retryable: true })

  const isUnproven = (): boolean => both.every((one) => !one.health().trust.proven)
  await until('nothing is proven by it', isUnproven, untilUnproven)
  expect(await cache.item.getEntry(1)).toMatchObject({ tier: 'l2', proven: false })
  expect((await cache.item.getEntry(1, { consistency: 'strong' })).tier).toBe('source')
  for (const one of both) {
    expect(await one.item.getEntry(2)).toMatchObject({ tier: 'source', proven: true })
    // As long as this takes, it answers: with and without Redis.
    expect(health(one)).toEqual({
      ...{ ready: true, source: 'answers', status: 'degraded', proven: false },
    })
  }
  await until('it has been so for long', () => (cache.health().trust.ageMs ?? 0) > 3_300)
  expect(both.map(health).map(({ ready, source }) => [ready, source])).toEqual([
    [true, 'answers'],
    [true, 'answers'],
  ])

  await takesWrites(world.databaseUrl, true)
  await until('all is proven again', () => both.every((one) => one.health().trust.proven))
  expect((await world.write(cache, 1)).fenced).toBe(true)
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(await world.truth(1))
})
