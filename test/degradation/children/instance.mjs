// An instance under load, in a process of its own. It has all its code loaded when it says `here`;
// the acts below tell it what to do, and what it has seen lies in files in the end.
import { createServer } from 'node:http'
import { entity, lockstep } from '../../../dist/index.js'
import { serveActs } from '../../history/children/acts.mjs'
import { leftIn } from '../../history/children/left.mjs'
import { openClock, openRecord } from '../../history/children/record.mjs'
import { through } from '../../history/children/through.mjs'
import { isProven } from '../../history/children/well.mjs'
import { startLoad } from './load.mjs'

let work
let load
let metrics

async function open(settings) {
  const record = openRecord(settings.record, BigInt(settings.epoch))
  const samples = openRecord(settings.samples, BigInt(settings.epoch))
  const clock = openClock(record)
  const loads = { running: 0, most: 0 }
  work = { ...{ settings, record, samples, clock, loads } }
  work.cache = await lockstep({
    namespace: settings.namespace,
    postgres: settings.postgres,
    redis: settings.redis,
    ...(settings.kafka ? { kafka: through(settings.kafka) } : {}),
    prometheus: settings.prometheus,
    entities: entitiesOf(loads),
    timing: settings.timing,
    hops: settings.hops,
    maxConcurrentLoads: settings.maxConcurrentLoads,
    clock: clock.port,
  })
  tellChanges()
  metrics = createServer(async (_, response) => response.end(await work.cache.metrics().metrics()))
  await new Promise((resolve) => metrics.listen(settings.metricsPort, '127.0.0.1', resolve))
}

function entitiesOf(loads) {
  const cached = (name, table, options = {}) =>
    entity(name, {
      load: async (ids, { db }) => {
        loads.most = Math.max(loads.most, ++loads.running)
        try {
          return await db(table).whereIn('id', ids)
        } finally {
          loads.running--
        }
      },
      id: (row) => row.id,
      ...options,
    })
  return {
    // Nobody writes it, and it is past its ttl all the time: what comes of grace can be told.
    steady: cached('steady', 'degradation_steady', { ttl: '2s', grace: '10m' }),
    item: cached('item', 'history_item'),
    // Each id is read once.
    cold: cached('cold', 'degradation_cold'),
  }
}

function tellChanges() {
  const { cache, samples } = work
  work.breakers = {}
  cache.on('breaker', ({ hop, state, reason }) => {
    work.breakers[hop] = state
    samples.add({ kind: 'breaker', at: samples.now(), hop, state, reason })
  })
  cache.on('trust', ({ state }) => samples.add({ kind: 'trust', at: samples.now(), state }))
}

/** All that is read all the time lies in L1. */
async function warm() {
  const { cache, settings } = work
  const ids = (count) => Array.from({ length: count }, (_, index) => index + 1)
  await cache.steady.getMany(ids(settings.steadyIds))
  await cache.item.getMany(ids(settings.ids))
}

/** L1 is trusted, what lies in Redis is proven, and no breaker holds anything back. */
async function isWell() {
  const { breakers, cache, settings } = work
  if (Object.values(breakers).some((state) => state !== 'closed')) return false
  return isProven(cache.item, settings.wellId)
}

async function fleetAnswers() {
  const metric = work.cache.metrics().getSingleMetric('lockstep_fleet_answers_total')
  const { values } = await metric.get()
  return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]))
}

const acts = {
  open,
  warm,
  isWell,
  left: () => leftIn(work.settings, () => work.cache.item),
  load: () => {
    load = startLoad(work)
  },
  /** Ends the load. */
  rest: async () => {
    await load.stop()
    work.record.flush()
    work.samples.flush()
    return { mostLoads: work.loads.most, fleetAnswers: await fleetAnswers() }
  },
  close: async () => {
    metrics.closeAllConnections()
    await new Promise((resolve) => metrics.close(resolve))
    await work.cache.close()
    setImmediate(() => process.disconnect())
  },
}

serveActs(acts)
