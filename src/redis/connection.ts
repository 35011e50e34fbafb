/** The connections to Redis: one for commands, one that listens to the fast plane. */
import { Redis, type RedisOptions } from 'ioredis'
import { systemClock } from '../model/clock.ts'
import { isPlainObject, wrong } from '../model/entity.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { withDeadline } from '../resilience/deadline.ts'
import { readScripts, runScript } from './scripts.ts'

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
    keyPrefix: '',
    // It may be silent for hours.
    socketTimeout: undefined,
  } as RedisOptions)
  let lastError: unknown
  const noteError = (error: unknown): void => {
    lastError = error
  }
  // Without a listener ioredis prints each failed attempt.
  for (const connection of [commands, subscriber]) connection.on('error', noteError)
  // Again after each reconnect.
  subscriber.on('ready', () => {
    subscriber.subscribe(bus).catch(noteError)
  })
  const connections: RedisConnections = {
    commands,
    subscriber,
    close: () => {
      subscriber.disconnect()
      if (isOwn) commands.disconnect()
      else commands.off('error', noteError)
    },
  }
  try {
    await inTime(deadlineMs, async (signal) => {
      await ready(commands, signal)
      await checkServer(commands, bus)
      await ready(subscriber, signal)
      await subscriber.subscribe(bus)
    })
  } catch (error) {
    const refusal = [error, lastError].find(isRefusal)
    if (refusal !== undefined) {
      connections.close()
      throw refusal instanceof LockstepError ? refusal : refused(messageOf(refusal), refusal)
    }
    log.warn(
      { err: lastError ?? error },
      'Redis cannot be reached; the cache runs without it until it can',
    )
    if (subscriber.status === 'wait') subscriber.connect().catch(() => {})
  }
  return connections
}

function open(options: string | RedisOptions): Redis {
  if (typeof options !== 'string') {
    // Anything else would be taken for options without a host, which is this machine.
    if (!isPlainObject(options)) {
      throw wrong('redis', options, 'a URL, ioredis options or an ioredis instance would do')
    }
    return new Redis({ ...settings, ...commandSettings, ...options })
  }
  if (!isRedisUrl(options)) {
    throw new LockstepError(
      'OPTION_INVALID',
      'option "redis" is no URL of Redis; redis://user:password@host:6379/0 would do',
    )
  }
  return new Redis(options, { ...settings, ...commandSettings })
}

function isRedisUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, password } = new URL(text)
  try {
    decodeURIComponent(username + password)
  } catch {
    return false
  }
  return protocol === 'redis:' || protocol === 'rediss:'
}

/** Rejects when the deadline is over; `call` goes on, to no effect. */
function inTime(deadlineMs: number, call: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const late = (): Error => new Error(`no answer in ${deadlineMs} ms`)
  return withDeadline(deadlineMs, late, undefined, systemClock, call)
}

/** Rejects with the first error on the way: it may be the reason why there will be no second try. */
function ready(redis: Redis, signal: AbortSignal): Promise<void> {
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

async function checkServer(redis: Redis, bus: string): Promise<void> {
  const info = await redis.info('server')
  const version = /redis_version:(\d+)\.(\S+)/.exec(info)
  if (version && Number(version[1]) < oldestMajor) {
    throw refused(`version ${version[1]}.${version[2]} has no script flags; 7.0 or newer would do`)
  }
  // ioredis goes on with database 0 when the one that was asked for doesn't exist.
  const { db } = redis.options
  if (db) await redis.select(db)
  await redis.mget(bus)
  try {
    await runScript(redis, readScripts().probe, [`${bus}:probe`], [bus])
  } catch (error) {
    // Inside a script Redis words a missing right in other ways than NOPERM, and by version.
    if (/user executing the script|ACL failure in script/i.test(messageOf(error))) {
      throw refused(`NOPERM in a script: ${messageOf(error)}`, error)
    }
    throw error
  }
}

function isRefusal(error: unknown): boolean {
  if (error instanceof LockstepError) return true
  return /WRONGPASS|NOAUTH|NOPERM|No permissions|invalid password|invalid username|DENIED|without any password|DB index/i.test(
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
