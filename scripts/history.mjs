// The proof (docs/reading-a-violation.md): simulated schedules, mutants, and a history of real
// processes; or, with --check, the verdict over a history that is there. `--help` says the rest.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseOptions, usage } from './history/options.mjs'
import { isRight, reportOf, summaryOf, verdictText } from './history/report.mjs'
import { openRuns, say } from './runs/runs.mjs'

const runs = openRuns('history')
await runs.main({ parseOptions, usage, doneAs })

function doneAs(options) {
  if (options.check) return check(options)
  return options.replay ? replay(options) : prove(options)
}

async function replay({ replay: token, json }) {
  const { trace, violations } = (await runs.run({ parts: ['replay'], replay: token })).replay
  const lines = violations.map(({ atMs, invariant, text }) => `${atMs} ${invariant}: ${text}`)
  console.log(json ? JSON.stringify({ trace, violations }) : [...trace, '', ...lines].join('\n'))
  return violations.length === 0
}

async function check({ check: file, json }) {
  const { verdict, error } = (await runs.run({ parts: ['check'], file })).check
  if (error) throw new Error(error)
  console.log(json ? JSON.stringify(verdict) : verdictText(verdict))
  return verdict.found === 0
}

async function prove({ seconds, seed, plane, json }) {
  await runs.prepare()
  mkdirSync(runs.folder, { recursive: true })
  const file = join(runs.folder, `seed-${seed}-${plane}.jsonl`)
  say(`seed ${seed}, ${seconds} s; the history of the real processes: ${file}`)
  const asked = { parts: ['simulation', 'real'], seconds, seed, plane, file }
  const { simulation, real } = await runs.run(asked, { withServices: true })
  const summary = summaryOf({ ...simulation, real, seed })
  for (const { seed: schedule, text } of simulation.simulated.violations) {
    say(`\nsimulated, ${schedule}: ${text}`)
  }
  for (const { text } of real.violations) say(`\nreal: ${text}`)
  if (real.found > 0) say(`\nThe same verdict again: npm run history -- --check ${file}`)
  console.log(json ? JSON.stringify(summary) : reportOf(summary))
  return isRight(summary)
}
