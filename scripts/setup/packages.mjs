import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { readJson, SetupError } from './checkout.mjs'

/** Runs `npm ci` unless node_modules holds exactly what package-lock.json asks for. */
export function installPackages(checkout, say) {
  if (arePackagesInstalled(checkout)) return
  say('Installing packages (npm ci)')
  // A NODE_ENV=production in the environment would leave the compiler out.
  const status = runNpm(['ci', '--include=dev', '--no-audit', '--no-fund'], { cwd: checkout.root })
  if (status !== 0) throw new SetupError(`npm ci failed (exit code ${status}): see above.`)
}

/** Runs npm with its output shown; its exit code. */
export function runNpm(args, options) {
  const cli = process.env.npm_execpath
  const [command, ...first] = cli?.endsWith('npm-cli.js') ? [process.execPath, cli] : ['npm']
  const shell = command === 'npm' && process.platform === 'win32'
  const npm = spawnSync(command, [...first, ...args], { stdio: 'inherit', shell, ...options })
  if (npm.error) throw new SetupError(`npm could not be run: ${npm.error.message}`)
  return npm.status
}

// npm writes down what it installed last, so no stamp of ours can be out of step with
// node_modules, and an install by hand counts too.
function arePackagesInstalled({ root }) {
  const wanted = readJson(join(root, 'package-lock.json'))?.packages
  const present = readJson(join(root, 'node_modules', '.package-lock.json'))?.packages
  if (!wanted || !present) return false
  const fits = ([path, entry]) =>
    path === '' || (present[path] ? present[path].version === entry.version : entry.optional)
  return Object.entries(wanted).every(fits) && Object.keys(present).every((path) => path in wanted)
}
