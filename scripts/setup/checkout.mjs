import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'

/** A mistake or lack that the user can mend: its message is all that is printed. */
export class SetupError extends Error {}

/** Where a clone keeps its things, and the names that tell it apart from other clones. */
export function checkoutAt(folder) {
  const root = realpathSync(folder)
  const id = createHash('sha256').update(root).digest('hex').slice(0, 8)
  const state = join(root, '.lockstep')
  mkdirSync(state, { recursive: true })
  return { root, id, state, namespace: `lockstep-${id}`, database: `lockstep_${id}` }
}

/** The environment, over the clone's `.env` file. A variable that is set but empty is not set. */
export function settingsOf(checkout, env = process.env) {
  const set = Object.entries(env).filter(([, value]) => value !== '')
  return { ...parseEnv(readText(join(checkout.root, '.env')) ?? ''), ...Object.fromEntries(set) }
}

/** What the last setup found: `{ namespace, postgres, redis }`, or undefined. */
export function readServices(checkout) {
  return readJson(servicesFile(checkout))
}

export function writeServices(checkout, services) {
  writeJson(servicesFile(checkout), services)
}

export function servicesFile(checkout) {
  return join(checkout.state, 'services.json')
}

export function readText(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  }
}

/** The file's value; undefined where there is no file or it holds no JSON. */
export function readJson(file) {
  const text = readText(file)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Readers see the old file or the new one. Only the owner may read it: it can hold a password. */
export function writeJson(file, value) {
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 })
  renameSync(draft, file)
}
