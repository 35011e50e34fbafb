// Reads of one process: bounded, strong, with a ticket, and `peek`, from few ids, so that most come
// from L1.
import { randomBelow } from '../../../dist/demo/random.js'
import { placeOf } from './writes.mjs'

const loops = 4
const pauseMs = 60

export function startReads(work) {
  const { clock, record, settings, signal, tickets } = work

  const loop = async () => {
    while (!signal.aborted) {
      await readOne()
      await pause(randomBelow(pauseMs, work.random))
    }
  }

  async function readOne() {
    const { cache, random } = work
    const kind = random()
    const ticketed = kind < 0.13 ? tickets[randomBelow(tickets.length, random)] : undefined
    const id = ticketed?.id ?? 1 + randomBelow(settings.ids, random)
    const isStrong = ticketed === undefined && kind < 0.26
    const of = cache[placeOf(id)]
    // A strong read is judged by its own begin, a bounded one by its turn's.
    const begin = isStrong || ticketed ? record.now() : clock.turnNs()
    const line = {
      ...{ process: settings.process, id, begin },
      consistency: isStrong ? 'strong' : 'bounded',
      ticket: ticketed?.version ?? 0,
    }
    if (kind > 0.9) {
      const value = of.peek(id)
      if (value) add(line, { value, tier: 'l1', proven: true })
      return
    }
    try {
      const request = ticketed ? { ticket: ticketed.ticket } : { consistency: line.consistency }
      add(line, await of.getEntry(id, request))
    } catch (error) {
      const code = error.code ?? String(error)
      record.add({ kind: 'failed read', ...line, end: record.now(), error: code })
    }
  }

  function add(line, { value, tier, proven }) {
    const { version = 0, writer = null } = value ?? {}
    record.add({ kind: 'read', ...line, end: record.now(), version, writer, tier, proven })
  }

  return Promise.all(Array.from({ length: loops }, loop))
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
