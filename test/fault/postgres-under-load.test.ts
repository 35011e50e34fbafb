/** PostgreSQL dies while everybody reads and writes, and comes back, or its standby takes over. */
import { describe, expect, test } from 'vitest'
import { connect, migratedDatabase } from '../support/database.ts'
import { startPostgres, startReplicated } from '../support/servers.ts'
import { standbyOf } from '../support/standby.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { startWorkload, type Workload } from '../support/workload.ts'
import { type ItemWorldCache, openWorld, planes, until, untilProven } from '../support/world.ts'

const boundMs = 1_000
const timing = { loadDeadline: '1s', readDeadline: '3s', writeDeadline: '1s' } as const
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Everything works again: a write that goes through, told to Redis, and L1. */
async function untilWell(caches: readonly ItemWorldCache[]): Promise<void> {
  await Promise.all(
    caches.map(async (cache) => {
      await until('L1 is served again', async () => {
        const entry = await cache.item.getEntry(40).catch(() => undefined)
        return entry?.tier === 'l1'
      })
      await untilProven(cache)
    }),
  )
}

async function untilMore(work: Workload): Promise<void> {
  const { writes } = work
  await until('writes go through', () => work.writes > writes + 20)
}

describe.each(planes)('on the %s plane', (plane) => {
  test('kill -9 of PostgreSQL and a restart', async () => {
    const postgres = await startPostgres({ fsync: true })
    const world = await openWorld({ plane, databaseUrl: await migratedDatabase(postgres) })
    const caches = [await world.open({ timing }), await world.open({ timing })]
    await untilWell(caches)
    const work = startWorkload(world, caches)
    await untilMore(work)
    await postgres.kill9()
    await pause(300)
    await postgres.start()
    await untilWell(caches)
    await untilMore(work)
    await pause(boundMs)
    await work.stop()
    expect(work.wrong).toEqual([])
  }, 60_000)

  test('a standby takes over, on the same address', async () => {
    const { primary, standbys } = await startReplicated(1, { fsync: true })
    await migratedDatabase(primary)
    // What has returned from a write must not be lost.
    const admin = await connect(primary.url)
    await admin.query(`alter system set synchronous_standby_names = '*'`)
    await admin.query('select pg_reload_conf()')
    const proxy = await openTcpProxy(primary.url)
    const world = await openWorld({ plane, databaseUrl: proxy.through(primary.url) })
    const caches = [await world.open({ timing }), await world.open({ timing })]
    await untilWell(caches)
    const work = startWorkload(world, caches)
    await untilMore(work)
    const standby = await standbyOf(primary.url, standbys[0]?.url ?? '')
    await primary.kill9()
    await standby.promote()
    proxy.turnTo(standby.url)
    await untilWell(caches)
    await untilMore(work)
    await pause(boundMs)
    await work.stop()
    expect(work.wrong).toEqual([])
  }, 60_000)
})
