/** What `lockstep doctor` asks Redis: nothing that it is asked changes, or leaves, a key. */
import type { Redis } from 'ioredis'
import type { Clock } from '../model/clock.ts'
import {
  type Answer,
  type Answers,
  compareClocks,
  type Inspection,
  known,
  type RedisFacts,
  type RedisServerFacts,
} from '../model/doctor.ts'
import { messageOf } from '../model/errors.ts'
import { type Failure, networkFailure } from '../model/failure.ts'
import { abortable, deadlineIn } from '../resilience/deadline.ts'
import { disconnect } from './connection.ts'
import { keySpace } from './keys.ts'
import { openCommands } from './open.ts'
import { withoutCommand } from './refusal.ts'
import { readScripts, runScript } from './scripts.ts'

const deadlineMs = 5_000

/** Never rejects, and ends by itself. */
export async function inspectRedis(
  url: string,
  namespace: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Inspection<RedisFacts>> {
  const redis = openOnce(url)
  const at = `${redis.options.host}:${redis.options.port}`
  const deadline = deadlineIn(deadlineMs, clock)
  const inTime = AbortSignal.any([signal, deadline.signal])
  let firstError: unknown
  // Without a listener ioredis prints each of them.
  redis.on('error', (error: unknown) => {
    firstError ??= error
  })
  const ask: Ask = (question) => askedOf(() => abortable(question(), inTime))
  try {
    await abortable(redis.connect(), inTime)
    const info = await ask(() => redis.info())
    // Whoever hasn't come in is told so by each command.
    const failure = firstError ?? ('error' in info ? info.error : undefined)
    if (failure !== undefined && !isAboutRights(failure)) throw failure
    const facts = await factsOf(redis, namespace, clock, info, ask)
    const version = facts.server.isKnown ? ` ${facts.server.value.version}` : ''
    return { kind: 'reached', found: `Redis${version} at ${at}`, facts }
  } catch (error) {
    return { kind: 'unreachable', at, failure: failureOf(firstError ?? error) }
  } finally {
    deadline.end()
    disconnect(redis)
  }
}

/** A connection that doesn't come back, and shows a server that is still loading as well. */
function openOnce(url: string): Redis {
  return (openCommands(url) as Redis).duplicate({
    enableReadyCheck: false,
    retryStrategy: () => null,
  })
}

type Ask = <T>(question: () => Promise<T>) => Promise<Asked<T>>
type Asked<T> = Answer<T> & { readonly error?: unknown }

async function askedOf<T>(question: () => Promise<T>): Promise<Asked<T>> {
  try {
    return known(await question())
  } catch (error) {
    return { isKnown: false, why: messageOf(withoutCommand(error)), error }
  }
}

async function factsOf(
  redis: Redis,
  namespace: string,
  clock: Clock,
  info: Answer<string>,
  ask: Ask,
): Promise<Answers<RedisFacts>> {
  const { bus, claim } = keySpace(namespace)
  // Side by side: they go out together, and one that gets no answer keeps none of the others.
  const [time, denied, refusal, owner, pubsub, cluster] = await Promise.all([
    ask(() => compareClocks(clock, () => askClock(redis))),
    ask(() => askRights(redis, `${bus}:probe`, bus)),
    ask(() => askWrite(redis, `${bus}:probe`)),
    ask(() => redis.get(claim)),
    ask(() => askPubsub(redis)),
    ask(() => askCluster(redis, info)),
  ])
  return {
    server: info.isKnown ? known(serverOf(info.value)) : info,
    clock: time,
    rights: denied,
    write: refusal,
    claim: owner.isKnown ? known(owner.value ?? undefined) : owner,
    pubsub,
    cluster,
  }
}

async function askClock(redis: Redis): Promise<number> {
  const [seconds, microseconds] = await redis.time()
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000
}

/** EVALSHA and EVAL themselves are tried; the script asks for the rest. */
async function askRights(redis: Redis, key: string, bus: string): Promise<RedisFacts['rights']> {
  const { source, sha } = readScripts()['doctor-rights']
  const denied = new Set<string>()
  for (const [command, text] of [
    ['EVALSHA', sha],
    ['EVAL', source],
  ] as const) {
    try {
      const names = (await redis.call(command, text, 1, key, bus)) as readonly string[]
      for (const name of names) denied.add(name)
    } catch (error) {
      if (isAboutRights(error)) denied.add(command)
      else if (!messageOf(error).startsWith('NOSCRIPT')) throw error
    }
  }
  return { denied: [...denied] }
}

async function askWrite(redis: Redis, key: string): Promise<RedisFacts['write']> {
  try {
    await runScript(redis, readScripts()['doctor-write'], [key], [])
    return { refusal: undefined }
  } catch (error) {
    if (error instanceof Error && error.name === 'ReplyError') {
      return { refusal: messageOf(withoutCommand(error)) }
    }
    throw error
  }
}

async function askPubsub(redis: Redis): Promise<RedisFacts['pubsub']> {
  const [, limits = ''] = (await redis.config('GET', 'client-output-buffer-limit')) as string[]
  const [, hard = '0', soft = '0', seconds = '0'] = /pubsub (\d+) (\d+) (\d+)/.exec(limits) ?? []
  return { hardBytes: Number(hard), softBytes: Number(soft), softSeconds: Number(seconds) }
}

async function askCluster(redis: Redis, info: Answer<string>): Promise<RedisFacts['cluster']> {
  if (!info.isKnown || fieldOf(info.value, 'redis_mode') !== 'cluster') return { state: undefined }
  return { state: fieldOf(String(await redis.cluster('INFO')), 'cluster_state') }
}

function serverOf(info: string): RedisServerFacts {
  const text = (field: string): string => fieldOf(info, field) ?? ''
  const number = (field: string): number => Number(fieldOf(info, field) ?? 0)
  return {
    version: text('redis_version'),
    mode: text('redis_mode'),
    isReplica: text('role') === 'slave',
    replicas: number('connected_slaves'),
    needsReplicas: fieldOf(info, 'min_slaves_good_slaves') !== undefined,
    isLoading: number('loading') === 1,
    usedBytes: number('used_memory'),
    mostBytes: number('maxmemory'),
    policy: text('maxmemory_policy'),
    residentBytes: number('used_memory_rss'),
    clients: number('connected_clients'),
    mostClients: number('maxclients'),
  }
}

function fieldOf(info: string, field: string): string | undefined {
  return new RegExp(`^${field}:(.*?)\\r?$`, 'm').exec(info)?.[1]
}

function isAboutRights(error: unknown): boolean {
  return /NOPERM|no permissions/i.test(messageOf(error))
}

const sayings: readonly (readonly [RegExp, Failure['kind']])[] = [
  [/WRONGPASS|NOAUTH|invalid password|invalid username/i, 'password'],
  [/NOPERM/i, 'rights'],
  [/DB index/i, 'database'],
  [/max number of clients/i, 'full'],
  [/DENIED|Connection is closed/i, 'cut'],
  [/no answer|timeout|ETIMEDOUT/i, 'silent'],
  [/Protocol error|Parser/i, 'stranger'],
]

function failureOf(error: unknown): Failure {
  const shown = withoutCommand(error)
  const detail = messageOf(shown)
  const said = sayings.find(([saying]) => saying.test(detail))?.[1]
  return networkFailure(error) ?? { kind: said ?? 'other', detail }
}
