/** What one process has of Redis, put together as `src/lockstep.ts` does it. */
import type { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import { seedOf } from '../../src/model/bloom.ts'
import { systemClock } from '../../src/model/clock.ts'
import { silent } from '../../src/model/log.ts'
import { connectRedis } from '../../src/redis/connection.ts'
import { FillWaits, RedisFastPlane } from '../../src/redis/fast-plane.ts'
import { RedisFilters } from '../../src/redis/filters.ts'
import { keySpace } from '../../src/redis/keys.ts'
import { RedisL2 } from '../../src/redis/l2.ts'
import { openNodes } from '../../src/redis/nodes.ts'
import type { RedisConnectionOptions } from '../../src/redis/open.ts'
import { isRedisAnswer } from '../../src/redis/retryable.ts'
import { Hop } from '../../src/resilience/hop.ts'
import { until } from '../support/world.ts'

export interface RedisProcess {
  readonly l2: RedisL2
  readonly filters: RedisFilters
  readonly fastPlane: RedisFastPlane
  readonly redis: Redis
  /** Resolves when it has heard what was published before. */
  arrived(): Promise<unknown>
}

export interface RedisProcessOptions {
  readonly url: RedisConnectionOptions
  readonly namespace: string
  readonly retentionMs?: number
  readonly deadlineMs?: number
}

/** Closed when the test has ended. */
export async function openRedisProcess(options: RedisProcessOptions): Promise<RedisProcess> {
  const { url, namespace, retentionMs = 60_000, deadlineMs = 5_000 } = options
  const keys = keySpace(namespace)
  const connections = await connectRedis(url, keys.bus, 5_000, silent)
  const nodes = openNodes(connections.commands, {
    clock: systemClock,
    openHop: () => new Hop({ name: 'l2', deadlineMs, isAnswer: isRedisAnswer }),
  })
  const waits = new FillWaits(systemClock)
  onTestFinished(() => {
    connections.close()
    nodes.close()
  })
  await until('it listens to the fast plane', () => connections.subscriber.status === 'ready')
  await connections.subscriber.subscribe(keys.bus)
  const place = {
    redis: connections.commands,
    nodes,
    keys,
    clock: systemClock,
    seedOf: (entity: string) => seedOf('a database', namespace, entity),
  }
  return {
    l2: new RedisL2({ ...place, waits, tombstoneRetentionMs: retentionMs }),
    filters: new RedisFilters(place),
    fastPlane: new RedisFastPlane({
      ...connections,
      keys,
      waits,
      clock: systemClock,
      deadlineMs,
    }),
    // A cluster has all of the methods that tests ask for.
    redis: connections.commands as Redis,
    // The answer comes over the same connection as the messages.
    arrived: () => connections.subscriber.ping(),
  }
}
