/** What a run came to, in numbers: the document of `--json`. */
import { bloomDefaults } from '../model/bloom-option.ts'
import { type AttackCounts, noAttack } from './attack.ts'
import type { ChaosResults } from './chaos.ts'
import type { DemoOptions } from './demo-options.ts'
import type { Docket } from './docket.ts'
import type { Tier } from './history.ts'
import type { Progress } from './messages.ts'
import type { Services } from './services.ts'

interface Percentiles {
  readonly p50: number | null
  readonly p99: number | null
}

export interface DemoResults {
  readonly seconds: number
  readonly processes: number
  readonly rows: number
  /** Answered reads; a `getMany` counts each of its ids. */
  readonly reads: number
  /** Reads as they were asked for; a `getMany` is one. Without a cache each would be a query. */
  readonly calls: number
  readonly strongReads: number
  readonly ticketedReads: number
  readonly writes: number
  readonly hits: { readonly l1: number; readonly l2: number }
  readonly misses: number
  readonly hitRatio: number
  /** Calls of the loader. */
  readonly loads: number
  /** Statements that read rows, counted where they were sent. */
  readonly sourceQueries: number
  readonly crossProcessChecks: number
  readonly staleStrong: number
  readonly staleBeyondBound: number
  readonly maxStaleMs: number
  /** Answers that a row doesn't exist, though all do. */
  readonly absent: number
  readonly failedReads: number
  readonly failedWrites: number
  /** Writes that Redis couldn't be told of in time: strong reads are not judged by them. */
  readonly unfencedWrites: number
  /** Rows that plain SQL wrote, of which triggers told. */
  readonly foreignWrites: number
  readonly latencyMs: Readonly<Record<Tier, Percentiles>>
  /** Reads a second, of all processes. */
  readonly throughput: number
  readonly services: Services
  readonly credit: string
  /** With `--chaos`. */
  readonly chaos?: ChaosResults
  /** With `--attack`; `reads`, `calls`, `hits` and `misses` don't count its requests. */
  readonly attack?: AttackCounts
}

const nothing: Progress = {
  calls: 0,
  l1Hits: 0,
  l2Hits: 0,
  misses: 0,
  loads: 0,
  sourceQueries: 0,
  absent: 0,
  failedReads: 0,
  failedWrites: 0,
  firstFailure: undefined,
  attack: noAttack,
}

/** The counts of all processes, also of those that others have replaced. */
export class Tally {
  readonly #now: (Progress | undefined)[] = []
  #gone = nothing

  hear(process: number, progress: Progress): void {
    this.#now[process] = progress
  }

  replaced(process: number): void {
    this.#gone = sumUp([this.#gone, this.#now[process] ?? nothing])
    this.#now[process] = undefined
  }

  get sums(): Progress {
    return sumUp([this.#gone, ...this.#now.filter((one) => one !== undefined)])
  }
}

export function sumUp(all: Iterable<Progress>): Progress {
  let sums = nothing
  for (const one of all) {
    sums = {
      calls: sums.calls + one.calls,
      l1Hits: sums.l1Hits + one.l1Hits,
      l2Hits: sums.l2Hits + one.l2Hits,
      misses: sums.misses + one.misses,
      loads: sums.loads + one.loads,
      sourceQueries: sums.sourceQueries + one.sourceQueries,
      absent: sums.absent + one.absent,
      failedReads: sums.failedReads + one.failedReads,
      failedWrites: sums.failedWrites + one.failedWrites,
      firstFailure: sums.firstFailure ?? one.firstFailure,
      attack: sumUpAttacks(sums.attack, one.attack),
    }
  }
  return sums
}

function sumUpAttacks(one: AttackCounts, other: AttackCounts): AttackCounts {
  return {
    requests: one.requests + other.requests,
    refused: one.refused + other.refused,
    sourceQueries: one.sourceQueries + other.sourceQueries,
    inDoubt: one.inDoubt + other.inDoubt,
    falsePositives: one.falsePositives + other.falsePositives,
    failed: one.failed + other.failed,
    newRows: one.newRows + other.newRows,
  }
}

export interface Run {
  readonly options: DemoOptions
  readonly rows: number
  readonly docket: Docket
  readonly sums: Progress
  readonly services: Services
  readonly credit: string
  readonly chaos: ChaosResults | undefined
}

export function resultsOf({
  options,
  rows,
  docket,
  sums,
  services,
  credit,
  chaos,
}: Run): DemoResults {
  const { counts, verdict, latency } = docket
  const { crossProcessChecks, staleStrong, staleBeyondBound, maxStaleMs } = verdict
  const percentiles = (tier: Tier): Percentiles => ({
    p50: latency[tier].percentileMs(0.5),
    p99: latency[tier].percentileMs(0.99),
  })
  return {
    seconds: options.seconds,
    processes: options.processes,
    rows,
    reads: counts.reads,
    calls: sums.calls,
    strongReads: counts.strongReads,
    ticketedReads: counts.ticketedReads,
    writes: counts.writes,
    hits: { l1: sums.l1Hits, l2: sums.l2Hits },
    misses: sums.misses,
    hitRatio: round((sums.l1Hits + sums.l2Hits) / Math.max(1, counts.reads), 4),
    loads: sums.loads,
    sourceQueries: sums.sourceQueries,
    crossProcessChecks,
    staleStrong,
    staleBeyondBound,
    maxStaleMs,
    absent: sums.absent,
    failedReads: sums.failedReads,
    failedWrites: sums.failedWrites,
    unfencedWrites: counts.unfencedWrites,
    foreignWrites: counts.foreignWrites,
    latencyMs: { l1: percentiles('l1'), l2: percentiles('l2'), source: percentiles('source') },
    throughput: round(counts.reads / options.seconds, 1),
    services,
    credit,
    ...(chaos && { chaos }),
    ...(options.attack && { attack: sums.attack }),
  }
}

/** Of all answers to reads, those that may have failed before the run itself counts as failed. */
const failedShare = 0.01
/** Where connections are cut on purpose all the time, what was under way on them fails. */
const failedShareInChaos = 0.1

/** Why a run is no success; `undefined`: it is one. */
export function failureOf(
  results: DemoResults,
  firstFailure: string | undefined,
): string | undefined {
  const { staleStrong, staleBeyondBound, absent, reads, failedReads } = results
  if (staleStrong + staleBeyondBound + absent > 0) {
    return `stale answers: ${staleStrong + staleBeyondBound}; rows that were said not to exist: ${absent}`
  }
  if (reads === 0) return `no read was answered${firstFailure ? `: ${firstFailure}` : ''}`
  const share = results.chaos ? failedShareInChaos : failedShare
  if (failedReads > share * (reads + failedReads)) {
    return `${failedReads} reads failed${firstFailure ? `; the first: ${firstFailure}` : ''}`
  }
  return attackFailureOf(results)
}

/**
 * This many times what the filter is made to let through may reach the source, and this many ids more;
 * those not counted that were in doubt, as happens on a busy machine for a moment now and then.
 */
const mostTimesTheRate = 20
const mostMore = 100

/** In chaos the filter itself is lost, and Redis can't be asked: then ids are loaded, and rightly so. */
function attackFailureOf({ attack, chaos }: DemoResults): string | undefined {
  if (!attack || chaos) return undefined
  const { requests, refused, inDoubt } = attack
  if (refused === 0) return 'there was no attack: the Bloom filter was not there in time'
  const most = Math.ceil(mostMore + mostTimesTheRate * bloomDefaults.falsePositiveRate * requests)
  const sourceQueries = attack.sourceQueries - inDoubt
  if (sourceQueries <= most) return undefined
  return `of ${requests} ids that don’t exist ${sourceQueries} reached the source past the filter; at most ${most} would do`
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
