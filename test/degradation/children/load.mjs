// An open loop: calls begin when they are due, whatever has become of those before, and their time
// counts from then. Each call is one sample; those of rows that are written are lines of a history too.
import { randomBelow, seededRandom } from '../../../dist/demo/random.js'

/** Of a hundred calls. */
const shares = { steady: 45, bounded: 20, strong: 10, ticket: 8, cold: 10, write: 7 }
const deck = Object.entries(shares).flatMap(([kind, share]) => Array(share).fill(kind))
const mostTickets = 30
/** The COMMIT had been sent. */
const perhaps = new Set(['WRITE_OUTCOME_UNKNOWN', 'CLOSED'])

/** The row and the line of the log that tells who made this version, in one statement. */
const bump = `
  with changed as (
    update history_item set version = version + 1, writer = ? where id = ?
    returning id, version, writer
  ), logged as (
    insert into history_log (id, version, writer) select id, version, writer from changed
  )
  select id, version, writer from changed`

export function startLoad(work) {
  const { cache, clock, record, samples, settings } = work
  const random = seededRandom(settings.seed)
  const below = (count) => randomBelow(count, random)
  const running = new Set()
  const tickets = []
  let isOver = false
  let numbers = 0
  let colds = 0

  async function read(kind, dueNs) {
    switch (kind) {
      case 'steady':
        return await sampled(kind, dueNs, () =>
          cache.steady.getEntry(1 + below(settings.steadyIds)),
        )
      case 'cold': {
        const id = settings.firstCold + colds++
        return await sampled(kind, dueNs, () => cache.cold.getEntry(id))
      }
      case 'bounded':
        return await recorded(kind, dueNs, 1 + below(settings.ids))
      case 'strong':
        return await recorded(kind, dueNs, 1 + below(settings.ids))
      default: {
        const ticket = tickets[below(tickets.length)]
        return await recorded(ticket ? kind : 'strong', dueNs, ticket?.id ?? 1, ticket)
      }
    }
  }

  async function sampled(kind, dueNs, call) {
    try {
      const { tier, proven, state, ageMs } = await call()
      samples.add({ kind, due: dueNs, end: samples.now(), tier, proven, state, ageMs })
    } catch (error) {
      failed(kind, dueNs, error)
    }
  }

  function failed(kind, dueNs, error) {
    const { code, retryable = false } = error
    // A message for whoever has to find out; the code alone where it says enough.
    const said = retryable || code === 'WRITE_OUTCOME_UNKNOWN' ? code : inWords(error)
    samples.add({ kind, due: dueNs, end: samples.now(), error: said, retryable })
  }

  async function recorded(kind, dueNs, id, ticket) {
    // A strong read is judged by its own begin, a bounded one by its turn's.
    const begin = kind === 'bounded' ? clock.turnNs() : record.now()
    const consistency = kind === 'strong' ? 'strong' : 'bounded'
    const line = { process: settings.process, id, begin, consistency }
    const request = ticket ? { ticket: ticket.ticket } : { consistency }
    try {
      const found = await cache.item.getEntry(id, request)
      const { tier, proven, state, ageMs, value } = found
      const end = record.now()
      const { version = 0, writer = null } = value ?? {}
      const seen = { version, writer, tier, proven, ticket: ticket?.version ?? 0 }
      record.add({ kind: 'read', ...line, end, ...seen })
      samples.add({ kind, due: dueNs, end, tier, proven, state, ageMs })
    } catch (error) {
      const said = error.code ?? String(error)
      record.add({ kind: 'failed read', ...line, end: record.now(), error: said })
      failed(kind, dueNs, error)
    }
  }

  async function write(dueNs) {
    const id = 1 + below(settings.ids)
    const n = ++numbers
    const line = { process: settings.process, n }
    record.add({ kind: 'write', ...line, id, via: 'write', begin: record.now() })
    record.flush()
    const wrote = (said) => record.add({ kind: 'wrote', ...line, end: record.now(), ...said })
    try {
      const writer = `${settings.process}:${n}`
      const run = async (tx) => (await tx.raw(bump, [writer, id])).rows
      const { fenced, ticket, value } = await cache.item.write(id, run)
      const { version } = value[0]
      wrote({ outcome: fenced ? 'fenced' : 'unfenced', version })
      samples.add({ kind: 'write', due: dueNs, end: samples.now(), fenced })
      tickets.push({ id, version, ticket })
      if (tickets.length > mostTickets) tickets.shift()
    } catch (error) {
      // What PostgreSQL or its driver says comes out as it is, and only before the COMMIT.
      wrote({ outcome: perhaps.has(error.code) ? 'unknown' : 'failed' })
      failed('write', dueNs, error)
    }
  }

  async function loop() {
    const beganNs = samples.now()
    const everyNs = 1e9 / settings.perSecond
    for (let begun = 0; !isOver; ) {
      const due = Math.ceil((samples.now() - beganNs) / everyNs)
      while (begun < due && !isOver) {
        const dueNs = Math.round(beganNs + begun++ * everyNs)
        const kind = deck[below(deck.length)]
        const call = kind === 'write' ? write(dueNs) : read(kind, dueNs)
        const ended = call.finally(() => running.delete(ended))
        running.add(ended)
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await Promise.all(running)
  }
  const looping = loop()
  return {
    stop: async () => {
      isOver = true
      await looping
    },
  }
}

function inWords({ code = '', message, cause }) {
  return `${code} ${message}${cause ? `: ${cause.message ?? cause}` : ''}`.trim()
}
