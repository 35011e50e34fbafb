import { accessSync, constants, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { seedOf } from '../runs/seed.mjs'
import { UsageError } from '../runs/usage-error.mjs'

export const usage = `npm run history -- [options]

Simulates, grades the simulator by mutants, and lets real processes work under faults, side by side.

  --seconds N      how long (default: 60)
  --minutes N      the same in minutes
  --seed N         repeats schedules, workload and faults (default: a new one)
  --plane PLANE    kafka (default) or outbox: what the real processes hear of writes by
  --json           the result as one line of JSON on stdout, and nothing else there
  --check FILE     only judges the history in FILE, again
  --replay TOKEN   only runs one simulated schedule again, act by act

Exit code: 0 nothing wrong, 1 a violation, a mutant that was missed or a part that failed, 2 used wrongly.`

const longestSeconds = 86_400

/** `{ seconds, seed, plane, json }`, `{ check, json }`, `{ replay, json }` or `{ help }`; throws a `UsageError`. */
export function parseOptions(args) {
  const { help, json = false, check, replay, ...run } = parse(args)
  if (help) return { help }
  if (replay !== undefined) {
    const [other] = Object.keys({ ...run, ...(check === undefined ? {} : { check }) })
    if (other) throw new UsageError(`--replay runs what is there: --${other} can't go with it`)
    if (!/^\d+(:\d+(,\d+)*)?$/.test(replay)) {
      throw new UsageError(
        `--replay is "${replay}"; what a violation says, SEED:ACT,ACT,…, would do`,
      )
    }
    return { replay, json }
  }
  if (check !== undefined) {
    const [other] = Object.keys(run)
    if (other) throw new UsageError(`--check judges what is there: --${other} can't go with it`)
    return { check: readable(check), json }
  }
  const { seconds, minutes, seed, plane = 'kafka' } = run
  if (seconds !== undefined && minutes !== undefined) {
    throw new UsageError('--seconds and --minutes are two ways to say the same: one of them')
  }
  if (!['kafka', 'outbox'].includes(plane)) {
    throw new UsageError(`--plane is "${plane}"; kafka or outbox would do`)
  }
  return {
    seconds: secondsOf(seconds, minutes),
    seed: seedOf(seed),
    plane,
    json,
  }
}

function parse(args) {
  const text = { type: 'string' }
  const flag = { type: 'boolean' }
  const texts = { seconds: text, minutes: text, seed: text, plane: text, check: text, replay: text }
  try {
    return parseArgs({ args, options: { ...texts, json: flag, help: { ...flag, short: 'h' } } })
      .values
  } catch (error) {
    throw new UsageError(error.message)
  }
}

function secondsOf(seconds = '60', minutes) {
  const [name, given, factor] =
    minutes === undefined ? ['seconds', seconds, 1] : ['minutes', minutes, 60]
  const value = given.trim() === '' ? Number.NaN : Number(given) * factor
  if (value >= 1 && value <= longestSeconds) return value
  throw new UsageError(
    `--${name} is "${given}"; a number that makes 1 to ${longestSeconds} seconds would do`,
  )
}

function readable(file) {
  try {
    accessSync(file, constants.R_OK)
  } catch (error) {
    throw new UsageError(`--check is "${file}", which can't be read: ${error.message}`)
  }
  if (!statSync(file).isFile()) throw new UsageError(`--check is "${file}", which is no file`)
  return resolve(file)
}
