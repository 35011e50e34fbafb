// The proof (docs/reading-a-violation.md): simulated schedules, mutants, and a history of real
// processes; or, with --check, the verdict over a history that is there. `--help` says the rest.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseOptions, UsageError, usage } from './history/options.mjs'
import { isRight, reportOf, summaryOf, verdictText } from './history/report.mjs'
import { readJson } from './setup/checkout.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, '.lockstep', 'history')
const say = (text) => process.stderr.write(`${text}\n`)
/** Its being there tells the parts to end: they clean up, and nobody waits longer than for that. */
const stop = join(folder, `stop-${process.pid}`)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  // A second one ends this process as it would any other.
  process.once(signal, () => {
    say('Ending what runs; once more to leave it alone.')
    writeFileSync(stop, '')
  })
}

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

function doneAs(options) {
  if (options.check) return check(options)
  return options.replay ? replay(options) : prove(options)
}

async function replay({ replay: token, json }) {
  const { trace, violations } = (await runParts({ parts: ['replay'], replay: token }, [])).replay
  const lines = violations.map(({ atMs, invariant, text }) => `${atMs} ${invariant}: ${text}`)
  console.log(json ? JSON.stringify({ trace, violations }) : [...trace, '', ...lines].join('\n'))
  return violations.length === 0
}

async function check({ check: file, json }) {
  const { verdict, error } = (await runParts({ parts: ['check'], file }, [])).check
  if (error) throw new Error(error)
  console.log(json ? JSON.stringify(verdict) : verdictText(verdict))
  return verdict.found === 0
}

async function prove({ seconds, seed, plane, json }) {
  for (const script of ['setup.mjs', 'test-tools.mjs']) await prepare(script)
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `seed-${seed}-${plane}.jsonl`)
  say(`seed ${seed}, ${seconds} s; the history of the real processes: ${file}`)
  const services = [process.execPath, join(root, 'scripts', 'with-services.mjs')]
  const asked = { parts: ['simulation', 'real'], seconds, seed, plane, file }
  const { simulation, real } = await runParts(asked, services)
  const summary = summaryOf({ ...simulation, real, seed })
  for (const { seed: schedule, text } of simulation.simulated.violations) {
    say(`\nsimulated, ${schedule}: ${text}`)
  }
  for (const { text } of real.violations) say(`\nreal: ${text}`)
  if (real.found > 0) say(`\nThe same verdict again: npm run history -- --check ${file}`)
  console.log(json ? JSON.stringify(summary) : reportOf(summary))
  return isRight(summary)
}

/** What `npm test` does before: but stdout is for the result. */
async function prepare(script) {
  if (existsSync(stop)) throw new Error('ended before it began')
  const code = await run([process.execPath, join(root, 'scripts', script)], {})
  if (code !== 0) throw new Error(`scripts/${script} failed`)
}

/** What each part has left behind; every part is one file of tests, and they run side by side. */
async function runParts(asked, before) {
  mkdirSync(folder, { recursive: true })
  const resultOf = (part) => join(folder, `${part}-${process.pid}.json`)
  const results = Object.fromEntries(asked.parts.map((part) => [part, resultOf(part)]))
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const files = asked.parts.map((part) => `test/history/${part}.run.ts`)
  const config = ['--config', 'vitest.history.config.ts']
  const environment = {
    LOCKSTEP_HISTORY: JSON.stringify({ ...asked, results, stop, pid: process.pid }),
  }
  try {
    const command = [...before, process.execPath, vitest, 'run', ...config, ...files]
    const code = await run(command, environment)
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
