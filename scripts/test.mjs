// Runs every check and ends with the line `N passed, N failed`: each Vitest test counts, and lint,
// types and dead code count as one each. With arguments only Vitest runs, with those arguments.

import { spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readJson } from './setup/checkout.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const report = join(root, '.lockstep', `vitest-${process.pid}.json`)

const CHECKS = [
  { name: 'lint', args: ['@biomejs/biome/bin/biome', 'check', '.'] },
  { name: 'types', args: ['typescript/bin/tsc', '-p', 'tsconfig.json'] },
  { name: 'dead code', args: ['knip/bin/knip.js'] },
]

const vitestArgs = process.argv.slice(2)
const checks = vitestArgs.length === 0 ? await Promise.all(CHECKS.map(runCheck)) : []
for (const check of checks) printCheck(check)
const tests = await runVitest(vitestArgs)

const passed = checks.filter((check) => check.ok).length + tests.passed
const failed = checks.filter((check) => !check.ok).length + tests.failed
process.exitCode = failed > 0 || tests.passed === 0 ? 1 : 0
console.log(`\n${passed} passed, ${failed} failed`)

async function runCheck({ name, args }) {
  const start = performance.now()
  const { code, output } = await runTool(args, 'pipe')
  return { name, ok: code === 0, output, seconds: (performance.now() - start) / 1000 }
}

function printCheck({ name, ok, output, seconds }) {
  console.log(`${name}: ${ok ? 'passed' : 'FAILED'} (${seconds.toFixed(1)} s)`)
  if (!ok) console.log(output)
}

async function runVitest(args) {
  mkdirSync(join(root, '.lockstep'), { recursive: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const { code } = await runTool(['vitest/vitest.mjs', 'run', ...reporters, ...args], 'inherit')
  const byName = args.some((arg) => /^(-t|--testNamePattern)/.test(arg))
  const counts = countTests(readJson(report), byName)
  rmSync(report, { force: true })
  // An error outside of any test fails the run without failing a test.
  if (code !== 0 && counts.failed === 0) counts.failed = 1
  return counts
}

function countTests(result, byName) {
  const files = result?.testResults ?? []
  const statuses = files.flatMap((file) => file.assertionResults.map(({ status }) => status))
  const passed = statuses.filter((status) => status === 'passed').length
  const failed = statuses.filter((status) => status === 'failed').length
  const brokenFiles = files.filter(isBrokenOutsideTests).length
  // A test that is skipped or left to do protects nothing: it counts as failed, unless a name was
  // asked for, which skips all others.
  const notRun = byName ? 0 : statuses.length - passed - failed
  if (notRun > 0) console.log(`\n${notRun} skipped or left to do: counted as failed`)
  return { passed, failed: failed + brokenFiles + notRun }
}

/** A file that fails to load or in a hook, without a test that failed. */
function isBrokenOutsideTests({ status, assertionResults }) {
  return status === 'failed' && !assertionResults.some((test) => test.status === 'failed')
}

function runTool([tool, ...args], output) {
  const file = join(root, 'node_modules', ...tool.split('/'))
  const stdio = ['ignore', output, output]
  const child = spawn(process.execPath, [file, ...args], { cwd: root, stdio })
  const chunks = []
  child.stdout?.on('data', (chunk) => chunks.push(chunk))
  child.stderr?.on('data', (chunk) => chunks.push(chunk))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output: Buffer.concat(chunks).toString() }))
  })
}
