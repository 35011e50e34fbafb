/** What a cache has to say while services and processes come and go, in words for the screen. */
import { messageOf } from '../model/errors.ts'
import type { BloomNews, CacheEvents, TrustLoss } from '../telemetry/events.ts'
import type { CityCache } from './city.ts'

const reasons: Readonly<Record<TrustLoss, string>> = {
  incarnation: 'the database has begun a new life',
  pruned: 'the outbox was not read for longer than it remembers',
  'too-many-rows': 'more new writes than one poll returns',
  gap: 'records of the log are missing',
  rebalance: 'the partitions were dealt out anew',
  disconnected: 'Kafka can’t be heard',
  partitions: 'the log has another number of partitions',
  unreadable: 'a record of the log can’t be read',
  expired: 'no proof for longer than the bound',
  closed: 'the cache is closed',
}

const services: Readonly<Record<CacheEvents['breaker']['hop'], string>> = {
  l2: 'Redis',
  source: 'PostgreSQL',
  bus: 'Kafka',
}

/** Shorter lapses of proof, as on a busy machine, are no news. */
const shortLapseMs = 1_000

/** Until what it returns is called. */
export function tellNews(cache: Pick<CityCache, 'on'>, tell: (news: string) => void): () => void {
  let isTrusted = true
  const open = new Set<CacheEvents['breaker']['hop']>()
  let lapse: NodeJS.Timeout | undefined
  const endLapse = (): void => {
    clearTimeout(lapse)
    lapse = undefined
  }
  const lost = (reason: TrustLoss): void => {
    endLapse()
    isTrusted = false
    tell(`L1 is not trusted: ${reasons[reason]}`)
  }
  const ends = [
    cache.on('trust', (change) => {
      if (change.state === 'lost') {
        if (change.reason !== 'expired') lost(change.reason)
        else if (isTrusted) lapse ??= setTimeout(() => lost('expired'), shortLapseMs)
        return
      }
      endLapse()
      if (!isTrusted) tell('L1 is trusted again')
      isTrusted = true
    }),
    cache.on('breaker', ({ hop, state }) => {
      const service = services[hop]
      if (state === 'open' && !open.has(hop)) tell(`${service} is not asked: its breaker is open`)
      if (state === 'closed' && open.has(hop)) tell(`${service} is asked again`)
      // While it is half open, it is still to be seen.
      if (state === 'open') open.add(hop)
      if (state === 'closed') open.delete(hop)
    }),
    cache.on('bloom', (change) => tell(filterNews(change))),
    cache.on('relay', ({ state }) => tell(state === 'begun' ? 'relays now' : 'relays no longer')),
  ]
  return () => {
    endLapse()
    for (const end of ends) end()
  }
}

function filterNews({ state, ids, error }: BloomNews): string {
  switch (state) {
    case 'building':
      return 'builds the Bloom filter'
    case 'ready':
      return `has built the Bloom filter, of ${(ids ?? 0).toLocaleString('en-US')} ids`
    case 'failed':
      return `could not build the Bloom filter: ${messageOf(error)}`
    case 'lost':
      return 'the Bloom filter is no longer in Redis'
    default:
      return state satisfies never
  }
}

/** Processes notice the same thing at almost the same time. */
const gatherMs = 300

/** Makes one line of what several processes say within a moment. */
export class Announcer {
  readonly #line: (text: string) => void
  #processes = new Map<string, Set<number>>()
  #timer: NodeJS.Timeout | undefined

  constructor(line: (text: string) => void) {
    this.#line = line
  }

  add(process: number, news: string): void {
    // Twice from one process: something else has happened in between, and the order counts.
    if (this.#processes.get(news)?.has(process)) this.flush()
    this.#processes.set(news, (this.#processes.get(news) ?? new Set()).add(process))
    this.#timer ??= setTimeout(() => this.flush(), gatherMs)
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const [news, processes] of this.#processes) {
      const who = [...processes].sort((one, other) => one - other)
      this.#line(`${who.length > 1 ? 'processes' : 'process'} ${who.join(', ')}: ${news}`)
    }
    this.#processes = new Map()
  }
}
