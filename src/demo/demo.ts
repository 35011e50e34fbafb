/**
 * The demo, from the cities' way into PostgreSQL to the verdict: several processes read and write
 * them through their caches, and every answer is judged over all processes together.
 */
import { randomInt } from 'node:crypto'
import type { Config } from '../config.ts'
import { messageOf } from '../model/errors.ts'
import { migrate } from '../postgres/migrations.ts'
import { openPool, type Pool } from '../postgres/pool.ts'
import { installTriggers } from '../postgres/triggers.ts'
import { commandLog } from '../telemetry/log.ts'
import { openChaos } from './chaos.ts'
import { loadCities } from './cities.ts'
import { credit, schema } from './city.ts'
import { work } from './crew.ts'
import type { DemoOptions } from './demo-options.ts'
import { Docket } from './docket.ts'
import { writeForeign } from './foreign.ts'
import type { WorkerSettings } from './messages.ts'
import { removeNewcomers } from './newcomers.ts'
import { Announcer } from './news.ts'
import { seededRandom } from './random.ts'
import { type DemoResults, failureOf, resultsOf, Tally } from './results.ts'
import { liveLine, type Moment, progressBar, type Screen } from './screen.ts'
import { type Addresses, addressesOf, findServices, type Services } from './services.ts'
import { trafficOf } from './shift.ts'
import { readTrace } from './trace.ts'

/** B of the cache, which keeps its default. */
const boundMs = 1_000

export interface DemoOutcome {
  readonly results: DemoResults
  /** Why it is no success; `undefined`: it is one. */
  readonly failure: string | undefined
  readonly examples: readonly string[]
}

/** Rejects when it can't begin, when a process fails, or with the signal's reason. */
export async function demo(
  options: DemoOptions,
  config: Config,
  screen: Screen,
  signal: AbortSignal,
): Promise<DemoOutcome> {
  // Once here, so that a file that is no trace is said before anything starts.
  if (options.trace !== undefined) readTrace(options.trace)
  const addresses = addressesOf(config, options.kafka)
  const { rows, services } = await prepare(addresses, config, screen, signal)
  const docket = new Docket(options.processes, boundMs, options.foreign)
  const tally = new Tally()
  const seed = randomInt(2 ** 31)
  const namespace = namespaceOf(config, options)
  const chaos = options.chaos ? await openChaos(addresses, config.logLevel) : undefined
  const settings = Array.from(
    { length: options.processes },
    (_, process): WorkerSettings => ({
      ...(chaos?.addresses ?? addresses),
      namespace,
      logLevel: config.logLevel,
      rows,
      process,
      isSuccessor: false,
      processes: options.processes,
      writeShare: options.writes,
      foreign: options.foreign,
      attack: options.attack,
      trace: options.trace,
      seed,
    }),
  )
  let endLive = (): void => {}
  let beganAtMs = performance.now()
  const line = (text: string): void => {
    const seconds = Math.round((performance.now() - beganAtMs) / 1_000)
    screen.line(`${String(seconds).padStart(3)} s   ${text}`)
  }
  const announcer = new Announcer(line)
  let foreigner: Foreigner | undefined
  try {
    foreigner = options.foreign ? await openForeigner(settings, docket) : undefined
    await work({
      settings,
      seconds: options.seconds,
      signal,
      begun: (epochNs, crew) => {
        beganAtMs = performance.now()
        foreigner?.begin(epochNs)
        const { seconds } = options
        chaos?.begin({ crew, namespace, seconds, random: seededRandom(seed), line })
        endLive = showLive(screen, () => {
          const { staleStrong, staleBeyondBound } = docket.verdict
          const stale = staleStrong + staleBeyondBound
          return { reads: docket.counts.reads, sums: tally.sums, stale }
        })
      },
      replaced: (process) => tally.replaced(process),
      news: (process, news) => announcer.add(process, news),
      hear: (process, chunk, untilNs, progress) => {
        docket.add(process, chunk, untilNs)
        tally.hear(process, progress)
      },
    })
  } finally {
    announcer.flush()
    endLive()
    await Promise.all([foreigner?.end(), chaos?.end()])
    if (options.attack) await tidy(addresses, seed, line)
  }
  await foreigner?.written()
  const { sums } = tally
  const done = chaos?.results
  const results = resultsOf({ options, rows, docket, sums, services, credit, chaos: done })
  const failure = failureOf(results, sums.firstFailure)
  return { results, failure, examples: docket.verdict.examples }
}

/** A namespace has one plane; and Kafka takes no colon in the name of a topic. */
function namespaceOf({ namespace }: Config, { kafka }: DemoOptions): string {
  return kafka ? `${namespace}-demo-kafka` : `${namespace}:demo`
}

/** Removes the rows that were inserted. Never rejects: the demo has ended as it has. */
async function tidy(
  { databaseUrl }: Addresses,
  seed: number,
  line: (text: string) => void,
): Promise<void> {
  const pool = openPool(databaseUrl)
  try {
    await removeNewcomers(pool, seed)
  } catch (error) {
    line(`the rows that the demo has inserted are still there (${messageOf(error)})`)
  } finally {
    await pool.close()
  }
}

interface Foreigner {
  begin(epochNs: bigint): void
  /** Never rejects. */
  end(): Promise<void>
  /** Rejects when a write failed. */
  written(): Promise<void>
}

/** Its triggers stay when the demo is over: another one may be using them. */
async function openForeigner(
  settings: readonly WorkerSettings[],
  docket: Docket,
): Promise<Foreigner> {
  const [first] = settings as [WorkerSettings]
  const process = settings.length
  const pool = openPool(first.databaseUrl)
  const ended = new AbortController()
  let writing = Promise.resolve()
  try {
    await installTriggers(pool, { table: `${schema}.cities`, entity: 'city', id: 'id' })
  } catch (error) {
    await pool.close()
    throw error
  }
  return {
    begin: (epochNs) => {
      const traffic = trafficOf(first, seededRandom(first.seed))
      const hear = (chunk: Uint8Array, untilNs: number) => docket.add(process, chunk, untilNs)
      writing = writeForeign({ pool, traffic, epochNs, hear }, ended.signal)
      writing.catch(() => {})
    },
    end: async () => {
      ended.abort()
      await writing.catch(() => {})
      await pool.close()
    },
    written: () => writing,
  }
}

/** Services, schema and cities. */
async function prepare(
  addresses: Addresses,
  config: Config,
  screen: Screen,
  signal: AbortSignal,
): Promise<{ rows: number; services: Services }> {
  const pool = openPool(addresses.databaseUrl)
  try {
    const log = commandLog('lockstep demo', config.logLevel)
    await migrate(pool)
    const services = await findServices(pool, addresses, log)
    return { services, rows: await loadCitiesShown(pool, screen, signal) }
  } finally {
    await pool.close()
  }
}

async function loadCitiesShown(pool: Pool, screen: Screen, signal: AbortSignal): Promise<number> {
  let isLoading = false
  const rows = await loadCities(
    pool,
    {
      waiting: () => screen.line('Another process is loading the cities; waiting for it.'),
      loaded: (done, of) => {
        isLoading = true
        screen.live(progressBar(done, of))
      },
    },
    signal,
  )
  if (isLoading) screen.line(`Loaded ${rows.toLocaleString('en-US')} cities into PostgreSQL.`)
  return rows
}

/** Once a second; the returned function ends it. */
function showLive(screen: Screen, look: () => Omit<Moment, 'seconds'>): () => void {
  const start = performance.now()
  let before: Moment | undefined
  const timer = setInterval(() => {
    const now = { ...look(), seconds: (performance.now() - start) / 1_000 }
    screen.live(liveLine(now, before))
    before = now
  }, 1_000)
  return () => {
    clearInterval(timer)
    screen.live('')
  }
}
