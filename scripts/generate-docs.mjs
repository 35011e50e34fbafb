// Writes the tables of the docs anew; test/unit/docs.test.ts fails when they are out of date.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { configurationPage } from './docs/options.mjs'
import { doctorPage, metricsPage } from './docs/tables.mjs'
import { checkoutAt, SetupError } from './setup/checkout.mjs'
import { buildIfNeeded } from './setup/dist.mjs'

const root = new URL('../', import.meta.url)

try {
  buildIfNeeded(checkoutAt(fileURLToPath(root)), console.log)
  const dist = (file) => import(new URL(`dist/${file}`, root))
  const [{ catalogue }, { eventCatalogue }, { timingDefaults }, { doctorCatalogue }] =
    await Promise.all(
      [
        'telemetry/catalogue.js',
        'telemetry/events.js',
        'model/defaults.js',
        'operations/doctor-catalogue.js',
      ].map(dist),
    )
  const read = (file) => readFileSync(new URL(file, root), 'utf8')
  const write = (file, page) => writeFileSync(new URL(file, root), page)
  const metrics = 'docs/metrics.md'
  write(metrics, metricsPage(read(metrics), { catalogue, eventCatalogue }))
  const configuration = 'docs/configuration.md'
  write(configuration, configurationPage(read(configuration), read, timingDefaults))
  const doctor = 'docs/doctor.md'
  write(doctor, doctorPage(read(doctor), doctorCatalogue))
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error)
  process.exitCode = 1
}
