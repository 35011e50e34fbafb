/** The clients of Redis, as the option says. */
import { Cluster, type ClusterNode, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'
import { isPlainObject, wrong } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { RedisClient } from './call.ts'

/**
 * - a URL: `redis://user:password@host:6379/0`, `rediss://…` for TLS
 * - ioredis options, of one server or of Sentinel
 * - a cluster: some of its nodes, and ioredis' options of a cluster (`redisOptions` for password and TLS)
 * - an ioredis `Redis` or `Cluster` of one's own, which stays open
 */
export type RedisConnectionOptions =
  | string
  | RedisOptions
  | {
      readonly cluster: readonly ClusterNode[]
      readonly options?: ClusterOptions
    }
  | Redis
  | Cluster

const longestRetryDelayMs = 1_000

const retryDelayMs = (tries: number): number =>
  Math.min(longestRetryDelayMs, 20 * 2 ** Math.min(tries, 10)) * (0.5 + Math.random() / 2)

// An answer that comes late is of no use: nothing waits in a queue for a connection, and nothing is
// sent again after a reconnect.
const settings = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 2_000,
  // How long a server that hangs may keep this process after a close.
  disconnectTimeout: 50,
  keepAlive: 10_000,
  retryStrategy: retryDelayMs,
} satisfies RedisOptions

// A connection that is cut without a word (half-open) would never be opened anew.
const commandSettings: RedisOptions = { ...settings, socketTimeout: 2_000 }

// The delays fit the deadline of a call: what takes longer is unavailable, and the call is given up.
const clusterSettings = {
  lazyConnect: true,
  enableOfflineQueue: false,
  maxRedirections: 5,
  retryDelayOnFailover: 20,
  retryDelayOnClusterDown: 20,
  retryDelayOnTryAgain: 20,
  slotsRefreshInterval: 5_000,
  clusterRetryStrategy: retryDelayMs,
} satisfies ClusterOptions

/** Not connected yet, unless it is an instance of the caller's. */
export function openCommands(options: RedisConnectionOptions): RedisClient {
  if (options instanceof Redis) return options
  if (options instanceof Cluster) return checkCluster(options)
  if (typeof options === 'string') return new Redis(checkUrl(options), commandSettings)
  // Anything else would be taken for options without a host, which is this machine.
  if (!isPlainObject(options)) {
    throw wrong(
      'redis',
      options,
      'a URL, ioredis options, { cluster: [{ host, port }] } or an ioredis instance would do',
    )
  }
  if (!('cluster' in options)) return new Redis({ ...commandSettings, ...options })
  const { cluster, options: own = {}, ...odd } = options
  checkNodes(cluster)
  if (!isPlainObject(own)) throw oddOption('options', 'ioredis options of a cluster')
  for (const name of Object.keys(odd)) throw oddOption(name, '{ cluster, options }')
  return checkCluster(
    new Cluster([...cluster], {
      ...clusterSettings,
      ...own,
      redisOptions: { ...commandSettings, ...own.redisOptions },
    }),
  )
}

// It may be silent for hours. Whoever holds it subscribes again after each reconnect: where the
// connection has broken by then, ioredis leaves a rejection without a handler, which ends a process.
// Without the ready check it would take such a connection for ready, and never open another.
const listenerSettings = {
  ...settings,
  autoResubscribe: false,
  enableReadyCheck: true,
  keyPrefix: '',
  socketTimeout: undefined,
} as RedisOptions

interface Listener {
  readonly connection: Redis
  /** Connects; on a cluster once a node is known, and again when its node is no longer one. */
  readonly follow: () => void
}

/** A connection that listens only. On a cluster any node will do: what is published on one, all tell. */
export function openListener(commands: RedisClient): Listener {
  if (commands instanceof Cluster) return openClusterListener(commands)
  const connection = commands.duplicate(listenerSettings)
  const follow = (): void => {
    if (connection.status === 'wait') connection.connect().catch(() => {})
  }
  return { connection, follow }
}

function openClusterListener(cluster: Cluster): Listener {
  const aim = (): boolean => {
    const nodes = cluster.nodes()
    const node = nodes[Math.floor(Math.random() * nodes.length)]
    if (!node) return false
    const { host, port, family, username, password, tls } = node.options
    // Read again by each attempt to connect.
    Object.assign(connection.options, { host, port, family, username, password, tls })
    return true
  }
  const connection = new Redis({
    ...cluster.options.redisOptions,
    ...listenerSettings,
    retryStrategy: (tries: number) => {
      aim()
      return retryDelayMs(tries)
    },
  } as RedisOptions)
  const isOfCluster = ({ host, port }: RedisOptions): boolean =>
    cluster.nodes().some(({ options }) => options.host === host && options.port === port)
  const follow = (): void => {
    if (connection.status === 'wait') {
      if (aim()) connection.connect().catch(() => {})
    } else if (!isOfCluster(connection.options)) connection.disconnect(true)
  }
  return { connection, follow }
}

/** Without its value, which may be a password. */
function oddOption(name: string, whatWouldDo: string): LockstepError {
  return new LockstepError('OPTION_INVALID', `option "redis.${name}": ${whatWouldDo} would do`)
}

function checkCluster(cluster: Cluster): Cluster {
  const { scaleReads, keyPrefix } = cluster.options
  // A replica may not have been told of a write that has returned.
  if (scaleReads !== 'master') {
    throw wrong('redis.options.scaleReads', String(scaleReads), "'master' would do")
  }
  // An empty hash tag comes first, so that none counts: the keys of one id would lie in two slots.
  if (keyPrefix !== undefined && /^[^{]*\{\}/.test(keyPrefix)) {
    throw wrong('redis.options.keyPrefix', keyPrefix, "a prefix without '{}' would do")
  }
  return cluster
}

function checkNodes(nodes: unknown): void {
  const isNode = (node: unknown): boolean => {
    if (typeof node === 'string') return isRedisUrl(node)
    if (!isPlainObject(node)) return false
    const { host, port } = node as { host?: unknown; port?: unknown }
    return typeof host === 'string' && (port === undefined || Number.isSafeInteger(port))
  }
  if (Array.isArray(nodes) && nodes.length > 0 && nodes.every(isNode)) return
  throw oddOption('cluster', 'a list of nodes like [{ host: "10.0.0.1", port: 6379 }]')
}

function checkUrl(url: string): string {
  if (isRedisUrl(url)) return url
  throw new LockstepError(
    'OPTION_INVALID',
    'option "redis" is no URL of Redis; redis://user:password@host:6379/0 would do',
  )
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
