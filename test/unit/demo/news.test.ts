import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Announcer, tellNews } from '../../../src/demo/news.ts'
import { silent } from '../../../src/model/log.ts'
import { Events, type TrustLoss } from '../../../src/telemetry/events.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function told(run: (announcer: Announcer) => void): readonly string[] {
  const lines: string[] = []
  const announcer = new Announcer((line) => lines.push(line))
  run(announcer)
  vi.advanceTimersByTime(1_000)
  expect(vi.getTimerCount()).toBe(0)
  return lines
}

test('what several processes say within a moment is one line', () => {
  const lines = told((announcer) => {
    announcer.add(2, 'a')
    announcer.add(0, 'a')
    announcer.add(1, 'b')
  })
  expect(lines).toEqual(['processes 0, 2: a', 'process 1: b'])
})

test('what is said later is another line', () => {
  const lines = told((announcer) => {
    announcer.add(0, 'a')
    vi.advanceTimersByTime(400)
    announcer.add(1, 'a')
  })
  expect(lines).toEqual(['process 0: a', 'process 1: a'])
})

test('what one process says twice is told twice, in its order', () => {
  const lines = told((announcer) => {
    for (const news of ['lost', 'gained', 'lost']) announcer.add(0, news)
  })
  expect(lines).toEqual(['process 0: lost', 'process 0: gained', 'process 0: lost'])
})

describe('what a cache tells is put into words', () => {
  function newsOf(happens: (events: Events) => void): readonly string[] {
    const events = new Events(silent)
    const news: string[] = []
    const end = tellNews({ on: (...args) => events.on(...args) }, (one) => news.push(one))
    happens(events)
    end()
    events.emit('relay', () => ({ state: 'ended' }))
    vi.advanceTimersByTime(5_000)
    return news
  }
  const lost = (events: Events, reason: TrustLoss) =>
    events.emit('trust', () => ({ state: 'lost', reason }))
  const gained = (events: Events) => events.emit('trust', () => ({ state: 'gained' }))
  const breaker = (events: Events, state: 'open' | 'half-open' | 'closed') =>
    events.emit('breaker', () => ({ hop: 'l2', state, reason: 'local' }))

  test('what becomes of the Bloom filter', () => {
    const news = newsOf((events) => {
      events.emit('bloom', () => ({ entity: 'city', state: 'building', reason: 'none' }))
      events.emit('bloom', () => ({ entity: 'city', state: 'ready', generation: 1, ids: 171_075 }))
      events.emit('bloom', () => ({ entity: 'city', state: 'lost', generation: 1 }))
      events.emit('bloom', () => ({ entity: 'city', state: 'failed', error: new Error('gone') }))
    })
    expect(news).toEqual([
      'builds the Bloom filter',
      'has built the Bloom filter, of 171,075 ids',
      'the Bloom filter is no longer in Redis',
      'could not build the Bloom filter: gone',
    ])
  })

  test('who relays', () => {
    const news = newsOf((events) => {
      events.emit('relay', () => ({ state: 'begun' }))
      events.emit('relay', () => ({ state: 'ended' }))
    })
    expect(news).toEqual(['relays now', 'relays no longer'])
  })

  test('trust that is lost, with the reason, and gained', () => {
    const news = newsOf((events) => {
      lost(events, 'disconnected')
      gained(events)
    })
    expect(news).toEqual(['L1 is not trusted: Kafka can’t be heard', 'L1 is trusted again'])
  })

  test('proof that lapses for long, and not for a moment', () => {
    const news = newsOf((events) => {
      lost(events, 'expired')
      vi.advanceTimersByTime(900)
      gained(events)
      vi.advanceTimersByTime(900)
      lost(events, 'expired')
      vi.advanceTimersByTime(1_100)
      gained(events)
      lost(events, 'expired')
    })
    expect(news).toEqual([
      'L1 is not trusted: no proof for longer than the bound',
      'L1 is trusted again',
    ])
  })

  test('a breaker that opens and closes, and not each try', () => {
    const news = newsOf((events) => {
      for (const state of ['open', 'half-open', 'open', 'half-open', 'closed'] as const) {
        breaker(events, state)
      }
    })
    expect(news).toEqual(['Redis is not asked: its breaker is open', 'Redis is asked again'])
  })

  test('of which service it is', () => {
    const news = newsOf((events) => {
      events.emit('breaker', () => ({ hop: 'source', state: 'open', reason: 'local' }))
      events.emit('breaker', () => ({ hop: 'bus', state: 'half-open', reason: 'fleet' }))
      events.emit('breaker', () => ({ hop: 'bus', state: 'closed', reason: 'fleet' }))
      events.emit('breaker', () => ({ hop: 'source', state: 'closed', reason: 'local' }))
    })
    expect(news).toEqual([
      'PostgreSQL is not asked: its breaker is open',
      'PostgreSQL is asked again',
    ])
  })
})
