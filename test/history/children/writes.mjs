// Writes of one process: through the cache, and through SQL that the library hears of from a function
// or from triggers. Each is told to the record before it begins.
import { randomBelow } from '../../../dist/demo/random.js'
import { PlainSql } from './plain-sql.mjs'

const loops = 3
const pauseMs = 50
/** Most writes go to these: the first ids of each kind. */
const busyIds = 18
const certainlyNot = new Set([
  'WRITE_ABORTED',
  'WRITE_ENDED_EARLY',
  'WRITE_NOT_FENCED',
  'WRITE_TIMEOUT',
])
const perhaps = new Set(['WRITE_OUTCOME_UNKNOWN', 'CLOSED'])

export function startWrites(work) {
  const { settings, signal, written } = work
  let numbers = 0
  const plain = Array.from({ length: loops }, () => new PlainSql(settings.postgres))

  const loop = async (sql) => {
    while (!signal.aborted) {
      await writeOne(sql)
      await pause(randomBelow(pauseMs, work.random))
    }
    sql.close()
  }

  async function writeOne(sql) {
    const { random, record } = work
    const id = 1 + randomBelow(random() < 0.75 ? busyIds : settings.ids, random)
    const n = ++numbers
    const place = placeOf(id)
    const way = random() < (place === 'foreign' ? 0.5 : 0.8) ? 'write' : 'sql'
    const line = { process: settings.process, n }
    const options = optionsOf(random)
    record.add({ kind: 'write', ...line, id, via: way, begin: record.now() })
    record.flush()
    const bound = { id, writer: `${settings.process}:${n}`, place }
    const { outcome, version, ticket } =
      way === 'write' ? await throughCache(bound, options) : await throughSql(sql, bound)
    const wait = way === 'write' && options.wait ? { wait: options.wait } : {}
    record.add({ kind: 'wrote', ...line, end: record.now(), outcome, version, ...wait })
    record.flush()
    if (ticket) written({ id, version, ticket })
  }

  async function throughCache({ id, writer, place }, options) {
    try {
      const run = async (tx) => (await tx.raw(bump(place), [writer, id])).rows
      const { fenced, ticket, value } = await work.cache[place].write(id, run, options)
      return { outcome: fenced ? 'fenced' : 'unfenced', version: value[0].version, ticket }
    } catch (error) {
      if (certainlyNot.has(error.code)) return { outcome: 'failed' }
      // What PostgreSQL or its driver says comes out as it is, and only before the COMMIT.
      return { outcome: perhaps.has(error.code) ? 'unknown' : 'failed' }
    }
  }

  async function throughSql(sql, { id, writer, place }) {
    const { outcome, value } = await sql.transaction(async (client) => {
      const { rows } = await client.query(numbered(bump(place)), [writer, id])
      if (place !== 'foreign') {
        const tell = 'select lockstep.invalidate($1, $2::bigint, $3)'
        await client.query(tell, [place, id, settings.namespace])
      }
      return rows[0].version
    })
    return { outcome, version: value }
  }

  return Promise.all(plain.map(loop))
}

/** Ids go round: with each there is one more of each kind. */
export function placeOf(id) {
  return ['item', 'through', 'foreign'][id % 3]
}

/** The row and the line of the log that tells who made this version, in one statement. */
const bump = (place) => `
  with changed as (
    update history_${place} set version = version + 1, writer = ? where id = ?
    returning id, version, writer
  ), logged as (
    insert into history_log (id, version, writer) select id, version, writer from changed
  )
  select id, version, writer from changed`

const numbered = (statement) => {
  let count = 0
  return statement.replaceAll('?', () => `$${++count}`)
}

function optionsOf(random) {
  return {
    ...(random() < 0.15 ? { onFenceFailure: 'reject' } : {}),
    ...(random() < 0.05 ? { wait: 'everywhere' } : {}),
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
