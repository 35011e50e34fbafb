/** Redis forgets what it was told while everybody reads and writes: nothing that is proven is too old. */
import { describe, expect, test } from 'vitest'
import { startReplicatedRedis } from '../support/redis-replicas.ts'
import { startRedis } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { startWorkload } from '../support/workload.ts'
import {
  type ItemWorldCache,
  openWorld,
  type PlaneName,
  planes,
  until,
  untilProven,
  type World,
} from '../support/world.ts'

const timing = { redisDeadline: '300ms', loadDeadline: '2s', readDeadline: '5s' } as const
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function openThree(world: World): Promise<readonly ItemWorldCache[]> {
  const caches = [
    await world.open({ timing }),
    await world.open({ timing }),
    await world.open({ timing }),
  ]
  await Promise.all(caches.map((cache) => untilProven(cache)))
  return caches
}

describe.each(planes)('on the %s plane', (plane: PlaneName) => {
  test('FLUSHALL again and again, and a restart with nothing', async () => {
    const redis = await startRedis()
    const world = await openWorld({ plane, redisUrl: redis.url })
    const caches = await openThree(world)
    const work = startWorkload(world, caches, { strong: 'bounded' })
    for (let turn = 0; turn < 5; turn++) {
      await pause(200)
      await world.redis.flushall()
    }
    await redis.kill()
    await pause(500)
    await redis.start()
    await Promise.all(caches.map((cache) => untilProven(cache)))
    await pause(500)
    await work.stop()
    expect({ wrong: work.wrong, reads: work.failedReads, writes: work.failedWrites }).toEqual({
      wrong: [],
      reads: [],
      writes: [],
    })
    expect(work.answers).toBeGreaterThan(100)
  })

  test('a replica that missed the last seconds takes over, on the same address', async () => {
    const [primary, replica] = [await startReplicatedRedis(), await startReplicatedRedis()]
    const proxy = await openTcpProxy(primary.url)
    const world = await openWorld({ plane, redisUrl: proxy.through(primary.url) })
    const caches = await openThree(world)
    await replica.follow(primary)
    const work = startWorkload(world, caches, { strong: 'bounded' })
    await pause(500)
    await replica.detach()
    // What the primary is told from here on is lost.
    await pause(1_500)
    proxy.turnTo(replica.url)
    await replica.promote()
    await until('all use it', async () => (await replica.admin.dbsize()) > 0)
    await Promise.all(caches.map((cache) => untilProven(cache)))
    await pause(1_500)
    await work.stop()
    expect({ wrong: work.wrong, reads: work.failedReads, writes: work.failedWrites }).toEqual({
      wrong: [],
      reads: [],
      writes: [],
    })
    expect(work.answers).toBeGreaterThan(100)
  })
})
