/** The connections to Redis: one for commands, one that listens to the fast plane. */
import { Redis, type RedisOptions } from 'ioredis'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'

/** A URL, ioredis options, or an ioredis instance of one's own (which stays open). */
export type RedisConnectionOptions = string | RedisOptions | Redis

export interface RedisConnections {
  readonly commands: Redis
  readonly subscriber: Redis
  close(): void
}

const longestRetryDelayMs = 1_000
const oldestMajor = 7

// An answer that comes late is of no use: nothing waits in a queue for a connection, and nothing is
// sent again after a reconnect.
const settings: RedisOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 2_000,
  keepAlive: 10_000,
  retryStrategy: (tries) =>
    Math.min(longestRetryDelayMs, 20 * 2 ** Math.min(tries, 10)) * (0.5 + Math.random() / 2),
}

// A connection that is cut without a word (half-open) would never be opened anew.
const commandSettings: RedisOptions = { socketTimeout: 2_000 }

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
  const isOwn = !(options instanceof Redis)
  const commands = isOwn ? open(options) : options
  const subscriber = commands.duplicate({
    ...settings,
    enableReadyCheck: false,
    // It may be silent for hours.
    socketTimeout: undefined,
  } as RedisOptions)
  const connections: RedisConnections = {
    commands,
    subscriber,
    close: () => {
      subscriber.disconnect()
      if (isOwn) commands.disconnect()
    },
  }
  let lastError: unknown
  for (const connection of [commands, subscriber]) {
    // Without a listener ioredis prints each failed attempt.
    connection.on('error', (error) => {
      lastError = error
    })
  }
  // Subscribed again by ioredis after each reconnect.
  subscriber.on('ready', () => {
    subscriber.subscribe(bus).catch(() => {})
  })
  try {
    await ready(commands, deadlineMs)
    await checkServer(commands)
  } catch (error) {
    const cause = lastError ?? error
    if (isRefusal(cause) || cause instanceof LockstepError) {
      connections.close()
      throw cause instanceof LockstepError ? cause : refused(messageOf(cause), cause)
    }
    log.warn({ err: cause }, 'Redis cannot be reached; the cache runs without it until it can')
  }
  subscriber.connect().catch(() => {})
  return connections
}

function open(options: string | RedisOptions): Redis {
  if (typeof options !== 'string') return new Redis({ ...settings, ...commandSettings, ...options })
  if (!URL.canParse(options) || !/^rediss?:$/.test(new URL(options).protocol)) {
    throw new LockstepError(
      'OPTION_INVALID',
      'option "redis" is no URL of Redis; redis://user:password@host:6379/0 would do',
    )
  }
  return new Redis(options, { ...settings, ...commandSettings })
}

function ready(redis: Redis, deadlineMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    if (redis.status === 'ready') return resolve()
    const timer = setTimeout(() => settle(new Error(`no answer in ${deadlineMs} ms`)), deadlineMs)
    const settle = (error?: unknown): void => {
      clearTimeout(timer)
      redis.off('ready', settle)
      redis.off('error', settle)
      if (error) reject(error)
      else resolve()
    }
    redis.once('ready', () => settle())
    redis.once('error', settle)
    if (redis.status === 'wait') redis.connect().catch(settle)
  })
}

async function checkServer(redis: Redis): Promise<void> {
  const info = await redis.info('server')
  const version = /redis_version:(\d+)\.(\S+)/.exec(info)
  if (version && Number(version[1]) < oldestMajor) {
    throw refused(`version ${version[1]}.${version[2]} has no script flags; 7.0 or newer would do`)
  }
}

function isRefusal(error: unknown): boolean {
  return /WRONGPASS|NOAUTH|NOPERM|invalid password|invalid username|DENIED|without any password/i.test(
    messageOf(error),
  )
}

function refused(message: string, cause?: unknown): LockstepError {
  return new LockstepError(
    'REDIS_REFUSED',
    `Redis: ${message}`,
    cause === undefined ? undefined : { cause },
  )
}

/** Is this error an answer of a server that is well? Loading, read-only or failing over, it is not. */
export function isRedisAnswer(error: unknown): boolean {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return false
  return !/^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|UNBLOCKED)/.test(error.message)
}
