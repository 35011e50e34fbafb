/**
 * Keeps one entity's filter (DESIGN §8): looks at it every second, has it built when there is none
 * that answers, when it is too full or when somebody has asked, and keeps this process' copy of it up
 * to date. Every instance that has the entity does so; who gets the builder's lease builds.
 */
import { mostBits, rateAt } from '../model/bloom.ts'
import type { Clock } from '../model/clock.ts'
import type {
  BuildProgress,
  FilterStatus,
  IdScan,
  L2Filters,
  Unavailable,
} from '../model/filter-ports.ts'
import type { Logger } from '../model/log.ts'
import { sleep } from '../resilience/deadline.ts'
import type { BloomNews } from '../telemetry/events.ts'
import { type Built, buildFilter } from './filter-build.ts'

/** What keeps level 1. */
interface Copy {
  readonly generation: number | undefined
  follow(header: NonNullable<FilterStatus['current']>, signal: AbortSignal): Promise<void>
  drop(): void
}

export interface FilterKeeperOptions {
  readonly entity: string
  readonly filters: L2Filters
  readonly scan: IdScan
  readonly copy: Copy
  readonly falsePositiveRate: number
  /** `undefined`: by a count. */
  readonly capacity: number | undefined
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
  readonly told: (news: BloomNews) => void
}

const pollMs = 1_000
/** Share by which a poll is sooner or later, so that instances don't ask at once. */
const pollJitter = 0.2
const backoffMs = { first: 1_000, longest: 300_000 }
/**
 * A filter that is gone or outlived so soon would be again: a Redis without room for it evicts it, and
 * in a new life of the database the barrier follows only in a while.
 */
const restMs = 10_000
/** A filter that is too full is not rebuilt more often than this. */
const saturationPauseMs = 60_000
/** Too full: its rate is more than this times what is wanted. */
const mostRate = 2

export class FilterKeeper {
  readonly #options: FilterKeeperOptions
  readonly #closing = new AbortController()
  #nap = new AbortController()
  #ended: Promise<void> | undefined
  #building: Promise<void> | undefined
  #copying: Promise<void> | undefined
  #capacity: number | undefined
  #status: FilterStatus | undefined
  #progress: BuildProgress | undefined
  #failures = 0
  #notBeforeMs = Number.NEGATIVE_INFINITY
  #saturatedAtMs = Number.NEGATIVE_INFINITY
  #readyAtMs = Number.NEGATIVE_INFINITY
  /** The generation that answers, with its rate when it was first seen. */
  #seen: { readonly generation: number; readonly rate: number; readonly atMs: number } | undefined
  readonly outcomes: Record<'ready' | 'failed', number> = { ready: 0, failed: 0 }

  constructor(options: FilterKeeperOptions) {
    this.#options = options
    this.#capacity = options.capacity
  }

  /** As of the last look; `undefined`: there was no answer to it. */
  get status(): FilterStatus | undefined {
    return this.#status
  }

  /** Of the build of this process. */
  get progress(): BuildProgress | undefined {
    return this.#progress
  }

  start(): void {
    this.#ended = this.#run()
  }

  /** Looks now. */
  poke(): void {
    this.#nap.abort()
  }

  /** A build that is under way is left to the next who begins. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the cache is closed'))
    this.#nap.abort()
    await this.#ended
    await Promise.all([this.#building, this.#copying])
    this.#options.scan.rest()
  }

  async #run(): Promise<void> {
    const { clock, entity, filters, random } = this.#options
    while (!this.#closing.signal.aborted) {
      const answer: FilterStatus | Unavailable = await filters.status(entity)
      if (this.#closing.signal.aborted) return
      this.#consider(answer.kind === 'status' ? answer : undefined)
      this.#nap = new AbortController()
      await sleep(pollMs * (1 + pollJitter * (2 * random() - 1)), this.#nap.signal, clock)
    }
  }

  #consider(status: FilterStatus | undefined): void {
    const { copy, told, entity } = this.#options
    const before = this.#status
    this.#status = status
    // Without an answer nothing is known to have changed.
    if (!status) return
    const { current } = status
    if (!current) {
      copy.drop()
      if (before?.current) told({ entity, state: 'lost', generation: before.current.generation })
    } else {
      this.#copying ??= copy.follow(current, this.#closing.signal).finally(() => {
        this.#copying = undefined
      })
      if (this.#seen?.generation !== current.generation) {
        const { generation, setBits } = current
        const atMs = this.#options.clock.monotonicMs()
        this.#seen = { generation, rate: rateAt(current, setBits), atMs }
      }
    }
    if (this.#building || this.#options.clock.monotonicMs() < this.#notBeforeMs) return
    const why = this.#whyDue(status)
    if (!why) return
    this.#building = this.#build(why).finally(() => {
      this.#building = undefined
      this.#progress = undefined
    })
  }

  /** Why it is to be built now; never because others want less of it. */
  #whyDue(status: FilterStatus): BloomNews['reason'] {
    const { current, building } = status
    if (building?.isHeld || !status.hasBarrier) return undefined
    if (status.isRequested) return 'requested'
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs - this.#readyAtMs < restMs) return undefined
    if (!current) return 'none'
    if (status.isOutlived && nowMs - (this.#seen?.atMs ?? 0) >= restMs) return 'outlived'
    // Somebody had begun for a reason.
    if (building) return 'left'
    return this.#isSaturated(current) ? 'saturated' : undefined
  }

  #isSaturated(current: NonNullable<FilterStatus['current']>): boolean {
    const { clock, falsePositiveRate } = this.#options
    // Another one would be as full.
    const asBuilt = current.bits >= mostBits ? (this.#seen?.rate ?? 0) : 0
    const most = mostRate * Math.max(falsePositiveRate, asBuilt)
    if (rateAt(current, current.setBits) <= most) return false
    if (clock.monotonicMs() - this.#saturatedAtMs < saturationPauseMs) return false
    this.#saturatedAtMs = clock.monotonicMs()
    return true
  }

  async #build(reason: BloomNews['reason']): Promise<void> {
    const { entity, filters, log, scan, told } = this.#options
    const signal = this.#closing.signal
    const generation = this.#status?.current?.generation
    const isStillDue = async (): Promise<boolean> => {
      const status = await filters.status(entity)
      return status.kind !== 'status' || !status.current || status.current.generation === generation
    }
    let hasBegun = false
    const progressed = (progress: BuildProgress): void => {
      this.#progress = progress
      if (hasBegun) return
      hasBegun = true
      told({ entity, state: 'building', reason })
    }
    try {
      const built = await buildFilter(
        { ...this.#options, capacity: this.#capacity, isStillDue, progressed },
        signal,
      )
      if (built.kind === 'ready') this.#built(built)
    } catch (error) {
      if (signal.aborted) return
      this.#failed(error)
      log.warn({ err: error, entity }, 'the Bloom filter could not be built')
    } finally {
      scan.rest()
    }
  }

  #built({ generation, ids, capacity }: Built & { readonly kind: 'ready' }): void {
    const { entity, told } = this.#options
    this.outcomes.ready++
    this.#readyAtMs = this.#options.clock.monotonicMs()
    this.#failures = 0
    // What was found to be too small is not tried again.
    if (this.#capacity !== undefined) this.#capacity = Math.max(this.#capacity, capacity)
    told({ entity, state: 'ready', generation, ids })
    this.poke()
  }

  #failed(error: unknown): void {
    const { clock, entity, random, told } = this.#options
    this.outcomes.failed++
    const delayMs = Math.min(backoffMs.longest, backoffMs.first * 2 ** this.#failures++)
    this.#notBeforeMs = clock.monotonicMs() + delayMs * (0.5 + random() / 2)
    told({ entity, state: 'failed', error })
  }
}
