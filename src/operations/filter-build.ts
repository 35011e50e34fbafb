/**
 * One build of an entity's filter (DESIGN §8, I6). A bitmap is declared, and from then on every
 * invalidation adds its ids to it. A write of before has an xid below one that is taken after that,
 * so once all of those have ended, a scan sees its ids. Between the two nothing is left out, however
 * long writers, relay and builder take.
 *
 * A build that was left is gone on with by whoever comes next, from the last checkpoint. Reads wait
 * for none of this.
 */
import { mostBits, rateAt, shapeFor } from '../model/bloom.ts'
import type { Clock } from '../model/clock.ts'
import type {
  Begun,
  Build,
  BuildAnswer,
  BuildProgress,
  IdScan,
  L2Filters,
  ScanStart,
  Unavailable,
} from '../model/filter-ports.ts'
import { abortable, sleep } from '../resilience/deadline.ts'
import { BuildLease } from './build-lease.ts'
import { ScannedIds } from './scanned-ids.ts'

export interface FilterBuildOptions {
  readonly entity: string
  readonly filters: L2Filters
  readonly scan: IdScan
  readonly falsePositiveRate: number
  /** `undefined`: by a count. */
  readonly capacity: number | undefined
  readonly clock: Clock
  readonly random: () => number
  /** Asked when the ids are counted, which takes its time: another may have built it meanwhile. */
  readonly isStillDue: () => Promise<boolean>
  /** Told after each page, and at a page of the next try again from the beginning. */
  readonly progressed: (progress: BuildProgress) => void
}

export type Built =
  /** It answers from now on. `capacity`: what it was made for, which may be more than was asked. */
  | {
      readonly kind: 'ready'
      readonly generation: number
      readonly ids: number
      readonly capacity: number
    }
  /** Another builder is at it, or was while the ids were counted. */
  | { readonly kind: 'held' }

interface Scanned {
  readonly kind: 'scanned' | 'crowded'
  readonly ids: number
}

const nothingScanned = { cursor: undefined, scanned: 0 } as const

type Attempt =
  | Built
  | { readonly kind: 'lost' }
  | { readonly kind: 'crowded'; readonly ids: number }

/** A bitmap that was evicted, a failover, another life of the database: then it begins again. */
const mostTries = 5
const pauseMs = { first: 200, longest: 5_000 }
/** How long Redis may have no answer. */
const unavailableMs = 30_000
/** How long transactions may stay open that began before the build. */
const longestWaitMs = 600_000
const waitPollMs = 100
const leastCapacity = 1_000
/** Room for the ids to come. */
const room = 1.25
/** A bitmap with more than its capacity by this, or with a rate above, is made anew, larger. */
const crowded = { share: 1.1, rate: 1.5 }
/** Ids between two checkpoints; fewer checkpoints than these, whatever their number. */
const leastCheckpointIds = 100_000
const checkpoints = 10

/** What was built is void. */
class BuildLost extends Error {}

/**
 * Builds until the filter answers. Rejects where it can't be built: the source or Redis has no answer
 * for too long, ids come that are none, a bitmap lacks what was added to it.
 */
export async function buildFilter(
  options: FilterBuildOptions,
  signal: AbortSignal,
): Promise<Built> {
  const { clock, random, scan } = options
  let capacity = await capacityOf(options, signal)
  if (!(await options.isStillDue())) return { kind: 'held' }
  let delayMs = pauseMs.first
  for (let tries = 1; ; tries++) {
    const attempt = await tryToBuild(options, capacity, signal)
    if (attempt.kind === 'held' || attempt.kind === 'ready') return attempt
    if (tries === mostTries) throw new Error(`it was begun ${tries} times, and each time in vain`)
    if (attempt.kind === 'crowded') capacity = Math.ceil(attempt.ids * room)
    else if (options.capacity === undefined) capacity = await capacityOf(options, signal)
    scan.rest()
    await sleep(delayMs * (0.5 + random()), signal, clock)
    signal.throwIfAborted()
    delayMs = Math.min(pauseMs.longest, delayMs * 2)
  }
}

async function capacityOf(
  { capacity, scan }: FilterBuildOptions,
  signal: AbortSignal,
): Promise<number> {
  if (capacity !== undefined) return capacity
  return Math.max(leastCapacity, Math.ceil(((await scan.count(signal)) ?? 0) * room))
}

async function tryToBuild(
  options: FilterBuildOptions,
  capacity: number,
  signal: AbortSignal,
): Promise<Attempt> {
  const { entity, falsePositiveRate, filters, clock, scan } = options
  const shape = shapeFor(capacity, falsePositiveRate)
  const expected = Math.max(1, Math.round(capacity / room))
  const begun = await insist(options, signal, () =>
    filters.begin(entity, shape, expected, BuildLease.ms),
  )
  if (begun.kind === 'held') return begun
  const { build } = begun
  options.progressed(begun.kind === 'resumed' ? begun.progress : { ...nothingScanned, expected })
  const lease = new BuildLease(filters, build, clock)
  const attempt = new BuildAttempt(options, capacity, expected, begun)
  try {
    const held = AbortSignal.any([signal, lease.lost])
    // A scan that heeds no signal must not keep it from ending.
    const outcome = await abortable(attempt.run(held), held)
    if (outcome.kind === 'crowded') await filters.abandon(build)
    return outcome
  } catch (error) {
    if (error instanceof BuildLost || lease.lost.aborted) return { kind: 'lost' }
    // Whoever comes next goes on from the last checkpoint, if that is of any use.
    if (scan.canResume && !attempt.isFaulty) await filters.renew(build, 0)
    else await filters.abandon(build)
    throw error
  } finally {
    lease.end()
  }
}

class BuildAttempt {
  readonly #options: FilterBuildOptions
  readonly #capacity: number
  readonly #expected: number
  readonly #begun: Exclude<Begun, { kind: 'held' | 'unavailable' }>
  readonly #build: Build
  /** The bitmap lacks what was added to it. */
  isFaulty = false

  constructor(
    options: FilterBuildOptions,
    capacity: number,
    expected: number,
    begun: Exclude<Begun, { kind: 'held' | 'unavailable' }>,
  ) {
    this.#options = options
    this.#capacity = capacity
    this.#expected = expected
    this.#begun = begun
    this.#build = begun.build
  }

  async run(signal: AbortSignal): Promise<Attempt> {
    const { entity, filters, random } = this.#options
    const build = this.#build
    const start = await this.#start(signal)
    const ids = new ScannedIds(filters.seedOf(entity), build, random)
    const scanned = await this.#scan(ids, signal)
    if (scanned.kind === 'crowded') return { kind: 'crowded', ids: scanned.ids }
    await this.#check(start, signal)
    const missing = await filters.missing(entity, build.generation, ids.sample)
    if (missing.some((isMissing) => isMissing)) {
      this.isFaulty = true
      throw new Error('the bitmap in Redis lacks ids that were added to it')
    }
    await this.#finish(signal)
    return {
      kind: 'ready',
      generation: build.generation,
      ids: scanned.ids,
      capacity: this.#capacity,
    }
  }

  /** When every write that might have been before the bitmap has ended. */
  async #start(signal: AbortSignal): Promise<ScanStart> {
    const { clock, filters, scan } = this.#options
    const begun = this.#begun
    if (begun.kind === 'resumed') {
      await this.#check(begun.start, signal)
      return begun.start
    }
    const start = await scan.xid(signal)
    const untilMs = clock.monotonicMs() + longestWaitMs
    while ((await this.#check(start, signal)) === 'open') {
      if (clock.monotonicMs() > untilMs) {
        const minutes = longestWaitMs / 60_000
        throw new Error(`a transaction from before the build has been open for ${minutes} min`)
      }
      await sleep(waitPollMs, signal, clock)
      signal.throwIfAborted()
    }
    await this.#done(signal, () => filters.started(this.#build, start))
    return start
  }

  /** What was scanned in another life of the database may not be all of this one's. */
  async #check(start: ScanStart, signal: AbortSignal): Promise<'ended' | 'open'> {
    const state = await this.#options.scan.stateOf(start, signal)
    if (state !== 'outlived') return state
    await this.#options.filters.abandon(this.#build)
    throw new BuildLost()
  }

  async #scan(ids: ScannedIds, signal: AbortSignal): Promise<Scanned> {
    const { filters, scan, progressed, falsePositiveRate } = this.#options
    const build = this.#build
    const before =
      this.#begun.kind === 'resumed' && scan.canResume ? this.#begun.progress : nothingScanned
    // There was nothing left but to finish it.
    if (before.cursor === undefined && before.scanned > 0) {
      return { kind: 'scanned', ids: before.scanned }
    }
    let isCrowded = false
    let { cursor, scanned } = before
    let mergedIds = scanned
    const checkpointIds = Math.max(leastCheckpointIds, this.#expected / checkpoints)
    for await (const page of scan.pages(cursor, signal)) {
      scanned += page.ids.length
      cursor = page.next
      const progress = { cursor, scanned, expected: Math.max(this.#expected, scanned) }
      progressed(progress)
      // How many there are is still to be known.
      if (isCrowded) continue
      await ids.add(page.ids)
      isCrowded = this.#isCrowded(before.scanned + ids.distinct)
      if (isCrowded && scan.canResume) break
      if (isCrowded || (cursor !== undefined && scanned - mergedIds < checkpointIds)) continue
      await this.#done(signal, () => filters.merge(build, ids.bitmap, progress))
      mergedIds = scanned
    }
    const isFull = rateAt(build, ids.setBits()) > crowded.rate * falsePositiveRate
    if (!isCrowded && !(isFull && build.bits < mostBits)) return { kind: 'scanned', ids: scanned }
    const counted = await scan.count(signal)
    // What is repeated counts as often as it has until then.
    const estimated = before.scanned + (scanned * ids.distinct) / Math.max(1, ids.scanned)
    return { kind: 'crowded', ids: Math.ceil(Math.max(counted ?? estimated, ids.distinct)) }
  }

  #isCrowded(ids: number): boolean {
    return ids > this.#capacity * crowded.share && this.#build.bits < mostBits
  }

  /** An answer that was lost on its way may have been "done". */
  async #finish(signal: AbortSignal): Promise<void> {
    const { entity, filters } = this.#options
    try {
      await this.#done(signal, () => filters.finish(this.#build))
    } catch (error) {
      const status = await filters.status(entity)
      const isThere =
        status.kind === 'status' && status.current?.generation === this.#build.generation
      if (!isThere) throw error
    }
  }

  async #done(signal: AbortSignal, call: () => Promise<BuildAnswer>): Promise<void> {
    const answer = await insist(this.#options, signal, call)
    if (answer.kind === 'lost') throw new BuildLost()
  }
}

/** Asks until there is an answer. */
async function insist<T extends { readonly kind: string }>(
  { clock, random }: FilterBuildOptions,
  signal: AbortSignal,
  call: () => Promise<T | Unavailable>,
): Promise<Exclude<T, Unavailable>> {
  const untilMs = clock.monotonicMs() + unavailableMs
  for (let delayMs = pauseMs.first; ; delayMs = Math.min(pauseMs.longest, delayMs * 2)) {
    signal.throwIfAborted()
    const answer = await call()
    if (answer.kind !== 'unavailable') return answer as Exclude<T, Unavailable>
    if (clock.monotonicMs() > untilMs) throw (answer as Unavailable).cause
    await sleep(delayMs * (0.5 + random()), signal, clock)
  }
}
