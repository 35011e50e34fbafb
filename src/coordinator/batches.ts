/**
 * What L1 has no answer for (DESIGN §4.2–4.3): reads of one event-loop turn travel together, to this
 * process' loads of their ids, to L2 in one MGET, and to the loader with what is left.
 */
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { L1Key } from '../model/id.ts'
import type { Lookup } from '../model/l2-port.ts'
import { rankOf } from '../model/load-class.ts'
import { type Deferred, deferred, watchDeadlines } from '../resilience/deadline.ts'
import { codeOf } from '../telemetry/counters.ts'
import { answerFromL2 } from './answer-from-l2.ts'
import { doubtsOf } from './doubts.ts'
import { type Flight, type Landed, mayJoin, mayTake } from './flight.ts'
import { Loader } from './load.ts'
import type { ReadContext, Wanted, WantedGroup } from './wanted.ts'

export class Batches {
  readonly #context: ReadContext
  readonly #loader: Loader
  /** What L2 is asked for while `serve.stale` is set. */
  readonly #lenient: AnyEntity
  readonly #refreshing = new Set<L1Key>()
  /** Readers whose load has failed, with what. */
  readonly #failures = new WeakMap<Wanted, unknown>()
  #queue: Wanted[] = []
  #underWay = 0
  #end: Deferred<void> | undefined

  constructor(context: ReadContext) {
    this.#context = context
    const { entity } = context
    this.#lenient = Object.freeze({ ...entity, graceMs: entity.staleGraceMs })
    this.#loader = new Loader(context, {
      deliver: (wanted, landed) => this.#deliver(wanted, landed),
      again: (wanted) => this.#again(wanted),
    })
  }

  enqueue(wanted: Wanted): void {
    this.#queue.push(wanted)
    if (this.#queue.length === 1) this.#context.clock.defer(this.#flush)
  }

  isRefreshing(key: L1Key): boolean {
    return this.#refreshing.has(key)
  }

  /** For nobody who waits; not while `isRefreshing`. */
  refresh(wanted: Wanted): void {
    this.#refreshing.add(wanted.key)
    this.enqueue(wanted)
  }

  /** Loads an id anew that is fresh everywhere, unless that is under way. Never rejects. */
  async reload(wanted: Wanted): Promise<void> {
    const { key } = wanted
    if (this.#refreshing.has(key) || this.#loader.flightOf(key)) return
    this.#refreshing.add(key)
    await this.during(this.#loader.load([{ ...groupOf(wanted), insist: true, isInL2: true }]))
    this.#refreshing.delete(key)
  }

  /** `drain` waits for it. */
  async during(work: Promise<void>): Promise<void> {
    this.#underWay++
    await work.finally(() => this.#ended())
  }

  /** Resolves when every read that is under way has been answered. */
  async drain(): Promise<void> {
    // What waits for the end of this turn is under way too.
    while (this.#queue.length > 0 || this.#underWay > 0) {
      this.#end ??= deferred()
      await this.#end.promise
    }
  }

  readonly #flush = (): void => {
    const batch = this.#queue
    this.#queue = []
    void this.#answer(batch)
  }

  /** Never rejects. */
  async #answer(batch: readonly Wanted[]): Promise<void> {
    this.#underWay++
    const endWatch = this.#watchDeadlines(batch)
    const following: Promise<void>[] = []
    try {
      const asked = this.#joinOrAsk(batch, following)
      const missed = this.#shed(this.#failed(await this.#askL2(asked, following)))
      if (missed.length > 0) await this.#loader.load(missed)
      if (following.length > 0) await Promise.all(following)
    } catch (error) {
      for (const wanted of batch) fail(wanted, error)
    } finally {
      endWatch()
      for (const wanted of batch) if (!wanted.answer) this.#refreshing.delete(wanted.key)
      this.#ended()
    }
  }

  #ended(): void {
    this.#underWay--
    this.#end?.resolve()
    this.#end = undefined
  }

  /** One timer for all readers of a batch; the returned function ends it. */
  #watchDeadlines(batch: readonly Wanted[]): () => void {
    const awaited = batch.filter(({ answer }) => answer)
    return watchDeadlines(awaited, this.#context.clock, (wanted) => this.#timeOut(wanted))
  }

  // ---- 2. this process' load of the id

  /** Bounded readers join a load that is under way; the others are grouped by id. */
  #joinOrAsk(batch: readonly Wanted[], following: Promise<void>[]): readonly WantedGroup[] {
    const { boundMs } = this.#context
    const groups = new Map<L1Key, WantedGroup & { readonly readers: Wanted[] }>()
    for (const wanted of batch) {
      const flight = this.#loader.flightOf(wanted.key)
      // Nobody waits for what is loaded for others while L2 has an answer: the load may hang.
      const hasAnswer = flight?.isInL2 && wanted.answer !== undefined
      const looks = this.#failures.has(wanted) || (hasAnswer && this.#hasL2)
      if (flight && !looks && !wanted.isStrong && mayJoin(wanted, flight, boundMs)) {
        following.push(this.#follow(flight, wanted, (error) => this.#lookOnce(wanted, error)))
        continue
      }
      const group = groups.get(wanted.key)
      if (group) group.readers.push(wanted)
      else groups.set(wanted.key, groupOf(wanted))
    }
    return [...groups.values()]
  }

  async #follow(flight: Flight, wanted: Wanted, failed: (error: unknown) => void): Promise<void> {
    const waitsForFill = wanted.isStrong || wanted.tickets.length > 0
    const rank = rankOf(wanted.loadClass)
    flight.turn.raise(rank)
    const landing = waitsForFill ? flight.landed.promise : flight.loaded.promise
    try {
      const landed = await landing
      if (landed && mayTake(wanted, landed)) this.#deliver(wanted, landed)
      else this.#again(wanted)
    } catch (error) {
      // What is shed had waited as long as its class may; a load of this reader's own has just begun to.
      if (rank < flight.rank && codeOf(error) === 'SOURCE_BUSY') this.#again(wanted)
      else failed(error)
    }
  }

  get #hasL2(): boolean {
    const { l2, switches } = this.#context
    return l2 !== undefined && !switches['l2.bypass']
  }

  /**
   * The load that it joined has failed, and it has not looked in L2: what lies there, within ttl or
   * grace, is an answer (I7). It is not loaded again for it.
   */
  #lookOnce(wanted: Wanted, error: unknown): void {
    if (wanted.answer && this.#hasL2 && !this.#context.closing.aborted) {
      this.#failures.set(wanted, error)
      this.enqueue(wanted)
    } else fail(wanted, error)
  }

  /** What was found would not do for this reader: it looks again, within its deadline. */
  #again(wanted: Wanted): void {
    const { clock, closing } = this.#context
    if (!wanted.answer) return
    if (closing.aborted) fail(wanted, closing.reason)
    else if (clock.monotonicMs() < wanted.deadlineAtMs) this.enqueue(wanted)
    else this.#timeOut(wanted)
  }

  // ---- 3. L2

  /** One MGET; answers whom it can, and returns the groups that are to be loaded. */
  async #askL2(
    groups: readonly WantedGroup[],
    following: Promise<void>[],
  ): Promise<readonly WantedGroup[]> {
    const { boundMs, counters } = this.#context
    if (!this.#hasL2) return groups
    const missed: WantedGroup[] = []
    for (const left of await this.#inL2(groups)) {
      // Somebody began to load it while Redis was asked.
      const flight = this.#loader.flightOf(left.key)
      if (flight && left.readers.every((wanted) => mayJoin(wanted, flight, boundMs))) {
        for (const wanted of left.readers) {
          following.push(this.#follow(flight, wanted, (error) => fail(wanted, error)))
        }
      } else {
        if (left.readers.length === 0) counters.refreshes[left.isEarly ? 'early' : 'expired']++
        missed.push(left)
      }
    }
    return missed
  }

  /** Those that it has no answer for, or that are to be loaded anew behind theirs. */
  async #inL2(groups: readonly WantedGroup[]): Promise<readonly WantedGroup[]> {
    const { l2, entity, switches } = this.#context
    if (groups.length === 0 || !l2) return groups
    const doubts = doubtsOf(this.#context, groups)
    const lookups = await l2.lookup(
      switches['serve.stale'] ? this.#lenient : entity,
      groups.map(({ text }) => text),
      doubts?.asked,
    )
    const left: WantedGroup[] = []
    for (const [index, group] of groups.entries()) {
      const known = doubts?.isMaybe[index] ? { ...group, isMaybe: true } : group
      const one = answerFromL2(this.#context, known, lookups[index] as Lookup)
      if (one) left.push(one)
    }
    return left
  }

  /** Those that are left without the readers whose load has failed before. */
  #failed(missed: readonly WantedGroup[]): readonly WantedGroup[] {
    return missed.flatMap((group) => {
      const readers = group.readers.filter((wanted) => !this.#failures.has(wanted))
      if (readers.length === group.readers.length) return group
      for (const wanted of group.readers) {
        if (this.#failures.has(wanted)) fail(wanted, this.#failures.get(wanted))
      }
      return readers.length === 0 ? [] : { ...group, readers }
    })
  }

  /** With `misses.shed` only those are loaded that a strong read or one with a ticket waits for. */
  #shed(missed: readonly WantedGroup[]): readonly WantedGroup[] {
    const { entity, switches } = this.#context
    if (!switches['misses.shed']) return missed
    const message = `flag "misses.shed" is set: entity "${entity.name}" is not loaded now`
    return missed.flatMap((group) => {
      const readers = group.readers.filter(({ loadClass }) => loadClass === 'ticket')
      for (const wanted of group.readers) {
        if (wanted.loadClass !== 'ticket') fail(wanted, new LockstepError('SOURCE_BUSY', message))
      }
      return readers.length === 0 ? [] : [{ ...group, readers }]
    })
  }

  // ---- the outcome

  #deliver(wanted: Wanted, { candidate, tier, isProven }: Landed): void {
    wanted.answer?.resolve({ candidate, tier, state: 'fresh', isProven })
  }

  #timeOut(wanted: Wanted): void {
    const { entity } = this.#context
    const ms = Math.round(wanted.deadlineAtMs - wanted.beganAtMs)
    const message = `a read of entity "${entity.name}" was not answered in ${ms} ms`
    fail(wanted, new LockstepError('READ_TIMEOUT', message))
  }
}

function groupOf(wanted: Wanted): WantedGroup & { readonly readers: Wanted[] } {
  const { key, id } = wanted
  // Made for each read that misses L1, so of one shape and by no spread, which takes a microsecond.
  return {
    key,
    id,
    text: String(key),
    readers: [wanted],
    insist: false,
    isEarly: false,
    isApart: false,
    isInL2: false,
    isMaybe: false,
  }
}

function fail({ answer }: Wanted, error: unknown): void {
  answer?.reject(error)
}
