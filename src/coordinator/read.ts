/**
 * The story of a read (DESIGN §4), top down: L1; this process' load of the id; L2; and `load.ts`
 * for what is left: acquire, load, fill.
 *
 * Reads of one event-loop turn travel together: one MGET, one Lua call, one call of the loader. A
 * `getMany` is the same path in bulk.
 */
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError, PartialReadError } from '../model/errors.ts'
import { deepCopy } from '../model/freeze.ts'
import type { L1Key } from '../model/id.ts'
import type { Lookup, Slot } from '../model/ports.ts'
import { everyVisible } from '../model/ticket.ts'
import { abortable, type Deferred, deferred, watchDeadlines } from '../resilience/deadline.ts'
import { answerFromL2, offer, waitsForLoad } from './answer-from-l2.ts'
import { type Flight, type Landed, mayJoin, mayTake } from './flight.ts'
import { Loader } from './load.ts'
import { Outcomes, type Recipient, Reply } from './reply.ts'
import { graceOf, refreshes, valueFor } from './values.ts'
import {
  type Answer,
  type ReadContext,
  type ReadRequest,
  ticketsOf,
  type Wanted,
  type WantedGroup,
} from './wanted.ts'

export class Reader {
  readonly #context: ReadContext
  readonly #loader: Loader
  /** What L2 is asked for while `serve.stale` is set. */
  readonly #lenient: AnyEntity
  readonly #refreshing = new Set<L1Key>()
  #queue: Wanted[] = []
  /** Batches. */
  #underWay = 0
  #batchEnd: Deferred<void> | undefined
  #isClosed = false

  constructor(context: ReadContext) {
    this.#context = context
    const { entity } = context
    this.#lenient = Object.freeze({ ...entity, graceMs: entity.staleGraceMs })
    this.#loader = new Loader(context, {
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
        const slot = this.#find(key, id, true)
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

  /** Takes no more reads. */
  close(): void {
    this.#isClosed = true
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

  /**
   * Where L1 has it, if it may be served now; past its soft expiry it is refreshed behind, or kept
   * back from who can wait for the load (`softTimeout`).
   */
  #find(key: L1Key, id: unknown, canWait = false): Slot | undefined {
    const { region, trust, turnClock, counters, entity, switches } = this.#context
    const slot = region.find(key)
    if (slot === undefined || switches['l1.bypass']) return undefined
    const now = turnClock.read()
    if (!trust.isProven(now)) return undefined
    const value = region.valueAt(slot)
    const staleForMs = now.monotonicMs - region.freshUntilMs(slot)
    if (staleForMs >= 0) {
      if (staleForMs >= graceOf(entity, value, switches)) return undefined
      if (canWait && waitsForLoad(this.#context)) return undefined
      counters.l1StaleHits++
      if (refreshes(switches)) this.#refresh(key, id)
    } else if (value === undefined) counters.l1Absent++
    else counters.l1Hits++
    region.hit(slot)
    return slot
  }

  #valueFor(slot: Slot): unknown {
    const { region } = this.#context
    return region.isShared(slot) ? region.valueAt(slot) : deepCopy(region.valueAt(slot))
  }

  #refresh(key: L1Key, id: unknown): void {
    if (this.#refreshing.has(key)) return
    this.#refreshing.add(key)
    this.#enqueue(this.#wanted(key, id, {}, undefined))
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
    if (this.#isClosed) {
      to.failed(new LockstepError('CLOSED', 'the cache is closed'), place)
      return
    }
    const wanted = this.#wanted(key, id, request, new Reply(this.#context.counters, to, place))
    const found = this.#answerFromL1(wanted)
    if (found) to.answered(found, place)
    else {
      if (waitsForLoad(this.#context)) this.#offerStale(wanted)
      this.#enqueue(wanted)
    }
  }

  /** What L1 has past its soft expiry is the answer when the load takes too long, or fails. */
  #offerStale(wanted: Wanted): void {
    const { entity, region, switches, trust, turnClock } = this.#context
    const slot = region.find(wanted.key)
    if (slot === undefined || wanted.isStrong || switches['l1.bypass']) return
    const now = turnClock.read()
    const candidate = region.candidateAt(slot)
    const graceMs = graceOf(entity, candidate.value, switches)
    if (now.monotonicMs - candidate.freshUntilMs >= graceMs || !trust.isProven(now)) return
    if (!everyVisible(wanted.tickets, candidate.snapshot)) return
    const answer: Answer = { candidate, tier: 'l1', state: 'stale', isProven: true }
    offer(this.#context, wanted, answer)
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
    const slot = this.#find(wanted.key, wanted.id, true)
    if (slot === undefined) return undefined
    const candidate = region.candidateAt(slot)
    const isFresh = turnClock.read().monotonicMs < candidate.freshUntilMs
    return { candidate, tier: 'l1', state: isFresh ? 'fresh' : 'stale', isProven: true }
  }

  #wanted(key: L1Key, id: unknown, request: ReadRequest, answer: Reply | undefined): Wanted {
    const { clock, entity, turns, readDeadlineMs } = this.#context
    const beganAtMs = clock.monotonicMs()
    return {
      key,
      id,
      beganAtMs,
      beganTurn: turns.next(),
      deadlineAtMs: beganAtMs + (request.timeoutMs ?? entity.hardTimeoutMs ?? readDeadlineMs),
      isStrong: request.consistency === 'strong',
      tickets: ticketsOf(request.ticket),
      answer,
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
      const missed = this.#shed(await this.#askL2(asked, following))
      if (missed.length > 0) await this.#loader.load(missed)
      if (following.length > 0) await Promise.all(following)
    } catch (error) {
      for (const wanted of batch) this.#fail(wanted, error)
    } finally {
      endWatch()
      for (const wanted of batch) if (!wanted.answer) this.#refreshing.delete(wanted.key)
      this.#underWay--
      this.#batchEnd?.resolve()
      this.#batchEnd = undefined
    }
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
          isApart: false,
        })
      }
    }
    return [...groups.values()]
  }

  async #follow(flight: Flight, wanted: Wanted): Promise<void> {
    const waitsForFill = wanted.isStrong || wanted.tickets.length > 0
    const landing = waitsForFill ? flight.landed.promise : flight.loaded.promise
    try {
      const landed = await landing
      if (landed && mayTake(wanted, landed)) this.#deliver(wanted, landed)
      else this.#again(wanted)
    } catch (error) {
      this.#fail(wanted, error)
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
    const { l2, entity, boundMs, switches } = this.#context
    if (groups.length === 0) return []
    if (!l2 || switches['l2.bypass']) return groups.map((group) => ({ ...group, isApart: true }))
    const lookups = await l2.lookup(
      switches['serve.stale'] ? this.#lenient : entity,
      groups.map(({ text }) => text),
    )
    const missed: WantedGroup[] = []
    for (const [index, group] of groups.entries()) {
      const left = answerFromL2(this.#context, group, lookups[index] as Lookup)
      if (!left) continue
      // Somebody began to load it while Redis was asked.
      const flight = this.#loader.flightOf(left.key)
      if (flight && left.readers.every((wanted) => mayJoin(wanted, flight, boundMs))) {
        for (const wanted of left.readers) following.push(this.#follow(flight, wanted))
      } else missed.push(left)
    }
    return missed
  }

  /** With `misses.shed` only those are loaded that somebody with a ticket waits for. */
  #shed(missed: readonly WantedGroup[]): readonly WantedGroup[] {
    const { entity, switches } = this.#context
    if (!switches['misses.shed']) return missed
    const message = `flag "misses.shed" is set: entity "${entity.name}" is not loaded now`
    return missed.flatMap((group) => {
      const readers = group.readers.filter(({ tickets }) => tickets.length > 0)
      for (const wanted of group.readers) {
        if (wanted.tickets.length === 0)
          this.#fail(wanted, new LockstepError('SOURCE_BUSY', message))
      }
      return readers.length === 0 ? [] : [{ ...group, readers }]
    })
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
