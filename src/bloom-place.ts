/** Filters in Redis as a command reaches them: without a cache, and without becoming an instance. */
import { onSchema } from './command-line.ts'
import { readConfig } from './config.ts'
import { seedOf } from './model/bloom.ts'
import { systemClock } from './model/clock.ts'
import { timingDefaults } from './model/defaults.ts'
import { durationMs } from './model/duration.ts'
import { checkEntityName, wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import type { L2Filters } from './model/filter-ports.ts'
import type { L2 } from './model/l2-port.ts'
import { checkNamespace } from './options.ts'
import { knownEntities } from './postgres/namespace.ts'
import { connectRedis } from './redis/connection.ts'
import { FillWaits } from './redis/fast-plane.ts'
import { RedisFilters } from './redis/filters.ts'
import { keySpace } from './redis/keys.ts'
import { RedisL2 } from './redis/l2.ts'
import { openNodes } from './redis/nodes.ts'
import { isRedisAnswer } from './redis/retryable.ts'
import { Hop } from './resilience/hop.ts'
import { commandLog } from './telemetry/log.ts'

export interface BloomPlace {
  readonly filters: L2Filters
  readonly l2: L2
  /** Entities of the namespace, with their newest schema version. */
  readonly versions: ReadonlyMap<string, number>
}

const connectDeadlineMs = 2_000
const callDeadlineMs = 2_000

export async function onBloomPlace<T>(
  given: string | undefined,
  run: (place: BloomPlace) => Promise<T>,
): Promise<T> {
  const config = readConfig()
  const namespace = given ?? config.namespace
  checkNamespace(namespace)
  if (config.redisUrl === undefined) {
    throw new LockstepError('OPTION_INVALID', 'REDIS_URL is not set; redis://host:6379 would do')
  }
  const { database, versions } = await onSchema((pool) => knownEntities(pool, namespace))
  const keys = keySpace(namespace)
  const log = commandLog('lockstep', config.logLevel)
  const { commands, close } = await connectRedis(config.redisUrl, keys.bus, connectDeadlineMs, log)
  const clock = systemClock
  const openHop = (): Hop =>
    new Hop({ name: 'l2', deadlineMs: callDeadlineMs, isAnswer: isRedisAnswer })
  const nodes = openNodes(commands, { clock, openHop })
  const seeds = (entity: string) => seedOf(database, namespace, entity)
  const place = { redis: commands, nodes, keys, clock, seedOf: seeds }
  const tombstoneRetentionMs = durationMs('tombstones', timingDefaults.tombstoneRetention)
  try {
    const l2 = new RedisL2({ ...place, waits: new FillWaits(clock), tombstoneRetentionMs })
    return await run({ filters: new RedisFilters(place), l2, versions })
  } finally {
    close()
    nodes.close()
  }
}

/** Throws `OPTION_INVALID` for what the namespace doesn't have. */
export function checkKnown({ versions }: BloomPlace, entity: string): void {
  checkEntityName('<entity>', entity)
  if (versions.has(entity)) return
  const names = [...versions.keys()].join(', ')
  throw wrong(
    '<entity>',
    entity,
    names === '' ? 'the namespace has none yet' : `one of ${names} would do`,
  )
}
