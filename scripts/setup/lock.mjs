import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { readJson, readText, SetupError } from './checkout.mjs'
import { startTimeOf } from './process-record.mjs'
import { until } from './until.mjs'

const HALF_WRITTEN_MS = 10_000

/** Runs `work` while no other setup or stop runs in this clone. */
export async function withLock(checkout, work, { say = console.log, waitMs = 600_000 } = {}) {
  const file = join(checkout.state, 'setup.lock')
  await takeLock(file, say, waitMs)
  try {
    return await work()
  } finally {
    rmSync(file, { force: true })
  }
}

async function takeLock(file, say, waitMs) {
  if (tryLock(file)) return
  say(`Waiting for another setup of this clone (process ${readJson(file)?.pid})`)
  const taken = await until(() => tryLock(file), waitMs, 100)
  if (!taken) {
    throw new SetupError(
      `Another setup has held ${file} for ${waitMs / 1000} s. ` +
        `End it, or remove the file (and ${file}.steal) if there is none.`,
    )
  }
}

function tryLock(file) {
  removeIfDead(file)
  return create(
    file,
    `${JSON.stringify({ pid: process.pid, startTime: startTimeOf(process.pid) })}\n`,
  )
}

// Two waiters may both find a dead holder. If each simply removed the file, the second would remove
// the lock that the first has just taken: so only who holds the second file removes, after a second
// look.
function removeIfDead(file) {
  if (!isDead(file)) return
  if (!create(`${file}.steal`, '')) return
  try {
    if (isDead(file)) rmSync(file, { force: true })
  } finally {
    rmSync(`${file}.steal`, { force: true })
  }
}

function isDead(file) {
  const text = readText(file)
  if (text === undefined) return false
  try {
    const { pid, startTime } = JSON.parse(text)
    return startTimeOf(pid) !== startTime
  } catch {
    const age = Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
    return age > HALF_WRITTEN_MS
  }
}

function create(file, text) {
  try {
    const descriptor = openSync(file, 'wx')
    writeSync(descriptor, text)
    closeSync(descriptor)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}
