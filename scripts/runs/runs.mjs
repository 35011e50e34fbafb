/**
 * Runs of parts, each one file of tests under vitest.history.config.ts, in processes of their own: what
 * is asked goes there in LOCKSTEP_ASKED, what each has found comes back in a file (test/history/asked.ts).
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readJson } from '../setup/checkout.mjs'
import { UsageError } from './usage-error.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

export const say = (text) => process.stderr.write(`${text}\n`)

/** For one command: `name` is its folder, under .lockstep for what it leaves behind. */
export function openRuns(name) {
  const folder = join(root, '.lockstep', name)
  /** Its being there tells the parts to end: they clean up, and nobody waits longer than for that. */
  const stop = join(folder, `stop-${process.pid}`)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // A second one ends this process as it would any other.
    process.once(signal, () => {
      say('Ending what runs; once more to leave it alone.')
      mkdirSync(folder, { recursive: true })
      writeFileSync(stop, '')
    })
  }
  return {
    folder,
    main: (command) => main(command, stop),
    prepare: () => prepare(stop),
    run: (asked, options) => runParts(asked, { folder, stop, ...options }),
  }
}

/** Exit code: 0 as it should be, 1 not, 2 used wrongly. */
async function main({ parseOptions, usage, doneAs }, stop) {
  try {
    const options = parseOptions(process.argv.slice(2))
    if (options.help) console.log(usage)
    else process.exitCode = (await doneAs(options)) ? 0 : 1
  } catch (error) {
    const isUsage = error instanceof UsageError
    say(isUsage ? `${error.message}\n\n${usage}` : error.message)
    process.exitCode = isUsage ? 2 : 1
  } finally {
    rmSync(stop, { force: true })
  }
}

/** What `npm test` does before: but stdout is for the result. */
async function prepare(stop) {
  for (const script of ['setup.mjs', 'test-tools.mjs']) {
    if (existsSync(stop)) throw new Error('ended before it began')
    const code = await run([process.execPath, join(root, 'scripts', script)], {})
    if (code !== 0) throw new Error(`scripts/${script} failed`)
  }
}

/** What each part has left behind; they run side by side. */
async function runParts(asked, { folder, stop, withServices = false }) {
  mkdirSync(folder, { recursive: true })
  const resultOf = (part) => join(folder, `${part}-${process.pid}.json`)
  const results = Object.fromEntries(asked.parts.map((part) => [part, resultOf(part)]))
  const services = [process.execPath, join(root, 'scripts', 'with-services.mjs')]
  const vitest = [process.execPath, join(root, 'node_modules', 'vitest', 'vitest.mjs')]
  const config = ['--config', 'vitest.history.config.ts']
  const files = asked.parts.map((part) => `${part}.run.ts`)
  const environment = {
    LOCKSTEP_ASKED: JSON.stringify({ ...asked, results, stop, pid: process.pid }),
  }
  try {
    const before = withServices ? services : []
    const code = await run([...before, ...vitest, 'run', ...config, ...files], environment)
    if (existsSync(stop)) throw new Error('ended before its time: nothing follows from it')
    const found = asked.parts.map((part) => [part, readJson(results[part])])
    const missing = found.filter(([, result]) => !result).map(([part]) => part)
    if (missing.length > 0) throw new Error(`no result: ${missing.join(', ')}`)
    if (code !== 0) throw new Error('a part failed')
    return Object.fromEntries(found)
  } finally {
    for (const result of Object.values(results)) rmSync(result, { force: true })
  }
}

/** In a group of its own: Ctrl-C is for this process, which tells the others. */
function run([command, ...args], environment) {
  const env = { ...process.env, ...environment }
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 2, 2], detached: true })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
}
