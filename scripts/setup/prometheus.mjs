import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readText } from './checkout.mjs'
import { installDebianPackage } from './debian.mjs'
import { folderWith, hasProtocol, pathFolders, startServer } from './server.mjs'

const STANDARD_ADDRESS = '127.0.0.1:9090'
const DEBIAN_SERVER = '/usr/bin/prometheus'
const PROGRAMS = ['prometheus', 'promtool']
const OLDEST_MAJOR = 2

export const prometheus = {
  name: 'Prometheus',
  key: 'prometheus',
  variable: 'PROMETHEUS_URL',
  // Breakers go by what a process sees itself without it.
  isOptional: true,
  accepts: (url) => hasProtocol(url, ['http:', 'https:']),
  example: 'http://host:port',
  standardAddress: STANDARD_ADDRESS,
  standardUrls: () => [`http://${STANDARD_ADDRESS}`],
  composePort: 9090,
  composeUrl: (port) => `http://127.0.0.1:${port}`,
  advice: 'Debian, Ubuntu: apt-get install prometheus. macOS: brew install prometheus.',
  probe,
  // Series carry the clone's namespace, so nothing is to be set up in a server that others use.
  claim: async (url) => ({ url, version: await probe(url) }),
  startInstalled,
  startFetched,
}

/** The server's version; throws unless Prometheus itself answers. */
async function probe(url) {
  const at = new URL('api/v1/status/buildinfo', url.endsWith('/') ? url : `${url}/`)
  const headers = {}
  if (at.username || at.password) {
    const [user, password] = [at.username, at.password].map(decodeURIComponent)
    headers.authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    at.username = ''
    at.password = ''
  }
  const response = await fetch(at, { headers, signal: AbortSignal.timeout(2_000) }).catch(
    (error) => {
      throw error.cause ?? error
    },
  )
  const body = await response.json().catch(() => undefined)
  const version = body?.data?.version
  if (!response.ok || typeof version !== 'string') {
    throw new Error(`is no Prometheus that answers (HTTP ${response.status})`)
  }
  if (Number.parseInt(version, 10) < OLDEST_MAJOR) {
    throw new Error(`is Prometheus ${version}; Lockstep needs ${OLDEST_MAJOR}.0 or newer`)
  }
  return version
}

function startInstalled(checkout, { settings }) {
  const folder = folderWith(PROGRAMS, prometheusFolders(settings))
  if (!folder) throw new Error('no prometheus with promtool on the PATH')
  return start(checkout, join(folder, 'prometheus'), `installed (${folder})`)
}

/** Where its programs may be: what tests start servers of their own with, too. */
export function prometheusFolders(settings) {
  return [...pathFolders(settings), '/opt/homebrew/bin', '/usr/local/bin', '/usr/bin']
}

function start(checkout, command, how) {
  const dataDir = join(checkout.state, `prometheus-${checkout.id}`)
  const ops = join(checkout.root, 'ops/prometheus')
  mkdirSync(dataDir, { recursive: true })
  const config = join(dataDir, 'prometheus.yml')
  writeFileSync(config, configFor(readText(join(ops, 'prometheus.yml')) ?? '', ops))
  return startServer(checkout, {
    service: 'prometheus',
    how,
    command,
    args: (port) => prometheusArgs({ port, config, dataDir }),
    url: (port) => `http://127.0.0.1:${port}`,
    isReady: async (url) => (await fetch(`${url}/-/ready`)).ok,
    stopSignals: ['SIGTERM', 'SIGKILL'],
    dataDir,
    cwd: dataDir,
    logFile: join(checkout.state, 'prometheus.log'),
  })
}

/** On this machine, and not in a container: other names of places, and the rules where they are. */
export function configFor(text, ops) {
  return text
    .replaceAll('host.docker.internal', '127.0.0.1')
    .replace(
      /^( *- )([a-z]+\.yml)$/gm,
      (_, dash, file) => `${dash}${JSON.stringify(join(ops, file))}`,
    )
}

export function prometheusArgs({ port, config, dataDir }) {
  return [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(dataDir, 'data')}`,
    '--storage.tsdb.retention.time=1d',
    `--web.listen-address=127.0.0.1:${port}`,
  ]
}

function startFetched(checkout, { settings, say }) {
  if (!existsSync(DEBIAN_SERVER)) installDebianPackage('prometheus', settings, say)
  return start(checkout, DEBIAN_SERVER, 'Debian package prometheus')
}
