/**
 * Somebody who asks for ids that don't exist (`--attack`): as many a second whatever becomes of them,
 * while there is a Bloom filter that keeps them from the source. When it is lost, or Redis has no proof
 * to refuse by, the attack rests until it refuses again: a source that nothing shields goes down with
 * all its readers, and the next proof with it.
 */
import { setTimeout } from 'node:timers/promises'
import type { MetricName } from '../telemetry/catalogue.ts'
import type { CityCache } from './city.ts'
import type { Tier } from './history.ts'
import { randomBelow } from './random.ts'

export interface AttackCounts {
  /** Ids that were asked for; none of them exists. */
  readonly requests: number
  /** Requests that Redis answered: the filter doesn't have the id. */
  readonly refused: number
  /** Ids that calls of the loader were for, of those that don't exist. */
  readonly sourceQueries: number
  /** Requests that the source answered, many in a row: there was no filter, or no proof to refuse by. */
  readonly inDoubt: number
  /** Ids that this process' copy of the filter took for existing, as the cache has counted them. */
  readonly falsePositives: number
  readonly failed: number
  /** Rows that were inserted meanwhile, and then found. */
  readonly newRows: number
}

export const noAttack: AttackCounts = {
  requests: 0,
  refused: 0,
  sourceQueries: 0,
  inDoubt: 0,
  falsePositives: 0,
  failed: 0,
  newRows: 0,
}

export const requestsPerSecond = 1_000
/** A request for which there is no room is not made: nobody has that many connections. */
const mostUnderWay = 100
const tickMs = 10
/** From the source, in a row: by false positives alone that doesn't happen. */
const mostUnrefused = 20
const lookEveryMs = 200
/** Less than processes may take to start. */
const longestPreparationMs = 20_000

/** Integers as PostgreSQL has them, above those of all rows, also the new ones. */
const firstAbsentId = 1_500_000_000
const absentIds = 600_000_000

const begun = `the Bloom filter is ready, and ${requestsPerSecond.toLocaleString('en-US')} ids a second are asked for that don’t exist`

export interface AttackOptions {
  readonly cache: AttackedCache
  /** Nanoseconds since the run began. */
  readonly nowNs: () => number
  readonly seconds: number
  readonly tell: (news: string) => void
}

type AttackedCache = Pick<CityCache, 'city' | 'metrics'>

export class Attack {
  readonly #random: () => number
  readonly #underWay = new Set<Promise<void>>()
  /** By where the answers came from. */
  readonly answered: Record<Tier, number> = { l1: 0, l2: 0, source: 0 }
  #unrefused = 0
  requests = 0
  failed = 0
  sourceQueries = 0
  inDoubt = 0
  falsePositives = 0

  constructor(random: () => number) {
    this.#random = random
  }

  /** Until the filter refuses, if that doesn't take too long: then the run has less of the attack. */
  async prepare(cache: AttackedCache, signal: AbortSignal): Promise<void> {
    const untilMs = performance.now() + longestPreparationMs
    while (!signal.aborted && performance.now() < untilMs && !(await this.#isRefused(cache))) {
      await setTimeout(lookEveryMs)
    }
  }

  counts(newRows: number): AttackCounts {
    const { requests, answered, sourceQueries, inDoubt, falsePositives, failed } = this
    const { l2: refused } = answered
    return { requests, refused, sourceQueries, inDoubt, falsePositives, failed, newRows }
  }

  /** While the filter refuses, until `seconds` after the run began, or the signal; never rejects. */
  async run({ cache, nowNs, seconds, tell }: AttackOptions, signal: AbortSignal): Promise<void> {
    const isOver = (): boolean => signal.aborted || nowNs() >= seconds * 1e9
    const watch = setInterval(() => void this.#look(cache), lookEveryMs)
    let hasBegun = false
    while (!isOver()) {
      if (await this.#isRefused(cache)) {
        if (!hasBegun) tell(begun)
        hasBegun = true
        await this.#askAll(cache, nowNs, isOver)
      } else await setTimeout(lookEveryMs)
    }
    clearInterval(watch)
    await Promise.all(this.#underWay)
    await this.#look(cache)
  }

  /** The loader is called for these ids. */
  readonly loading = (ids: readonly number[]): void => {
    for (const id of ids) if (id >= firstAbsentId) this.sourceQueries++
  }

  /** Until the run is over, or nothing is refused any more. */
  async #askAll(cache: AttackedCache, nowNs: () => number, isOver: () => boolean): Promise<void> {
    let lastNs = nowNs()
    let due = 0
    while (!isOver() && this.#unrefused < mostUnrefused) {
      const now = nowNs()
      due += ((now - lastNs) / 1e9) * requestsPerSecond
      lastNs = now
      for (; due >= 1; due--) if (this.#underWay.size < mostUnderWay) this.#ask(cache)
      await setTimeout(tickMs)
    }
  }

  #ask(cache: AttackedCache): void {
    const asked = this.#request(cache).then(() => void this.#underWay.delete(asked))
    this.#underWay.add(asked)
  }

  /** By one request, once Redis has a filter: being there it may still have no proof to answer by. */
  async #isRefused(cache: AttackedCache): Promise<boolean> {
    const isThere = (await numberOf(cache, 'lockstep_bloom_ready')) === 1
    return isThere && (await this.#request(cache)) === 'l2'
  }

  /** Where the answer came from; never rejects. */
  async #request(cache: AttackedCache): Promise<Tier | undefined> {
    this.requests++
    try {
      const { tier } = await cache.city.getEntry(
        firstAbsentId + randomBelow(absentIds, this.#random),
      )
      this.answered[tier]++
      this.#count(tier)
      return tier
    } catch {
      this.failed++
      return undefined
    }
  }

  #count(tier: Tier): void {
    this.#unrefused = tier === 'l2' ? 0 : this.#unrefused + 1
    if (this.#unrefused === mostUnrefused) this.inDoubt += mostUnrefused
    else if (this.#unrefused > mostUnrefused) this.inDoubt++
  }

  async #look(cache: AttackedCache): Promise<void> {
    this.falsePositives = await numberOf(cache, 'lockstep_bloom_false_positives_total')
  }
}

/** There is one entity, and so one sample. */
async function numberOf(cache: AttackedCache, name: MetricName): Promise<number> {
  const metric = await cache.metrics().getSingleMetric(name)?.get()
  return metric?.values[0]?.value ?? 0
}
