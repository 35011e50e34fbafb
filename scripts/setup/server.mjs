import { spawn } from 'node:child_process'
import { accessSync, closeSync, constants, openSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { readText } from './checkout.mjs'
import { startTimeOf, stopRecorded, writeRecord } from './process-record.mjs'
import { until } from './until.mjs'

const READY_TIMEOUT_MS = 60_000
const ATTEMPTS = 20
const RETRY_MS = 200
// Between our look and the server's start somebody else may take the port; and when PostgreSQL was
// killed, its other processes outlive it for a moment and hold on to the data folder.
const PASSING = /address already in use|pre-existing shared memory block/i

/**
 * Starts a server that outlives this process, on a free port, and writes its record. `launch` says
 * how: { service, how, command, args(port), url(port), isReady(url, pid), stopSignals, dataDir,
 * cwd, user, logFile }. `args` may take its time.
 */
export async function startServer(checkout, launch) {
  for (let attempt = 1; ; attempt += 1) {
    const server = await startOn(checkout, launch, await freePort())
    if (server.record) return server.record
    if (!PASSING.test(server.log) || attempt === ATTEMPTS) {
      throw new Error(`${launch.command} did not start: ${lastLines(server.log)}`)
    }
    await pause(RETRY_MS)
  }
}

/** The first folder that holds all of these programs, or undefined. */
export function folderWith(programs, folders) {
  return folders.find((folder) => programs.every((program) => isExecutable(join(folder, program))))
}

export function pathFolders(settings) {
  return (settings.PATH ?? '').split(delimiter).filter(Boolean)
}

async function startOn(checkout, launch, port) {
  const { service, how, dataDir, stopSignals } = launch
  const child = spawnDetached(launch, await launch.args(port))
  const failure = failureOf(child)
  const url = launch.url(port)
  const startTime = child.pid && startTimeOf(child.pid)
  const record = { pid: child.pid, startTime, port, url, how, dataDir, stopSignals }
  // Written before the server answers, so that it is never left behind without a record.
  if (child.pid) writeRecord(checkout, service, record)

  let lastError
  const answer = async () => {
    if (failure()) return failure()
    return launch.isReady(url, child.pid).catch((error) => {
      lastError = error
    })
  }
  const ready = (await until(answer, READY_TIMEOUT_MS)) === true
  const failed = failure()
  child.unref()
  if (ready) return { record }
  await stopRecorded(checkout, service)
  return { log: [readText(launch.logFile), (failed ?? lastError)?.message].join('\n') }
}

/** Asks why the process has ended; undefined while it runs. */
function failureOf(child) {
  let failure
  child.once('error', (error) => {
    failure = error
  })
  child.once('exit', (code, signal) => {
    failure ??= new Error(`ended with ${signal ?? `exit code ${code}`}`)
  })
  return () => failure
}

function spawnDetached({ command, cwd, user, logFile }, args) {
  const log = openSync(logFile, 'w', 0o600)
  try {
    // A session of its own: Ctrl-C in the terminal is not for the server.
    const apart = { detached: true, stdio: ['ignore', log, log], cwd }
    // The log is searched for English words.
    const env = { ...process.env, LC_ALL: 'C' }
    return spawn(command, args, { ...apart, env, ...idsOf(user) })
  } finally {
    closeSync(log)
  }
}

/** What spawn needs to run a program as this user; nothing where it is ourselves. */
export function idsOf(user) {
  return user ? { uid: user.uid, gid: user.gid } : {}
}

export function hasProtocol(url, protocols) {
  return URL.canParse(url) && protocols.includes(new URL(url).protocol)
}

export async function freePort() {
  const probe = createServer()
  await new Promise((resolve, reject) => {
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', resolve)
  })
  const { port } = probe.address()
  await new Promise((resolve) => probe.close(resolve))
  return port
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function lastLines(text) {
  return text.trim().split('\n').slice(-6).join('\n    ')
}
