// PostgreSQL refuses to run as root, so root runs it as another user; and that user must be able
// to enter the folder of its data, which a checkout under /root does not allow.

import { spawnSync } from 'node:child_process'
import { chmodSync, lstatSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { idsOf } from './server.mjs'

/** The user to run PostgreSQL as: undefined for ourselves. */
export function unprivilegedUser() {
  if (process.getuid() !== 0) return undefined
  for (const name of ['postgres', '_postgres', 'nobody']) {
    const uid = idFrom('-u', name)
    const gid = idFrom('-g', name)
    if (uid > 0 && gid > 0) return { name, uid, gid }
  }
  throw new Error('root may not run it, and there is neither a user postgres nor nobody')
}

/** The clone's folder, or one under the temp folder named after the clone, that the user can enter. */
export function enterableFolder(checkout, user) {
  if (canEnter(checkout.state, user)) return checkout.state
  for (const parent of new Set([tmpdir(), '/tmp'])) {
    const folder = join(parent, checkout.namespace)
    if (canEnter(parent, user) && isOwnFolder(folder)) return folder
  }
  throw new Error(`user ${user.name} can enter neither ${checkout.state} nor ${tmpdir()}`)
}

function canEnter(folder, user) {
  return spawnSync('test', ['-x', folder], idsOf(user)).status === 0
}

// Names under /tmp can be guessed: a folder or link that somebody else put there is not used.
function isOwnFolder(folder) {
  mkdirSync(folder, { recursive: true })
  const stats = lstatSync(folder)
  if (!stats.isDirectory() || stats.uid !== process.getuid()) return false
  chmodSync(folder, 0o755)
  return true
}

function idFrom(option, name) {
  const id = spawnSync('id', [option, name], { encoding: 'utf8' })
  return id.status === 0 ? Number(id.stdout) : Number.NaN
}
