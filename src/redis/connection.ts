/** The connections to Redis: one for commands, one that listens to the fast plane. */
import { Cluster, type Redis } from 'ioredis'
import { systemClock } from '../model/clock.ts'
import type { LockstepError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import type { RedisClient } from './call.ts'
import { openCommands, openListener, type RedisConnectionOptions } from './open.ts'
import { checkInfo, checkRights, refusalOf, withoutCommand } from './refusal.ts'
import { slotOf } from './slot.ts'

export interface RedisConnections {
  /** To a cluster it is one connection per node. */
  readonly commands: RedisClient
  readonly subscriber: Redis
  close(): void
}

/** Enough to find one on each node that has more than a few slots. */
const keysTried = 1_000

/**
 * Connects, and says at once what won't go away by itself: a wrong password, a server that is too
 * old. A server that can't be reached is not an error here: the cache runs without L2 until it can.
 */
export async function connectRedis(
  options: RedisConnectionOptions,
  bus: string,
  deadlineMs: number,
  log: Logger,
): Promise<RedisConnections> {
  const commands = openCommands(options)
  const isOwn = commands !== options
  let lastError: unknown
  let refusal: LockstepError | undefined
  const noteError = (error: unknown): void => {
    lastError = error
    refusal ??= refusalOf(error)
  }
  const { connection: subscriber, follow } = openListener(commands)
  // Without a listener ioredis prints each failed attempt.
  for (const connection of [commands, subscriber]) connection.on('error', noteError)
  commands.on('node error', noteError)
  commands.on('refresh', follow)
  // Again after each reconnect.
  subscriber.on('ready', () => {
    subscriber.subscribe(bus).catch(noteError)
  })
  const connections: RedisConnections = {
    commands,
    subscriber,
    close: () => {
      commands.off('refresh', follow)
      subscriber.disconnect()
      if (isOwn) disconnect(commands)
      else for (const event of ['error', 'node error']) commands.off(event, noteError)
    },
  }
  try {
    await inTime(deadlineMs, async (signal) => {
      await ready(commands, signal)
      await checkServers(commands, bus)
      follow()
      await ready(subscriber, signal)
      await subscriber.subscribe(bus)
    })
  } catch (error) {
    refusal = refusalOf(error) ?? refusal
    if (refusal !== undefined) {
      connections.close()
      throw refusal
    }
    log.warn(
      { err: withoutCommand(lastError ?? error) },
      'Redis cannot be reached; the cache runs without it until it can',
    )
    follow()
  }
  return connections
}

/** At once, and nothing of it keeps the process. */
export function disconnect(commands: RedisClient): void {
  for (const node of commands instanceof Cluster ? commands.nodes() : [commands]) {
    // ioredis 5 leaves it running, for as long as `socketTimeout` says.
    clearTimeout((node as unknown as { socketTimeoutTimer?: NodeJS.Timeout }).socketTimeoutTimer)
  }
  commands.disconnect()
}

/** Rejects when the deadline is over; `call` goes on, to no effect. */
function inTime(deadlineMs: number, call: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const late = unanswered(deadlineMs)
  return withDeadline(deadlineMs, late, undefined, systemClock, call)
}

/** Rejects with the first error on the way: it may be the reason why there will be no second try. */
function ready(redis: RedisClient, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: unknown): void => {
      redis.off('ready', settle)
      redis.off('error', settle)
      if (error) reject(error)
      else resolve()
    }
    if (redis.status === 'ready') return resolve()
    redis.once('ready', settle)
    redis.once('error', settle)
    signal.addEventListener('abort', () => settle(signal.reason), { once: true })
    if (redis.status === 'wait') redis.connect().catch(settle)
  })
}

async function checkServers(redis: RedisClient, bus: string): Promise<void> {
  if (redis instanceof Cluster) return checkNodes(redis, bus)
  checkInfo(await redis.info('server'), false)
  // ioredis goes on with database 0 when the one that was asked for doesn't exist.
  const { db } = redis.options
  if (db) await redis.select(db)
  await checkRights(redis, `${bus}:probe`, bus)
}

/** Each primary, because each has its own list of users. */
async function checkNodes(cluster: Cluster, bus: string): Promise<void> {
  const prefix = cluster.options.keyPrefix ?? ''
  const keys = new Map<string, string>()
  for (let suffix = 0; suffix < keysTried; suffix++) {
    const key = `${bus}:probe:${suffix}`
    const primary = cluster.slots[slotOf(prefix + key)]?.[0]
    if (primary && !keys.has(primary)) keys.set(primary, key)
  }
  const nodes = cluster.nodes()
  const checks = await Promise.allSettled(
    [...keys].map(async ([primary, key]) => {
      const node = nodes.find(({ options: { host, port } }) => `${host}:${port}` === primary)
      if (!node) throw new Error(`no connection to ${primary}`)
      checkInfo(await node.info('server'), true)
      await checkRights(cluster, key, bus)
    }),
  )
  const reasons = checks.flatMap((check) => (check.status === 'rejected' ? [check.reason] : []))
  if (reasons.length > 0) throw reasons.find((reason) => refusalOf(reason)) ?? reasons[0]
}
