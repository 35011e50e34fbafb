// The degradation matrix (docs/degradation.md): what is promised while services are broken, and what
// was measured. `--help` says the rest.

import { readFileSync, writeFileSync } from 'node:fs'
import { parseOptions, usage } from './degradation/options.mjs'
import { nameOf, pageWith, tableOf } from './degradation/report.mjs'
import { openRuns, say } from './runs/runs.mjs'

const page = new URL('../docs/degradation.md', import.meta.url)
const runs = openRuns('degradation')
await runs.main({ parseOptions, usage, doneAs })

async function doneAs({ only, seed, write, json }) {
  await runs.prepare()
  say(`seed ${seed}`)
  const asked = { parts: ['degradation'], only, seed }
  const { cells } = (await runs.run(asked, { withServices: true })).degradation
  const broken = cells.filter(({ met }) => !met)
  for (const cell of broken) say(`${nameOf(cell)}: ${cell.broken.join('; ')}`)
  if (write) writeFileSync(page, pageWith(readFileSync(page, 'utf8'), cells))
  console.log(json ? JSON.stringify({ cells }) : tableOf(cells))
  return broken.length === 0
}
