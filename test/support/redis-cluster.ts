/** A Redis Cluster of a test's own: three primaries that share the slots. */
import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import { type AtEnd, freePort, type RedisServer, startRedis } from './servers.ts'
import { until } from './world.ts'

export interface ClusterServer extends RedisServer {
  readonly id: string
  /** An administrator's connection to this node alone. */
  readonly admin: Redis
}

interface ClusterReplica extends RedisServer {
  /** From here on it is the primary of its slots. */
  takeOver(): Promise<void>
}

export interface RedisCluster {
  /** Those that the slots were given to. */
  readonly nodes: readonly ClusterServer[]
  readonly replicas: readonly ClusterReplica[]
  /** What the option `redis` wants. */
  readonly cluster: { host: string; port: number }[]
  ownerOf(slot: number): Promise<ClusterServer>
  /** Opens the slot for its way to another node, and moves nothing yet. */
  openSlot(slot: number, to: ClusterServer): Promise<void>
  /** Moves keys of an open slot, by default all. */
  moveKeys(slot: number, to: ClusterServer, keys?: readonly string[]): Promise<void>
  /** All of its keys have been moved: the slot is the other node's. */
  closeSlot(slot: number, to: ClusterServer): Promise<void>
}

const slots = 16_384
const size = 3

export interface RedisClusterOptions {
  readonly config?: Readonly<Record<string, string>>
  readonly atEnd?: AtEnd
  /** Of the first nodes one each; none by default. */
  readonly replicas?: number
}

export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { atEnd = onTestFinished, replicas = 0 } = options
  const nodes = await Promise.all(
    Array.from({ length: size }, (_, index) => startNode(index, { ...options, atEnd })),
  )
  await Promise.all(
    nodes.map(({ admin }, index) =>
      admin.cluster(
        'ADDSLOTSRANGE',
        Math.floor((slots * index) / size),
        Math.floor((slots * (index + 1)) / size) - 1,
      ),
    ),
  )
  const [first, ...others] = nodes as [Node, ...Node[]]
  for (const { port, busPort } of others) {
    await first.admin.call('CLUSTER', 'MEET', '127.0.0.1', port, busPort)
  }
  const isWhole = async ({ admin }: Node): Promise<boolean> => {
    const info = String(await admin.cluster('INFO'))
    return /cluster_state:ok/.test(info) && info.includes(`cluster_size:${size}`)
  }
  await until('the nodes know each other and all slots', async () =>
    (await Promise.all(nodes.map(isWhole))).every(Boolean),
  )
  const copies: ClusterReplica[] = []
  for (const primary of nodes.slice(0, replicas)) {
    copies.push(await startReplica(primary, size + copies.length, { ...options, atEnd }))
  }
  const ownerOf = async (slot: number): Promise<Node> => {
    const ranges = await first.admin.cluster('SLOTS')
    const range = ranges.find(([from, to]) => from <= slot && slot <= to)
    const owner = nodes.find(({ port }) => port === range?.[2]?.[1])
    if (!owner) throw new Error(`no node has slot ${slot}`)
    return owner
  }
  const keysOf = async (slot: number, { admin }: Node): Promise<readonly string[]> =>
    (await admin.cluster('GETKEYSINSLOT', slot, 1_000)) as string[]
  return {
    nodes,
    replicas: copies,
    cluster: nodes.map(({ port }) => ({ host: '127.0.0.1', port })),
    ownerOf,
    openSlot: async (slot, to) => {
      const from = await ownerOf(slot)
      await to.admin.cluster('SETSLOT', slot, 'IMPORTING', from.id)
      await from.admin.cluster('SETSLOT', slot, 'MIGRATING', to.id)
    },
    moveKeys: async (slot, to, keys) => {
      const from = await ownerOf(slot)
      const moved = keys ?? (await keysOf(slot, from))
      if (moved.length === 0) return
      await from.admin.call('MIGRATE', '127.0.0.1', to.port, '', 0, 5_000, 'KEYS', ...moved)
    },
    closeSlot: async (slot, to) => {
      const from = await ownerOf(slot)
      const rest = nodes.filter((node) => node !== from && node.id !== to.id)
      for (const { admin } of [to, from, ...rest]) {
        await admin.cluster('SETSLOT', slot, 'NODE', to.id)
      }
    },
  }
}

type Node = ClusterServer & { readonly busPort: number }

async function startReplica(
  primary: Node,
  index: number,
  options: RedisClusterOptions & { atEnd: AtEnd },
): Promise<ClusterReplica> {
  const node = await startNode(index, options)
  const { admin } = node
  await admin.call('CLUSTER', 'MEET', '127.0.0.1', primary.port, primary.busPort)
  await until('it knows its primary', async () =>
    String(await admin.cluster('NODES')).includes(primary.id),
  )
  await admin.call('CLUSTER', 'REPLICATE', primary.id)
  await until('it has copied all', async () =>
    (await admin.info('replication')).includes('master_link_status:up'),
  )
  return {
    ...node,
    takeOver: async () => {
      await admin.call('CLUSTER', 'FAILOVER', 'TAKEOVER')
      await until('all others know', async () =>
        String(await primary.admin.cluster('NODES')).includes(`myself,slave ${node.id}`),
      )
    },
  }
}

async function startNode(
  index: number,
  { config, atEnd }: RedisClusterOptions & { atEnd: AtEnd },
): Promise<Node> {
  const busPort = await freePort()
  const server = await startRedis({
    atEnd,
    config: {
      'cluster-enabled': 'yes',
      'cluster-port': String(busPort),
      'cluster-node-timeout': '1000',
      // Without a node its slots are missing, and the others go on.
      'cluster-require-full-coverage': 'no',
      ...config,
    },
  })
  const admin = new Redis(server.url)
  admin.on('error', () => {})
  atEnd(() => admin.disconnect())
  // Else two nodes might begin with the same, and would have to settle it first.
  await admin.cluster('SET-CONFIG-EPOCH', index + 1)
  return { ...server, admin, busPort, id: String(await admin.cluster('MYID')) }
}
