/** The one place where the rooms meet: opens the places, and joins them to the coordinator. */

import { frontDoor } from './front-door.ts'
import { openEvents } from './kafka/events.ts'
import { openLog } from './kafka/log.ts'
import { BloomFilter } from './memory/bloom-filter.ts'
import { S3Fifo } from './memory/policies/s3fifo.ts'
import { L1Region } from './memory/region.ts'
import { seedOf } from './model/bloom.ts'
import type { FastPlane } from './model/bus-ports.ts'
import type { AnyEntity } from './model/entity.ts'
import type { L2Filters } from './model/filter-ports.ts'
import type { FlagMirror } from './model/flag-ports.ts'
import type { Region } from './model/l1-port.ts'
import type { L2 } from './model/l2-port.ts'
import { busHop, redisHops, sourceHop } from './open-hops.ts'
import type { FilterPlaces } from './operations/filters.ts'
import { type Settings, settle } from './options.ts'
import { PostgresFlags } from './postgres/flags.ts'
import { PostgresInstances } from './postgres/instances.ts'
import { PostgresInvalidations } from './postgres/invalidations.ts'
import { checkSchema } from './postgres/migrations.ts'
import { register } from './postgres/namespace.ts'
import { openScan } from './postgres/open-scan.ts'
import { PostgresOutbox } from './postgres/outbox.ts'
import { kafkaPlane, outboxPlane } from './postgres/plane.ts'
import { openPool, type Pool } from './postgres/pool.ts'
import { PostgresReplicas } from './postgres/replicas.ts'
import { PostgresSource } from './postgres/source.ts'
import { openFleet } from './prometheus/fleet.ts'
import { askNode } from './redis/call.ts'
import { NamespaceClaim } from './redis/claim.ts'
import { connectRedis } from './redis/connection.ts'
import { FillWaits, RedisFastPlane } from './redis/fast-plane.ts'
import { RedisFilters } from './redis/filters.ts'
import { RedisFlagMirror } from './redis/flag-mirror.ts'
import { keySpace } from './redis/keys.ts'
import { RedisL2 } from './redis/l2.ts'
import { openNodes } from './redis/nodes.ts'
import type { RedisConnectionOptions } from './redis/open.ts'
import type { Hop } from './resilience/hop.ts'
import { type EventParts, type Parts, RunningCache } from './running-cache.ts'
import type { HopPart } from './running-hops.ts'
import type { Cache, LockstepOptions } from './types.ts'

/** How long the start waits for a Redis that may be down. */
const redisStartDeadlineMs = 2_000
/** How much of a load's deadline may go by until a replica has said that it can be asked. */
const shareOfReplicas = 0.25

/**
 * Opens the tiers and starts the cache. Who calls it closes it. Rejects with `OPTION_INVALID`,
 * `SOURCE_UNAVAILABLE`, `SCHEMA_MISSING`, `REDIS_REFUSED`; a Redis that can't be reached is no error.
 */
export function lockstep<const Entities extends Record<string, AnyEntity>>(
  options: LockstepOptions<Entities>,
): Promise<Cache<Entities>> {
  return assemble(options, (parts) => parts)
}

/** `lockstep` with other parts than the real ones, or with something in between. */
export async function assemble<const Entities extends Record<string, AnyEntity>>(
  options: LockstepOptions<Entities>,
  replace: (parts: Parts) => Parts,
): Promise<Cache<Entities>> {
  return frontDoor(options.entities, await start(options, settle(options), replace))
}

/**
 * A cache of nothing: it relays, repeats, and applies the events of others, for the instances that
 * have the entities. Who calls it closes it. Rejects as `lockstep`.
 */
export function daemon(options: Omit<LockstepOptions<never>, 'entities'>): Promise<RunningCache> {
  const none = { ...options, entities: {} }
  return start(none, settle(none, 0), (parts) => parts)
}

async function start(
  options: LockstepOptions<Record<string, AnyEntity>>,
  settings: Settings,
  replace: (parts: Parts) => Parts,
): Promise<RunningCache> {
  const opened: (() => unknown)[] = []
  const release = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close()
  }
  let cache: RunningCache | undefined
  try {
    const { primary, replicas } = settings.postgres
    const pool = openPool(primary, settings.log)
    opened.push(() => pool.close())
    const copies = replicas.map((one, index) => {
      const copy = openPool(one, settings.log, `postgres.replicas[${index}]`)
      opened.push(() => copy.close())
      return copy
    })
    await checkSchema(pool)
    const { namespace, entities } = settings
    const registration = {
      namespace,
      hasL2: options.redis !== undefined,
      plane: settings.kafka
        ? kafkaPlane(settings.kafka.topic, settings.kafka.partitions)
        : outboxPlane,
      entities,
    }
    const { database } = await register(pool, registration, settings.clock)
    const outbox = new PostgresOutbox(pool, registration, settings.clock)
    opened.push(() => outbox.close())
    const redis =
      options.redis === undefined ? undefined : await openRedis(options.redis, settings, database)
    if (redis) opened.push(redis.close)
    const source = sourceHop(settings)
    const bus = settings.kafka && busHop(settings)
    opened.push(source.close)
    if (bus) opened.push(bus.close)
    const parts = replace({
      l2: redis?.l2,
      filters: redis && openFilters(pool, redis.filters, settings),
      hops: {
        ...(redis ? { l2: redis.hop } : {}),
        source: source.part,
        ...(bus ? { bus: bus.part } : {}),
        fleet: settings.prometheus && openFleet(settings.prometheus, namespace, settings.clock),
      },
      fastPlane: redis?.fastPlane,
      outbox,
      instances: new PostgresInstances(pool, namespace),
      log: settings.kafka && openLog(settings.kafka, settings),
      events: openForeignEvents(pool, settings),
      flags: { store: new PostgresFlags(pool, namespace), mirror: redis?.flagMirror },
      source: openSource(pool, copies, source.hop, settings),
      regions: new Map(settings.entities.map((entity) => [entity.name, openRegion(entity)])),
    })
    cache = new RunningCache(settings, parts, release)
    await cache.start()
    return cache
  } catch (error) {
    // What it has begun would go on over connections that are closed.
    await (cache ? cache.close(0) : release())
    throw error
  }
}

interface OpenRedis {
  readonly l2: L2
  readonly hop: HopPart
  readonly filters: L2Filters
  readonly fastPlane: FastPlane
  readonly flagMirror: FlagMirror
  readonly close: () => void
}

async function openRedis(
  options: RedisConnectionOptions,
  settings: Settings,
  database: string,
): Promise<OpenRedis> {
  const { clock, log, timing } = settings
  const keys = keySpace(settings.namespace)
  const beganAtMs = clock.monotonicMs()
  const connections = await connectRedis(options, keys.bus, redisStartDeadlineMs, log)
  const claim = new NamespaceClaim(connections.commands, keys.claim, database, clock, log)
  try {
    await claim.start(Math.max(0, redisStartDeadlineMs - (clock.monotonicMs() - beganAtMs)))
  } catch (error) {
    connections.close()
    throw error
  }
  const { part: hop, openHop } = redisHops(settings)
  const { commands } = connections
  const probe = (tag: string): Promise<unknown> => askNode(commands, keys.barrier(tag))
  const nodes = openNodes(commands, { clock, openHop, probe })
  const waits = new FillWaits(clock)
  const place = {
    redis: commands,
    nodes,
    keys,
    clock,
    seedOf: (entity: string) => seedOf(database, settings.namespace, entity),
  }
  const { tombstoneRetentionMs } = timing
  return {
    hop,
    l2: new RedisL2({ ...place, waits, tombstoneRetentionMs }),
    filters: new RedisFilters(place),
    fastPlane: new RedisFastPlane({
      ...connections,
      keys,
      waits,
      clock,
      deadlineMs: timing.redisDeadlineMs,
    }),
    flagMirror: new RedisFlagMirror({
      redis: connections.commands,
      subscriber: connections.subscriber,
      keys,
      clock,
    }),
    close: () => {
      claim.close()
      connections.close()
      nodes.close()
    },
  }
}

function openFilters(pool: Pool, l2: L2Filters, { clock }: Settings): FilterPlaces {
  return {
    l2,
    open: (seed, header, bits) => new BloomFilter(seed, header, bits),
    scanOf: (entity) => openScan(pool, entity, clock),
  }
}

function openForeignEvents(pool: Pool, settings: Settings): EventParts | undefined {
  const { clock, kafka, log, namespace } = settings
  if (!kafka || kafka.events === false) return undefined
  return {
    source: openEvents({ settings: kafka, clock, log }),
    invalidations: new PostgresInvalidations(pool, namespace),
  }
}

function openSource(
  pool: Pool,
  copies: readonly Pool[],
  hop: Hop,
  settings: Settings,
): PostgresSource {
  const { namespace, timing, clock, log } = settings
  return new PostgresSource({
    pool,
    namespace,
    hop,
    replicas:
      copies.length === 0
        ? undefined
        : new PostgresReplicas({
            pools: copies,
            askDeadlineMs: timing.loadDeadlineMs * shareOfReplicas,
            clock,
            log,
          }),
    idleInTransactionMs: Math.floor(timing.tombstoneRetentionMs / 2),
    outcomeDeadlineMs: timing.readDeadlineMs,
    clock,
  })
}

function openRegion(entity: AnyEntity): Region {
  const { maxEntries, maxBytes } = entity
  return new L1Region({ maxEntries, maxBytes }, new S3Fifo(maxEntries))
}
