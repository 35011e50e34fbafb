/**
 * What goes wrong in the demo on purpose (`--chaos`): its own processes are killed and stopped, its own
 * connections cut, its own keys deleted from Redis. The servers may have other users, who notice nothing.
 */
import { setTimeout } from 'node:timers/promises'
import type { LogLevel } from '../config.ts'
import { messageOf } from '../model/errors.ts'
import { openPool, type Pool } from '../postgres/pool.ts'
import { connectRedis, type RedisConnections } from '../redis/connection.ts'
import { commandLog } from '../telemetry/log.ts'
import type { Crew } from './crew.ts'
import type { Addresses } from './services.ts'

export interface ChaosResults {
  readonly kills: number
  readonly stops: number
  /** The kinds that came. */
  readonly faults: readonly string[]
}

interface ChaosOptions {
  readonly crew: Crew
  readonly namespace: string
  readonly seconds: number
  readonly random: () => number
  readonly line: (text: string) => void
}

export interface Chaos {
  /** For the processes: by these their connections are told from those of all others. */
  readonly addresses: Addresses
  begin(options: ChaosOptions): void
  /** Never rejects. */
  end(): Promise<void>
  readonly results: ChaosResults
}

const redisDeadlineMs = 2_000

export async function openChaos(
  addresses: Addresses,
  logLevel: LogLevel | undefined,
): Promise<Chaos> {
  const connectionName = `lockstep-demo-${process.pid}`
  const log = commandLog('lockstep demo', logLevel)
  const pool = openPool(addresses.databaseUrl)
  const redis = await connectRedis(addresses.redisUrl, 'lockstep:demo', redisDeadlineMs, log)
  const ended = new AbortController()
  const results = new Map<string, number>()
  let wreaking = Promise.resolve()
  return {
    addresses: namedAddresses(addresses, connectionName),
    begin: (options) => {
      const site = { ...options, pool, redis: redis.commands, connectionName }
      wreaking = wreak(site, results, ended.signal)
    },
    end: async () => {
      ended.abort()
      await wreaking
      redis.close()
      await pool.close()
    },
    get results() {
      return {
        kills: results.get('sigkill') ?? 0,
        stops: results.get('sigstop') ?? 0,
        faults: [...results.keys()].sort(),
      }
    },
  }
}

interface Site extends ChaosOptions {
  readonly pool: Pool
  readonly redis: RedisConnections['commands']
  readonly connectionName: string
}

type Fault = (site: Site, process: number) => Promise<string>

const faults: Readonly<Record<string, Fault>> = {
  sigkill: async ({ crew }, process) => {
    await crew.replace(process)
    return `process ${process} was killed, and another has taken its place`
  },
  sigstop: async ({ crew, random }, process) => {
    const ms = Math.round(shortestStopMs + random() * longerStopMs)
    crew.send(process, 'SIGSTOP')
    try {
      await setTimeout(ms)
    } finally {
      crew.send(process, 'SIGCONT')
    }
    return `process ${process} was stopped for ${ms} ms, and goes on`
  },
  'backend-killed': async ({ pool, connectionName }) => {
    const { rows } = await pool.knex.raw<{ rows: readonly unknown[] }>(
      'select pg_terminate_backend(pid) from pg_stat_activity where application_name = ?',
      [connectionName],
    )
    return `PostgreSQL has ended ${rows.length} connections`
  },
  'redis-cut': async ({ redis, connectionName }) => {
    const clients = String(await redis.call('client', 'list')).split('\n')
    const own = clients.filter((client) => client.includes(` name=${connectionName} `))
    for (const client of own) {
      await redis.call('client', 'kill', 'id', /^id=(\d+)/.exec(client)?.[1] as string)
    }
    return `Redis has ended ${own.length} connections`
  },
  'redis-evict': async ({ redis, namespace }) => {
    let keys = 0
    let cursor = '0'
    do {
      const pattern = `${namespace.replaceAll(/[\\*?[\]]/g, '\\$&')}:*`
      const found = await redis.call('scan', cursor, 'match', pattern, 'count', '1000')
      const [next, some] = found as [string, string[]]
      if (some.length > 0) keys += Number(await redis.call('unlink', ...some))
      cursor = next
    } while (cursor !== '0')
    return `Redis has lost ${keys} keys: values, fences, the barrier`
  },
}

const pauseMs = 500
const shortestStopMs = 400
/** Some stops are shorter than the bound, and some are longer. */
const longerStopMs = 1_600
/** None so late that nobody would see what comes of it. */
const calmMs = 1_500

/** One fault after another, each kind before one comes again; resolves when it is time to end. */
async function wreak(site: Site, counts: Map<string, number>, signal: AbortSignal): Promise<void> {
  const { crew, line, random, seconds } = site
  const endMs = performance.now() + seconds * 1_000 - calmMs
  let waiting: string[] = []
  for (;;) {
    await setTimeout(pauseMs, undefined, { signal }).catch(() => {})
    if (signal.aborted || performance.now() > endMs) return
    if (waiting.length === 0) waiting = Object.keys(faults)
    const [kind] = waiting.splice(Math.floor(random() * waiting.length), 1) as [string]
    try {
      const fault = faults[kind] as Fault
      line(`chaos: ${await fault(site, Math.floor(random() * crew.size))}`)
      counts.set(kind, (counts.get(kind) ?? 0) + 1)
    } catch (error) {
      line(`chaos: ${kind} failed: ${messageOf(error)}`)
    }
  }
}

function namedAddresses(addresses: Addresses, connectionName: string): Addresses {
  return {
    ...addresses,
    databaseUrl: withParameter(addresses.databaseUrl, 'application_name', connectionName),
    redisUrl: withParameter(addresses.redisUrl, 'connectionName', connectionName),
  }
}

function withParameter(url: string, name: string, value: string): string {
  const changed = new URL(url)
  changed.searchParams.set(name, value)
  return changed.href
}
