/**
 * What one process does to its cache: customers who look at a few rows at once or at a list of
 * them, and sometimes write. Each answer goes into the history, to be judged.
 *
 * Every act begins in a turn of the event loop of its own, right after its start is noted: so the
 * start is never later than the clock reading that the library's bound counts from.
 */
import { messageOf } from '../model/errors.ts'
import { type City, type CityCache, schema } from './city.ts'
import type { HistoryWriter, Tier } from './history.ts'
import { randomBelow } from './random.ts'
import type { Traffic } from './traffic.ts'

/** What a customer who has written shows at the next process: that read must not miss the write. */
export interface Hand {
  readonly ticket: string
  readonly id: number
  readonly version: number
}

export interface ShopOptions {
  readonly cache: CityCache
  readonly traffic: Traffic
  readonly history: HistoryWriter
  readonly random: () => number
  /** Nanoseconds since the run began, of the machine's monotonic clock. */
  readonly nowNs: () => number
  /** Share of the accesses that are writes. */
  readonly writeShare: number
  /** Gives the ticket to another process; absent: there is none. */
  readonly handOver: ((hand: Hand) => void) | undefined
  /** Resolves when the history that was written has been taken off our hands. */
  readonly room: () => Promise<void> | undefined
}

const customers = 32
const longestThinkMs = 16
/** Customers think this much longer for each millisecond that turns come late: the machine is not ours alone. */
const patience = 20
/** And no longer than this: one that was stopped for seconds would not be back before the run is over. */
const mostPatienceMs = 1_000
/** What a timer is late by on an idle machine. */
const timerErrorMs = 1
/** How much the last turn counts in the mean lateness. */
const latenessShare = 0.05
const strongShare = 0.02
/** Rows that one look reads at once, each by a call of its own: 1 to this many. */
const mostAtOnce = 4
/** Of the acts, those that read a list by one `getMany`. */
const batchShare = 0.05
const smallestBatch = 20
const largestBatch = 50
const mostHands = 1_000

const readsPerAct =
  batchShare * ((smallestBatch + largestBatch) / 2) + (1 - batchShare) * ((1 + mostAtOnce) / 2)

export class Shop {
  readonly #options: ShopOptions
  readonly #writeChance: number
  readonly #hands: Hand[] = []
  #latenessMs = 0
  /** Reads that were asked for: a list is one. */
  calls = 0
  /** Reads that told of a row that it does not exist, though none is ever deleted. */
  absent = 0
  failedReads = 0
  failedWrites = 0
  firstFailure: string | undefined

  constructor(options: ShopOptions) {
    this.#options = options
    this.#writeChance = writeChance(options.writeShare)
  }

  /** Until `seconds` after the run began, or the signal. */
  async run(seconds: number, signal: AbortSignal): Promise<void> {
    await Promise.all(
      Array.from({ length: customers }, () => this.#customer(seconds * 1e9, signal)),
    )
  }

  /** Somebody who wrote elsewhere comes here next. */
  take(hand: Hand): void {
    if (this.#hands.length < mostHands) this.#hands.push(hand)
  }

  async #customer(untilNs: number, signal: AbortSignal): Promise<void> {
    const { random, nowNs, room } = this.#options
    let own: Hand | undefined
    for (;;) {
      await this.#think(random() * longestThinkMs + this.#patienceMs())
      await room()
      if (signal.aborted || nowNs() >= untilNs) return
      const hand = own ?? this.#hands.shift()
      own = undefined
      if (hand) await this.#readWith(hand)
      else if (random() < this.#writeChance) own = await this.#write()
      else if (random() < batchShare) await this.#readList()
      else await this.#look()
    }
  }

  #patienceMs(): number {
    return Math.min(mostPatienceMs, patience * this.#latenessMs)
  }

  async #think(ms: number): Promise<void> {
    const start = performance.now()
    await turn(ms)
    const lateMs = Math.max(0, performance.now() - start - ms - timerErrorMs)
    this.#latenessMs += latenessShare * (lateMs - this.#latenessMs)
  }

  // ---- reads

  /** The first row by `getEntry`, which says where the answer came from; the others by `get`. */
  async #look(): Promise<void> {
    const { cache, random } = this.#options
    const [first, ...others] = this.#nextIds(1 + randomBelow(mostAtOnce, random)) as [number]
    this.calls += 1 + others.length
    const consistency = random() < strongShare * readsPerAct ? 'strong' : 'bounded'
    const startNs = this.#options.nowNs()
    await Promise.all([
      this.#single(first, startNs, consistency, cache.city.getEntry(first, { consistency })),
      ...others.map((id) =>
        this.#single(id, startNs, 'bounded', cache.city.get(id).then(withoutTier)),
      ),
    ])
  }

  #readWith({ id, ticket, version }: Hand): Promise<void> {
    this.calls++
    const startNs = this.#options.nowNs()
    const entry = this.#options.cache.city.getEntry(id, { ticket })
    return this.#single(id, startNs, 'bounded', entry, version)
  }

  async #single(
    id: number,
    startNs: number,
    consistency: 'bounded' | 'strong',
    answer: Promise<Answer>,
    ticketVersion = 0,
  ): Promise<void> {
    try {
      const { value, tier, proven: isProven } = await answer
      this.#note({ id, value, startNs, consistency, ticketVersion, tier, isProven })
    } catch (error) {
      this.#failed(error)
      this.failedReads++
    }
  }

  async #readList(): Promise<void> {
    this.calls++
    const { cache, random, nowNs } = this.#options
    const length = smallestBatch + randomBelow(largestBatch - smallestBatch + 1, random)
    const ids = new Set(this.#nextIds(length))
    const startNs = nowNs()
    try {
      const cities = await cache.city.getMany(ids)
      for (const id of ids) {
        const { proven: isProven, ...seen } = withoutTier(cities.get(id))
        this.#note({ id, startNs, consistency: 'bounded', ticketVersion: 0, isProven, ...seen })
      }
    } catch (error) {
      this.#failed(error)
      this.failedReads += ids.size
    }
  }

  #note({ value, ...read }: Noted): void {
    if (value === undefined) this.absent++
    // No version is older than 0: a row that is said not to exist misses every write of it.
    const version = value?.version ?? 0
    this.#options.history.add({ kind: 'read', ...read, version, endNs: this.#options.nowNs() })
  }

  // ---- writes

  /** The ticket, if the customer stays here. */
  async #write(): Promise<Hand | undefined> {
    const { cache, history, nowNs, random, handOver } = this.#options
    const id = this.#nextId()
    const startNs = nowNs()
    try {
      const { ticket, value, fenced } = await cache.city.write(id, (tx) =>
        tx<City>(`${schema}.cities`).where({ id }).increment('version').returning('*'),
      )
      const { version } = value[0] as City
      history.add({ kind: 'write', id, version, startNs, endNs: nowNs(), fenced })
      const hand: Hand = { ticket, id, version }
      if (!handOver || random() < 0.5) return hand
      handOver(hand)
    } catch (error) {
      this.#failed(error)
      this.failedWrites++
    }
    return undefined
  }

  #nextId(): number {
    const { traffic, nowNs } = this.#options
    return traffic.next(nowNs() / 1e6)
  }

  #nextIds(count: number): number[] {
    return Array.from({ length: count }, () => this.#nextId())
  }

  #failed(error: unknown): void {
    this.firstFailure ??= messageOf(error)
  }
}

interface Answer {
  readonly value: City | undefined
  readonly tier: Tier | undefined
  readonly proven: boolean
}

interface Noted {
  readonly id: number
  readonly value: City | undefined
  readonly startNs: number
  readonly consistency: 'bounded' | 'strong'
  readonly ticketVersion: number
  readonly tier: Tier | undefined
  readonly isProven: boolean
}

/** How often an act is a write, so that writes are `share` of all rows accessed: an act reads many. */
function writeChance(share: number): number {
  // One read with the ticket follows each write.
  return Math.min(1, (share * readsPerAct) / (1 - 2 * share + share * readsPerAct))
}

function withoutTier(value: City | undefined): Answer {
  return { value, tier: undefined, proven: false }
}

function turn(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
