// A process of a history. It has all its code loaded when it says `here`, so that it takes the place
// of one that was killed at once; `open` tells it where to begin.
import { seededRandom } from '../../../dist/demo/random.js'
import { entity, lockstep } from '../../../dist/index.js'
import { serveActs } from './acts.mjs'
import { leftIn } from './left.mjs'
import { startReads } from './reads.mjs'
import { openClock, openRecord } from './record.mjs'
import { through } from './through.mjs'
import { isProven } from './well.mjs'
import { placeOf, startWrites } from './writes.mjs'

const mostTickets = 30
const stopped = new AbortController()
let work
let ended

async function open(settings) {
  const record = openRecord(settings.file, BigInt(settings.epoch))
  const clock = openClock(record)
  clock.step(settings.clockOffsetMs)
  work = {
    ...{ settings, record, clock, signal: stopped.signal },
    tickets: [],
    random: seededRandom(settings.seed),
    written,
  }
  work.cache = await openCache(settings, clock)
  ended = Promise.all([startWrites(work), startReads(work)])
}

/** Until it succeeds: a process may begin while a service is away. */
async function openCache(settings, clock) {
  const { kafka, namespace, postgres, redis, timing } = settings
  const cached = (name, options = {}) =>
    entity(name, {
      load: (ids, { db }) => db(`history_${name}`).whereIn('id', ids),
      id: (row) => row.id,
      ...options,
    })
  const entities = {
    item: cached('item'),
    through: cached('through', { writeThrough: true }),
    foreign: cached('foreign', { foreignWrites: true }),
  }
  const places = { namespace, postgres, redis, ...(kafka ? { kafka: through(kafka) } : {}) }
  for (;;) {
    try {
      return await lockstep({ ...places, entities, timing, clock: clock.port })
    } catch (error) {
      if (error.retryable === false) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

function written(one) {
  keep(one)
  if (work.random() < 0.2) process.send({ ticket: one })
}

function keep(one) {
  work.tickets.push(one)
  if (work.tickets.length > mostTickets) work.tickets.shift()
}

const acts = {
  open,
  isWell: () => isProven(work.cache.item, work.settings.wellId),
  left: () => leftIn(work.settings, (id) => work.cache[placeOf(id)]),
  step: (ms) => work.clock.step(ms),
  ticket: ({ ticket }) => work?.tickets && keep(ticket),
  rest: async () => {
    stopped.abort()
    await ended
    work.record.flush()
  },
  close: async () => {
    await work.cache.close()
    setImmediate(() => process.disconnect())
  },
}

serveActs(acts)
