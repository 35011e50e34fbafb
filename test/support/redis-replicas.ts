/** Redis servers that copy each other, with a Sentinel that watches them where a test wants one. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import {
  folderWith,
  freePort,
  ownFolder,
  type RedisServer,
  redisFolders,
  ServerProcess,
  startRedis,
} from './servers.ts'
import { until } from './world.ts'

export interface ReplicatedServer extends RedisServer {
  /** An administrator's connection to it alone. */
  readonly admin: Redis
  /** It becomes a copy of another, and has all that lies there. */
  follow(other: ReplicatedServer): Promise<void>
  /** It keeps what it has, and hears of nothing any more; still a replica. */
  detach(): Promise<void>
  /** It is a primary from here on. */
  promote(): Promise<void>
}

export async function startReplicatedRedis(): Promise<ReplicatedServer> {
  const server = await startRedis({ config: { 'repl-diskless-sync-delay': '0' } })
  const admin = new Redis(server.url)
  admin.on('error', () => {})
  onTestFinished(() => admin.disconnect())
  return {
    ...server,
    admin,
    follow: async (other) => {
      await admin.replicaof('127.0.0.1', other.port)
      await until('it has copied all', async () => {
        const info = await admin.info('replication')
        return (
          info.includes(`master_port:${other.port}`) &&
          info.includes('master_link_status:up') &&
          offsetIn(info) === offsetIn(await other.admin.info('replication'))
        )
      })
    },
    detach: async () => {
      await admin.replicaof('127.0.0.1', await freePort())
    },
    promote: async () => {
      await admin.replicaof('NO', 'ONE')
    },
  }
}

function offsetIn(info: string): string | undefined {
  return /master_repl_offset:(\d+)/.exec(info)?.[1]
}

export interface Sentinel {
  readonly port: number
  /** The port of the primary that it names. */
  primaryPort(): Promise<number>
}

/** Watches a primary under the name `main`, and knows its replicas by now. */
export async function startSentinel(
  primary: ReplicatedServer,
  replicas: number,
): Promise<Sentinel> {
  const folder = ownFolder('lockstep-sentinel-')
  const port = await freePort()
  const file = join(folder, 'sentinel.conf')
  const settings = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor main 127.0.0.1 ${primary.port} 1`,
    'sentinel down-after-milliseconds main 500',
    'sentinel failover-timeout main 5000',
  ]
  writeFileSync(file, `${settings.join('\n')}\n`)
  const command = join(folderWith(['redis-server'], redisFolders()), 'redis-server')
  const ready = '+monitor master main'
  const server = new ServerProcess({ command, args: [file, '--sentinel'], cwd: folder, ready })
  await server.start()
  const admin = new Redis(port)
  admin.on('error', () => {})
  onTestFinished(() => admin.disconnect())
  await until('Sentinel knows the replicas', async () => {
    const known = (await admin.call('SENTINEL', 'REPLICAS', 'main')) as readonly string[][]
    return (
      known.length === replicas && known.every((one) => one[one.indexOf('flags') + 1] === 'slave')
    )
  })
  return {
    port,
    primaryPort: async () => {
      const address = await admin.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')
      return Number((address as readonly string[])[1])
    },
  }
}
