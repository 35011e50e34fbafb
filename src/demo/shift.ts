/**
 * One process' part of the demo, from opening its cache to closing it; `worker.ts` runs it in a
 * process of its own.
 */
import { lockstep } from '../lockstep.ts'
import { openPool } from '../postgres/pool.ts'
import { type Deferred, deferred } from '../resilience/deadline.ts'
import { commandLog } from '../telemetry/log.ts'
import type { EntityStats, LockstepOptions } from '../types.ts'
import { Attack, noAttack } from './attack.ts'
import { type CityCache, cityEntity, countCityQueries } from './city.ts'
import { type Hand, Shop } from './customers.ts'
import { HistoryWriter } from './history.ts'
import type { FromWorker, Progress, WorkerSettings } from './messages.ts'
import { Newcomers, newcomersOf } from './newcomers.ts'
import { tellNews } from './news.ts'
import { seededRandom } from './random.ts'
import { readTrace } from './trace.ts'
import { shopTraffic, type Traffic, traceTraffic } from './traffic.ts'

type Options = LockstepOptions<{ city: ReturnType<typeof cityEntity> }>

export interface Shift {
  /** Waits a while for what the run is better with; resolves in any case. */
  prepare(signal: AbortSignal): Promise<void>
  run(epochNs: bigint, seconds: number, signal: AbortSignal): Promise<void>
  take(hand: Hand): void
  /** Another process has inserted that row. */
  lookFor(id: number): void
  close(): Promise<void>
}

/** Tells the others; resolves when the message has left. */
export type Tell = (message: FromWorker) => Promise<void>

/** Chunks that may be on their way; then the customers wait, so that memory stays bounded. */
const mostUnsent = 50
const tellEveryMs = 200
/** Everything runs on one machine, often a busy one: slow is no failure here. */
const timing = {
  redisDeadline: '1s',
  loadDeadline: '2s',
  loadQueueDeadline: '4s',
  writeDeadline: '2s',
  readDeadline: '8s',
}

export async function openShift(
  settings: WorkerSettings,
  tell: Tell,
  open: (options: Options) => Promise<CityCache> = lockstep,
): Promise<Shift> {
  const { databaseUrl, redisUrl, kafkaBrokers, namespace, logLevel, rows, foreign } = settings
  const random = seededRandom(settings.seed + settings.process + 1)
  const traffic = trafficOf(settings, random)
  const pool = openPool(databaseUrl)
  try {
    const sourceQueries = countCityQueries(pool.knex)
    const attack = settings.attack
      ? new Attack(seededRandom(~(settings.seed + settings.process)))
      : undefined
    const cache = await open({
      namespace,
      postgres: pool.knex,
      redis: redisUrl,
      kafka: kafkaBrokers,
      entities: { city: cityEntity({ rows, foreign, loading: attack?.loading }) },
      timing,
      logger: commandLog(`lockstep demo, process ${settings.process}`, logLevel),
    })
    const tellOf = (news: string): void => void tell({ kind: 'news', news })
    const endNews = tellNews(cache, tellOf)
    const isAlone = settings.processes === 1
    let shop: Shop | undefined
    let newcomers: Newcomers | undefined
    return {
      prepare: async (signal) => {
        await attack?.prepare(cache, signal)
      },
      run: async (epochNs, seconds, signal) => {
        const report = new Report(cache, sourceQueries, epochNs, tell)
        const { history, nowNs, room } = report
        const common = { cache, history, random, nowNs, room }
        shop = new Shop({
          ...common,
          traffic,
          writeShare: settings.writeShare,
          handOver: isAlone ? undefined : (hand) => void tell({ kind: 'hand', hand }),
        })
        const working = [shop.run(seconds, signal)]
        if (attack) {
          newcomers = new Newcomers({
            ...common,
            run: newcomersOf(settings.seed),
            handOver: isAlone ? undefined : (id) => void tell({ kind: 'new-row', id }),
            tell: tellOf,
          })
          working.push(newcomers.run(seconds, signal))
          working.push(attack.run({ cache, nowNs, seconds, tell: tellOf }, signal))
        }
        await report.during({ shop, newcomers, attack }, Promise.all(working))
      },
      take: (hand) => shop?.take(hand),
      lookFor: (id) => newcomers?.take(id),
      close: async () => {
        endNews()
        await cache.close({ timeout: '2s' })
        await pool.close()
      },
    }
  } catch (error) {
    await pool.close()
    throw error
  }
}

export function trafficOf(settings: WorkerSettings, random: () => number): Traffic {
  const { trace, rows, seed, process, processes } = settings
  return trace === undefined
    ? shopTraffic(rows, seed, random)
    : traceTraffic(readTrace(trace), rows, process, processes)
}

/** Who works on the cache in one process. */
interface Workers {
  readonly shop: Shop
  readonly newcomers: Newcomers | undefined
  readonly attack: Attack | undefined
}

/** Brings the history and the counts out of the process, a few times a second. */
class Report {
  readonly history = new HistoryWriter((chunk) => this.#send(chunk))
  readonly #cache: CityCache
  readonly #sourceQueries: () => number
  readonly #epochNs: bigint
  readonly #tell: Tell
  #workers: Workers | undefined
  #unsent = 0
  #room: Deferred<void> | undefined

  constructor(cache: CityCache, sourceQueries: () => number, epochNs: bigint, tell: Tell) {
    this.#cache = cache
    this.#sourceQueries = sourceQueries
    this.#epochNs = epochNs
    this.#tell = tell
  }

  readonly nowNs = (): number => Number(process.hrtime.bigint() - this.#epochNs)

  readonly room = (): Promise<void> | undefined => this.#room?.promise

  async during(workers: Workers, work: Promise<unknown>): Promise<void> {
    this.#workers = workers
    const timer = setInterval(() => this.#flush(), tellEveryMs)
    try {
      await work
    } finally {
      clearInterval(timer)
      this.#flush()
      await this.#tellHistory(new Uint8Array(0), Number.POSITIVE_INFINITY)
    }
  }

  #flush(): void {
    this.history.flush()
    // Also without a word to say: the others' reads wait for it.
    this.#send(new Uint8Array(0))
  }

  #send(chunk: Uint8Array): void {
    void this.#tellHistory(chunk, this.nowNs())
  }

  async #tellHistory(chunk: Uint8Array, untilNs: number): Promise<void> {
    this.#unsent++
    if (this.#unsent >= mostUnsent) this.#room ??= deferred<void>()
    await this.#tell({ kind: 'history', chunk, untilNs, progress: this.#progress() })
    this.#unsent--
    if (this.#unsent >= mostUnsent) return
    this.#room?.resolve()
    this.#room = undefined
  }

  #progress(): Progress {
    const { hits, misses, loads } = this.#cache.stats().city as EntityStats
    const { shop, newcomers, attack } = this.#workers as Workers
    const sum = (count: (one: Shop | Newcomers) => number): number =>
      count(shop) + (newcomers ? count(newcomers) : 0)
    const { l1, l2, source } = attack?.answered ?? { l1: 0, l2: 0, source: 0 }
    return {
      calls: sum(({ calls }) => calls),
      l1Hits: hits.l1 - l1,
      l2Hits: hits.l2 - l2,
      misses: misses - source,
      loads,
      sourceQueries: this.#sourceQueries(),
      absent: sum(({ absent }) => absent),
      failedReads: sum(({ failedReads }) => failedReads),
      failedWrites: sum(({ failedWrites }) => failedWrites),
      firstFailure: shop.firstFailure ?? newcomers?.firstFailure,
      attack: attack?.counts(newcomers?.found ?? 0) ?? noAttack,
    }
  }
}
