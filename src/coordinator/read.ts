/**
 * The story of a read (DESIGN §4), top down: L1; this process' load of the id; L2; and `load.ts`
 * for what is left: acquire, load, fill.
 *
 * Reads of one event-loop turn travel together: one MGET, one Lua call, one call of the loader. A
 * `getMany` is the same path in bulk.
 */
import { setMaxListeners } from 'node:events'
import { LockstepError, PartialReadError } from '../model/errors.ts'
import { deepCopy } from '../model/freeze.ts'
import type { L1Key } from '../model/id.ts'
import { rankOf } from '../model/load-class.ts'
import type { Lookup, Slot } from '../model/ports.ts'
import { everyVisible } from '../model/ticket.ts'
import { abortable, type Deferred, deferred, watchDeadlines } from '../resilience/deadline.ts'
import { codeOf, newReadCounters, type RefreshReason } from '../telemetry/counters.ts'
import { answerFromL2 } from './answer-from-l2.ts'
import { doubtsOf } from './doubts.ts'
import { type Flight, type Landed, mayJoin, mayTake } from './flight.ts'
import type { HotReader } from './hot-entity.ts'
import { Loader } from './load.ts'
import { RefreshAhead } from './refresh-ahead.ts'
import { Outcomes, type Recipient, Reply } from './reply.ts'
import { takeIn } from './take-in.ts'
import { graceOf, valueFor } from './values.ts'
import {
  type Answer,
  type ReadContext,
  type ReadRequest,
  ticketsOf,
  type Wanted,
  type WantedGroup,
} from './wanted.ts'
import { type WarmContext, type WarmCounts, type WarmRequest, warm } from './warm.ts'

/** Where nobody counts the hits: as far away as a small integer goes. */
const never = 2 ** 30 - 1

export class Reader implements HotReader {
  readonly #context: ReadContext
  readonly #ahead: RefreshAhead
  readonly #loader: Loader
  readonly #refreshing = new Set<L1Key>()
  #queue: Wanted[] = []
  /** Batches. */
  #underWay = 0
  #batchEnd: Deferred<void> | undefined
  readonly #closed = new AbortController()
  /** Hits of L1 until one is counted that stands for them. */
  #untilSample = 1

  constructor(context: Omit<ReadContext, 'ahead'>) {
    // Every warm-up under way listens to it.
    setMaxListeners(0, this.#closed.signal)
    this.#ahead = new RefreshAhead(context.entity, context.random)
    this.#context = { ...context, ahead: this.#ahead }
    this.#loader = new Loader(this.#context, {
      deliver: (wanted, landed) => this.#deliver(wanted, landed),
      again: (wanted) => this.#again(wanted),
    })
  }

  /** L1 only, at once; `undefined` for absent, unproven and not cached alike. */
  peek(id: unknown): unknown {
    const slot = this.#find(this.#context.entity.keyOf(id), id)
    return slot === undefined ? undefined : this.#valueFor(slot)
  }

  get(id: unknown, request?: ReadRequest): Promise<unknown> {
    try {
      const key = this.#context.entity.keyOf(id)
      if (request === undefined) {
        const { region } = this.#context
        const slot = this.#find(key, id)
        if (slot !== undefined) {
          return region.isShared(slot)
            ? region.promiseAt(slot)
            : Promise.resolve(this.#valueFor(slot))
        }
      }
      return this.#one(key, id, request ?? {}, ({ candidate }) => valueFor(candidate))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** What `get` answers, with where it came from. */
  async getEntry(id: unknown, request: ReadRequest): Promise<Answer & { readonly value: unknown }> {
    const key = this.#context.entity.keyOf(id)
    const answer = await this.#one(key, id, request, (found) => found)
    return { ...answer, value: valueFor(answer.candidate) }
  }

  /** The values of the ids that exist, by the ids as they were given. */
  async getMany(
    ids: Iterable<unknown>,
    request: ReadRequest,
  ): Promise<ReadonlyMap<unknown, unknown>> {
    const { entity } = this.#context
    const byKey = new Map<L1Key, unknown>()
    for (const id of ids) {
      const key = entity.keyOf(id)
      if (!byKey.has(key)) byKey.set(key, id)
    }
    request.signal?.throwIfAborted()
    const outcomes = new Outcomes(byKey.size)
    let next = 0
    for (const [key, id] of byKey) this.#read(key, id, request, outcomes, next++)
    await (request.signal ? abortable(outcomes.complete, request.signal) : outcomes.complete)
    const values = new Map<unknown, unknown>()
    const failures = new Map<unknown, unknown>()
    let place = 0
    for (const id of byKey.values()) {
      const candidate = outcomes.answers[place]?.candidate
      if (!candidate) failures.set(id, outcomes.errors[place])
      else if (candidate.value !== undefined) values.set(id, valueFor(candidate))
      place++
    }
    if (failures.size > 0) throw new PartialReadError(entity.name, values, failures)
    return values
  }

  /** As `warm.ts` has it. */
  warm(ids: Iterable<unknown> | AsyncIterable<unknown>, request: WarmRequest): Promise<WarmCounts> {
    const { clock, entity, limiter, random, region, trust, turnClock } = this.#context
    const context: WarmContext = {
      ...{ clock, entity, random },
      limit: () => limiter.limit,
      isFresh: (key) => {
        const slot = region.find(key)
        const now = turnClock.read()
        return (
          slot !== undefined && trust.isProven(now) && now.monotonicMs < region.freshUntilMs(slot)
        )
      },
      ask: (key, id, to, place) => {
        const answer = new Reply(newReadCounters(), to, place)
        this.#enqueue(this.#wanted(key, id, {}, answer, { isWarmUp: true }))
      },
    }
    return warm(context, ids, request, this.#closed.signal)
  }

  /** Takes what L2 has of them into L1: loads nothing, and nobody waits. */
  async takeIn(keys: readonly L1Key[]): Promise<void> {
    if (this.#closed.signal.aborted) return
    this.#underWay++
    await takeIn(this.#context, keys).finally(() => this.#ended())
  }

  /** Loads an id anew that is fresh everywhere; nobody waits. Never rejects. */
  async reload(key: L1Key, id: unknown): Promise<void> {
    if (this.#closed.signal.aborted || this.#refreshing.has(key) || this.#loader.flightOf(key))
      return
    this.#refreshing.add(key)
    this.#underWay++
    const readers = [this.#wanted(key, id, {}, undefined)]
    const group = {
      key,
      id,
      text: String(key),
      readers,
      insist: true,
      isEarly: false,
      isApart: false,
    }
    await this.#loader.load([group])
    this.#refreshing.delete(key)
    this.#ended()
  }

  /** Takes no more reads, begins no more refreshes, and ends the warm-ups. */
  close(): void {
    this.#closed.abort(new LockstepError('CLOSED', 'the cache is closed'))
  }

  /** Resolves when every read that is under way has been answered. */
  async drain(): Promise<void> {
    // What waits for the end of this turn is under way too.
    while (this.#queue.length > 0 || this.#underWay > 0) {
      this.#batchEnd ??= deferred()
      await this.#batchEnd.promise
    }
  }

  // ---- 1. L1

  /** Where L1 has it, if it may be served now; past its soft expiry it is refreshed behind. */
  #find(key: L1Key, id: unknown): Slot | undefined {
    const { region, trust, turnClock, counters } = this.#context
    const slot = region.find(key)
    if (slot === undefined) return undefined
    const now = turnClock.read()
    if (!trust.isProven(now)) return undefined
    const value = region.valueAt(slot)
    const staleForMs = now.monotonicMs - region.freshUntilMs(slot)
    if (staleForMs >= this.#ahead.fromMs) {
      if (!this.#mayServe(slot, key, id, staleForMs, now.monotonicMs)) return undefined
    } else if (value === undefined) counters.l1Absent++
    else counters.l1Hits++
    if (--this.#untilSample === 0) this.#sample(key, id, now.monotonicMs)
    region.hit(slot)
    return slot
  }

  #sample(key: L1Key, id: unknown, nowMs: number): void {
    this.#untilSample = this.#context.hot?.sampled(key, id, nowMs) ?? never
  }

  /** What is past its soft expiry, or near it. Apart from the path of all other hits. */
  #mayServe(slot: Slot, key: L1Key, id: unknown, staleForMs: number, nowMs: number): boolean {
    const { region, counters, entity } = this.#context
    const value = region.valueAt(slot)
    if (staleForMs >= 0) {
      if (staleForMs >= graceOf(entity, value)) return false
      counters.l1StaleHits++
      this.#refresh(key, id, 'expired')
      return true
    }
    if (value === undefined) counters.l1Absent++
    else counters.l1Hits++
    if (this.#refreshing.has(key) || this.#context.hot?.isElectedElsewhere(key)) return true
    if (this.#ahead.isDrawn(region.candidateAt(slot), nowMs)) this.#refresh(key, id, 'early')
    return true
  }

  #valueFor(slot: Slot): unknown {
    const { region } = this.#context
    return region.isShared(slot) ? region.valueAt(slot) : deepCopy(region.valueAt(slot))
  }

  #refresh(key: L1Key, id: unknown, reason: RefreshReason): void {
    if (this.#refreshing.has(key) || this.#closed.signal.aborted) return
    // It would be shed at once: then Redis need not be asked for it.
    if (this.#context.limiter.isFullFor(rankOf('refresh'))) return
    this.#context.counters.refreshes[reason]++
    this.#refreshing.add(key)
    this.#enqueue(this.#wanted(key, id, {}, undefined, { isEarly: reason === 'early' }))
  }

  #one<T>(key: L1Key, id: unknown, request: ReadRequest, take: (answer: Answer) => T): Promise<T> {
    const { signal } = request
    signal?.throwIfAborted()
    const answer = new Promise<T>((resolve, failed) => {
      const answered = (found: Answer): void => {
        try {
          resolve(take(found))
        } catch (error) {
          failed(error)
        }
      }
      this.#read(key, id, request, { answered, failed }, 0)
    })
    return signal ? abortable(answer, signal) : answer
  }

  #read(key: L1Key, id: unknown, request: ReadRequest, to: Recipient, place: number): void {
    if (this.#closed.signal.aborted) {
      to.failed(this.#closed.signal.reason, place)
      return
    }
    const wanted = this.#wanted(key, id, request, new Reply(this.#context.counters, to, place))
    const found = this.#answerFromL1(wanted)
    if (found) to.answered(found, place)
    else {
      this.#context.hot?.read(key, id, wanted.beganAtMs)
      this.#enqueue(wanted)
    }
  }

  /** Strong reads skip L1; a ticketed one takes what sees its writes. */
  #answerFromL1(wanted: Wanted): Answer | undefined {
    if (wanted.isStrong) return undefined
    const { region, turnClock } = this.#context
    if (wanted.tickets.length > 0) {
      const known = region.find(wanted.key)
      if (known === undefined) return undefined
      if (!everyVisible(wanted.tickets, region.candidateAt(known).snapshot)) return undefined
    }
    const slot = this.#find(wanted.key, wanted.id)
    if (slot === undefined) return undefined
    const candidate = region.candidateAt(slot)
    const isFresh = turnClock.read().monotonicMs < candidate.freshUntilMs
    return { candidate, tier: 'l1', state: isFresh ? 'fresh' : 'stale', isProven: true }
  }

  #wanted(
    key: L1Key,
    id: unknown,
    request: ReadRequest,
    answer: Reply | undefined,
    { isEarly = false, isWarmUp = false } = {},
  ): Wanted {
    const { clock, turns, readDeadlineMs } = this.#context
    const beganAtMs = clock.monotonicMs()
    const isStrong = request.consistency === 'strong'
    const tickets = ticketsOf(request.ticket)
    const isUrgent = isStrong || tickets.length > 0
    return {
      key,
      id,
      beganAtMs,
      beganTurn: turns.next(),
      deadlineAtMs: beganAtMs + (request.timeoutMs ?? readDeadlineMs),
      isStrong,
      tickets,
      answer,
      loadClass: isUrgent ? 'ticket' : isWarmUp ? 'warm-up' : answer ? 'miss' : 'refresh',
      isEarly,
    }
  }

  #enqueue(wanted: Wanted): void {
    this.#queue.push(wanted)
    if (this.#queue.length === 1) this.#context.clock.defer(this.#flush)
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
      const missed = await this.#askL2(asked, following)
      if (missed.length > 0) await this.#loader.load(missed)
      if (following.length > 0) await Promise.all(following)
    } catch (error) {
      for (const wanted of batch) this.#fail(wanted, error)
    } finally {
      endWatch()
      for (const wanted of batch) if (!wanted.answer) this.#refreshing.delete(wanted.key)
      this.#ended()
    }
  }

  #ended(): void {
    this.#underWay--
    this.#batchEnd?.resolve()
    this.#batchEnd = undefined
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
      if (flight && !wanted.isStrong && mayJoin(wanted, flight, boundMs)) {
        following.push(this.#follow(flight, wanted))
        continue
      }
      const group = groups.get(wanted.key)
      if (group) group.readers.push(wanted)
      else {
        groups.set(wanted.key, {
          key: wanted.key,
          id: wanted.id,
          text: String(wanted.key),
          readers: [wanted],
          insist: false,
          isEarly: false,
          isApart: false,
        })
      }
    }
    return [...groups.values()]
  }

  async #follow(flight: Flight, wanted: Wanted): Promise<void> {
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
      else this.#fail(wanted, error)
    }
  }

  /** What was found would not do for this reader: it looks again, within its deadline. */
  #again(wanted: Wanted): void {
    const { clock, closing } = this.#context
    if (!wanted.answer) return
    if (closing.aborted) this.#fail(wanted, closing.reason)
    else if (clock.monotonicMs() < wanted.deadlineAtMs) this.#enqueue(wanted)
    else this.#timeOut(wanted)
  }

  // ---- 3. L2

  /** One MGET; answers whom it can, and returns the groups that are to be loaded. */
  async #askL2(
    groups: readonly WantedGroup[],
    following: Promise<void>[],
  ): Promise<readonly WantedGroup[]> {
    const { l2, entity, boundMs } = this.#context
    if (groups.length === 0) return []
    if (!l2) return groups.map((group) => ({ ...group, isApart: true }))
    const doubts = doubtsOf(this.#context, groups)
    const lookups = await l2.lookup(
      entity,
      groups.map(({ text }) => text),
      doubts?.asked,
    )
    const missed: WantedGroup[] = []
    for (const [index, group] of groups.entries()) {
      const known = doubts?.isMaybe[index] ? { ...group, isMaybe: true } : group
      const left = answerFromL2(this.#context, known, lookups[index] as Lookup)
      if (!left) continue
      // Somebody began to load it while Redis was asked.
      const flight = this.#loader.flightOf(left.key)
      if (flight && left.readers.every((wanted) => mayJoin(wanted, flight, boundMs))) {
        for (const wanted of left.readers) following.push(this.#follow(flight, wanted))
      } else missed.push(left)
    }
    return missed
  }

  // ---- the outcome

  #deliver(wanted: Wanted, landed: Landed): void {
    wanted.answer?.resolve({
      candidate: landed.candidate,
      tier: landed.tier,
      state: 'fresh',
      isProven: landed.isProven,
    })
  }

  #fail(wanted: Wanted, error: unknown): void {
    wanted.answer?.reject(error)
  }

  #timeOut(wanted: Wanted): void {
    const { entity } = this.#context
    const ms = Math.round(wanted.deadlineAtMs - wanted.beganAtMs)
    const message = `a read of entity "${entity.name}" was not answered in ${ms} ms`
    this.#fail(wanted, new LockstepError('READ_TIMEOUT', message))
  }
}
