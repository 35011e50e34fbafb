import { rmSync } from 'node:fs'
import { readServices, SetupError, servicesFile, settingsOf, writeServices } from './checkout.mjs'
import { composeStop, composeUp } from './compose.mjs'
import { kafka } from './kafka.mjs'
import { postgres } from './postgres.mjs'
import { readRunning, stopRecorded } from './process-record.mjs'
import { prometheus } from './prometheus.mjs'
import { redis } from './redis.mjs'
import { until } from './until.mjs'

const SERVICES = [postgres, redis, kafka, prometheus]
const ADOPT_TIMEOUT_MS = 15_000

// In this order, the first that works. One that finds nothing says why by throwing; a SetupError
// ends the search.
const WAYS = {
  environment: fromEnvironment,
  'standard port': fromStandardPort,
  'started before': fromStartedBefore,
  installed: (service, context) => startAndClaim(service, service.startInstalled, context),
  fetched: (service, context) => startAndClaim(service, service.startFetched, context),
  'docker compose': fromCompose,
}

/**
 * Makes the services ready and writes down where they are, or, of an optional one, why there is
 * none: `{ missing }`. Tests leave out ways with `without` to reach the later ones.
 */
export async function findServices(
  checkout,
  { env = process.env, say = console.log, without = [], services = SERVICES } = {},
) {
  const settings = settingsOf(checkout, env)
  const context = { checkout, settings, say, without }
  const found = { namespace: settings.LOCKSTEP_NAMESPACE ?? checkout.namespace }
  for (const service of services) {
    found[service.key] = await find(service, context)
    if (found[service.key].missing) say(`\n${found[service.key].missing}\n`)
  }
  writeServices(checkout, found)
  return found
}

/** Ends what this clone started and nothing else; data stays. The names of what was ended. */
export async function stopServices(checkout) {
  const stopped = []
  for (const { key, name } of SERVICES) {
    const ended = await stopRecorded(checkout, key)
    if (composeStop(checkout, key) || ended) stopped.push(name)
  }
  rmSync(servicesFile(checkout), { force: true })
  return stopped
}

/** One line per service, passwords masked. */
export function tableOf(found) {
  const lines = SERVICES.filter(({ key }) => found[key]).map(({ key, name }) => {
    const { how, version, url, missing } = found[key]
    return missing ? [name, 'missing', '-', '-'] : [name, how, version, maskPassword(url)]
  })
  const rows = [['service', 'how found', 'version', 'URL'], ...lines]
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const pad = (row) => row.map((cell, column) => cell.padEnd(widths[column])).join('  ')
  return rows.map((row) => pad(row).trimEnd()).join('\n')
}

/** What the last setup found, and whether this clone's own servers still run. */
export function statusOf(checkout) {
  const found = readServices(checkout)
  if (!found) return 'Nothing is set up: npm run services'
  const own = SERVICES.flatMap(({ key, name }) => {
    const record = readRunning(checkout, key)
    return record ? [`${name} runs as process ${record.pid}, started by this clone`] : []
  })
  return [tableOf(found), `namespace ${found.namespace}`, ...own].join('\n')
}

async function find(service, context) {
  const reasons = []
  for (const [name, way] of Object.entries(WAYS)) {
    if (context.without.includes(name)) continue
    try {
      if (name !== 'environment') assertSupported(service)
      return await way(service, context)
    } catch (error) {
      if (error instanceof SetupError) throw error
      reasons.push(`  ${name}: ${messageOf(error)}`)
    }
  }
  const missing =
    `No ${service.name} was found. Tried, in this order:\n${reasons.join('\n')}\n` +
    `Set ${service.variable} to one that runs, or install it. ${service.advice}`
  if (service.isOptional) return { missing }
  throw new SetupError(missing)
}

function assertSupported({ variable, isOptional }) {
  if (process.platform !== 'win32') return
  const Refusal = isOptional ? Error : SetupError
  throw new Refusal(
    `On Windows, Lockstep's setup starts no servers: set ${variable} (in the environment or in ` +
      'a file .env) to a server that runs.',
  )
}

async function fromEnvironment(service, { settings }) {
  const { variable, name, example } = service
  const url = settings[variable]
  if (url === undefined) throw new Error(`${variable} is not set`)
  if (!service.accepts(url)) {
    throw new SetupError(`${variable} is ${maskPassword(url)}: it must look like ${example}.`)
  }
  try {
    return { url, how: variable, version: await service.probe(url) }
  } catch (error) {
    throw new SetupError(
      `${variable} is ${maskPassword(url)}, but ${name} there can't be used: ${messageOf(error)}. ` +
        `Start it, correct ${variable}, or unset it (environment or .env) and one will be found.`,
    )
  }
}

async function fromStandardPort(service, { checkout }) {
  const reasons = new Set()
  for (const url of service.standardUrls()) {
    try {
      const own = await service.claim(url, checkout)
      return { how: `already running on ${service.standardAddress}`, ...own }
    } catch (error) {
      reasons.add(messageOf(error))
    }
  }
  throw new Error([...reasons].join('; '))
}

async function fromStartedBefore(service, { checkout }) {
  const record = readRunning(checkout, service.key)
  if (!record) throw new Error('this clone runs none')
  const claimed = await until(
    () => service.claim(record.url, checkout).catch(() => undefined),
    ADOPT_TIMEOUT_MS,
    100,
  )
  if (claimed) return { how: record.how, ...claimed }
  await stopRecorded(checkout, service.key)
  throw new Error(`process ${record.pid} did not answer and was ended`)
}

async function startAndClaim(service, start, context) {
  const record = await start(context.checkout, context)
  return { how: record.how, ...(await service.claim(record.url, context.checkout)) }
}

async function fromCompose(service, { checkout, settings, say }) {
  const port = await composeUp(checkout, service, settings, say)
  const claimed = await service.claim(service.composeUrl(port), checkout)
  return { how: 'docker compose', ...claimed }
}

function maskPassword(url) {
  return url.replace(/^([^/]*\/\/[^:/@]*):.*@/, '$1:***@').replace(/(password=)[^&]*/gi, '$1***')
}

// A refused connection to a name with several addresses has an empty message of its own.
function messageOf(error) {
  return error.message || error.errors?.map(({ message }) => message).join(', ') || error.code
}
