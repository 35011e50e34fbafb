// Writes the tables of docs/metrics.md anew; test/unit/docs.test.ts fails when they are out of date.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { metricsPage } from './docs/tables.mjs'
import { checkoutAt, SetupError } from './setup/checkout.mjs'
import { buildIfNeeded } from './setup/dist.mjs'

const root = new URL('../', import.meta.url)

try {
  buildIfNeeded(checkoutAt(fileURLToPath(root)), console.log)
  const { catalogue } = await import(new URL('dist/telemetry/catalogue.js', root))
  const { eventCatalogue } = await import(new URL('dist/telemetry/events.js', root))
  const file = new URL('docs/metrics.md', root)
  writeFileSync(file, metricsPage(readFileSync(file, 'utf8'), { catalogue, eventCatalogue }))
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error)
  process.exitCode = 1
}
