import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { installDebianPackage } from './debian.mjs'
import { folderWith, hasProtocol, pathFolders, startServer } from './server.mjs'

const OLDEST_MAJOR = 7
const DEBIAN_SERVER = '/usr/bin/redis-server'

export const redis = {
  name: 'Redis',
  key: 'redis',
  variable: 'REDIS_URL',
  accepts: (url) => hasProtocol(url, ['redis:', 'rediss:']),
  example: 'redis://host:port',
  standardAddress: '127.0.0.1:6379',
  standardUrls: () => ['redis://127.0.0.1:6379'],
  composePort: 6379,
  composeUrl: (port) => `redis://127.0.0.1:${port}`,
  advice: 'Debian, Ubuntu: apt-get install redis-server. macOS: brew install redis.',
  probe,
  // Keys carry the clone's namespace, so nothing is to be set up in a server that others use.
  claim: async (url) => ({ url, version: await probe(url) }),
  startInstalled,
  startFetched,
}

/** The server's version; throws unless a primary answers that is new enough. */
async function probe(url) {
  const info = await infoOf(url)
  if (info.role !== 'master') throw new Error('is a replica, which takes no writes')
  if (Number.parseInt(info.redis_version, 10) < OLDEST_MAJOR) {
    throw new Error(`is Redis ${info.redis_version}; Lockstep needs ${OLDEST_MAJOR}.0 or newer`)
  }
  return info.redis_version
}

async function infoOf(url) {
  const { Redis } = await import('ioredis')
  const client = new Redis(url, {
    lazyConnect: true,
    connectTimeout: 2_000,
    commandTimeout: 2_000,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  })
  // The promise only says that the connection is closed, the event why.
  let cause
  client.on('error', (error) => {
    cause ??= error
  })
  try {
    await client.connect()
    return parseInfo(await client.info())
  } catch (error) {
    throw cause ?? error
  } finally {
    client.disconnect()
  }
}

function parseInfo(text) {
  const lines = text.split('\r\n').filter((line) => line.includes(':'))
  return Object.fromEntries(lines.map((line) => line.split(/:(.*)/).slice(0, 2)))
}

function startInstalled(checkout, { settings }) {
  const folder = folderWith(['redis-server'], binaryFolders(settings))
  if (!folder) throw new Error('no redis-server on the PATH')
  return start(checkout, join(folder, 'redis-server'), `installed (${folder})`)
}

function binaryFolders(settings) {
  return [...pathFolders(settings), '/opt/homebrew/bin', '/usr/local/bin', '/usr/bin']
}

function start(checkout, command, how) {
  const dataDir = join(checkout.state, `redis-${checkout.id}`)
  mkdirSync(dataDir, { recursive: true })
  return startServer(checkout, {
    service: 'redis',
    how,
    command,
    // A cache needs nothing on disk, and a dump would be a second truth after a restart.
    args: (port) => ['--port', String(port), '--bind', '127.0.0.1', '--dir', dataDir, '--save', ''],
    url: (port) => `redis://127.0.0.1:${port}`,
    isReady: (url, pid) => isProcess(url, pid),
    stopSignals: ['SIGTERM', 'SIGKILL'],
    dataDir,
    cwd: dataDir,
    logFile: join(checkout.state, 'redis.log'),
  })
}

/** Whether it is this very process that answers, and not one that took the port before it. */
async function isProcess(url, pid) {
  return (await infoOf(url)).process_id === String(pid)
}

function startFetched(checkout, { settings, say }) {
  if (!existsSync(DEBIAN_SERVER)) installDebianPackage('redis-server', settings, say)
  return start(checkout, DEBIAN_SERVER, 'Debian package redis-server')
}
