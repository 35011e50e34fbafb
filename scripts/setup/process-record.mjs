// What this clone started is written down in `.lockstep/<service>.json`. A process id alone proves
// nothing: the system gives it out again. So a record is believed only while a process with that
// id runs which also started at the recorded time, and only in the clone that wrote it (a copied
// checkout brings the records of the original along).

import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { readJson, readText, SetupError, writeJson } from './checkout.mjs'
import { until } from './until.mjs'

const STOP_TIMEOUT_MS = 15_000

/** Tells two processes with the same id apart; undefined when none with this id runs. */
export function startTimeOf(pid) {
  return process.platform === 'linux' ? startTimeFromProc(pid) : startTimeFromPs(pid)
}

export function writeRecord(checkout, service, record) {
  writeJson(recordFile(checkout, service), { root: checkout.root, ...record })
}

/** The record of a server that this clone started and that still runs. */
export function readRunning(checkout, service) {
  const record = readJson(recordFile(checkout, service))
  if (record?.root !== checkout.root || !Number.isInteger(record.pid)) return undefined
  return isRunning(record) ? record : undefined
}

/** Ends the recorded process if it is the one that was started; true if there was one to end. */
export async function stopRecorded(checkout, service) {
  const record = readRunning(checkout, service)
  if (record) await end(record)
  rmSync(recordFile(checkout, service), { force: true })
  return record !== undefined
}

function recordFile(checkout, service) {
  return join(checkout.state, `${service}.json`)
}

async function end(record) {
  for (const signal of record.stopSignals) {
    if (isRunning(record)) signalTo(record.pid, signal)
    if (await until(() => !isRunning(record), STOP_TIMEOUT_MS)) return
  }
  throw new SetupError(`Process ${record.pid} (${record.how}) does not end.`)
}

function signalTo(pid, signal) {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (error.code === 'ESRCH') return
    throw new SetupError(`Process ${pid} cannot be stopped by this user: ${error.message}`)
  }
}

function isRunning({ pid, startTime }) {
  return startTime !== undefined && startTimeOf(pid) === startTime
}

function startTimeFromProc(pid) {
  const stat = readProc(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  // The command's name is in brackets and may hold spaces and brackets: count from the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  // Ticks count from the boot, so the boot is part of the time.
  return `${readProc('/proc/sys/kernel/random/boot_id')?.trim()}:${fields[19]}`
}

function readProc(file) {
  try {
    return readText(file)
  } catch (error) {
    if (error.code === 'ESRCH') return undefined // ended between open and read
    throw error
  }
}

function startTimeFromPs(pid) {
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' }
  const ps = spawnSync('ps', ['-o', 'stat=', '-o', 'lstart=', '-p', String(pid)], { env })
  const [state, ...time] = String(ps.stdout ?? '')
    .trim()
    .split(/\s+/)
  return ps.status !== 0 || !state || state.startsWith('Z') ? undefined : time.join(' ')
}
