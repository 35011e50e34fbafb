/**
 * The story of a read (DESIGN §4), top down: L1; `batches.ts` for what that has no answer for: this
 * process' load of the id, and L2; and `load.ts` for what is left: acquire, load, fill. A `getMany` is
 * the same path in bulk.
 */
import { setMaxListeners } from 'node:events'
import { LockstepError, PartialReadError } from '../model/errors.ts'
import { deepCopy } from '../model/freeze.ts'
import type { L1Key } from '../model/id.ts'
import type { Slot } from '../model/l1-port.ts'
import { rankOf } from '../model/load-class.ts'
import { everyVisible } from '../model/ticket.ts'
import { abortable } from '../resilience/deadline.ts'
import { newReadCounters, type RefreshReason } from '../telemetry/counters.ts'
import { Batches } from './batches.ts'
import type { HotReader } from './hot-entity.ts'
import { comesFromElected, offerFromL1, refreshes, waitsForLoad } from './refresh.ts'
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
} from './wanted.ts'
import { type WarmContext, type WarmCounts, type WarmRequest, warm } from './warm.ts'

/** Where nobody counts the hits: as far away as a small integer goes. */
const never = 2 ** 30 - 1

export class Reader implements HotReader {
  readonly #context: ReadContext
  readonly #ahead: RefreshAhead
  readonly #batches: Batches
  readonly #closed = new AbortController()
  /** Hits of L1 until one is counted that stands for them. */
  #untilSample = 1

  constructor(context: Omit<ReadContext, 'ahead'>) {
    // Every warm-up under way listens to it.
    setMaxListeners(0, this.#closed.signal)
    this.#ahead = new RefreshAhead(context.entity, context.random)
    this.#context = { ...context, ahead: this.#ahead }
    this.#batches = new Batches(this.#context)
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
        this.#batches.enqueue(this.#wanted(key, id, {}, answer, { isWarmUp: true }))
      },
    }
    return warm(context, ids, request, this.#closed.signal)
  }

  /** Takes what L2 has of them into L1: loads nothing, and nobody waits. */
  async takeIn(keys: readonly L1Key[]): Promise<void> {
    if (this.#closed.signal.aborted) return
    await this.#batches.during(takeIn(this.#context, keys))
  }

  /** Loads an id anew that is fresh everywhere; nobody waits. Never rejects. */
  async reload(key: L1Key, id: unknown): Promise<void> {
    if (this.#closed.signal.aborted || !refreshes(this.#context.switches)) return
    await this.#batches.reload(this.#wanted(key, id, {}, undefined))
  }

  /** Takes no more reads, begins no more refreshes, and ends the warm-ups. */
  close(): void {
    this.#closed.abort(new LockstepError('CLOSED', 'the cache is closed'))
  }

  /** Resolves when every read that is under way has been answered. */
  drain(): Promise<void> {
    return this.#batches.drain()
  }

  // ---- 1. L1

  /**
   * Where L1 has it, if it may be served now; past its soft expiry it is refreshed behind, or kept
   * back from who can wait for the load (`softTimeout`).
   */
  #find(key: L1Key, id: unknown, canWait = false): Slot | undefined {
    const { region, trust, turnClock, counters, switches } = this.#context
    const slot = region.find(key)
    if (slot === undefined || switches['l1.bypass']) return undefined
    const now = turnClock.read()
    if (!trust.isProven(now)) return undefined
    if (now.monotonicMs - region.freshUntilMs(slot) >= this.#ahead.fromMs) {
      if (!this.#mayServe(slot, key, id, now.monotonicMs, canWait)) return undefined
    } else if (region.valueAt(slot) === undefined) counters.l1Absent++
    else counters.l1Hits++
    if (--this.#untilSample === 0) this.#sample(key, id, now.monotonicMs)
    region.hit(slot)
    return slot
  }

  #sample(key: L1Key, id: unknown, nowMs: number): void {
    this.#untilSample = this.#context.hot?.sampled(key, id, nowMs) ?? never
  }

  /** What is past its soft expiry, or near it. Apart from the path of all other hits. */
  #mayServe(slot: Slot, key: L1Key, id: unknown, nowMs: number, canWait: boolean): boolean {
    const { region, counters, entity, switches } = this.#context
    const value = region.valueAt(slot)
    const staleForMs = nowMs - region.freshUntilMs(slot)
    if (staleForMs >= 0) {
      if (staleForMs >= graceOf(entity, value, switches)) return false
      if (canWait && waitsForLoad(this.#context)) return false
      counters.l1StaleHits++
      this.#refresh(key, id, 'expired')
      return true
    }
    if (value === undefined) counters.l1Absent++
    else counters.l1Hits++
    if (this.#batches.isRefreshing(key) || comesFromElected(this.#context, key)) return true
    if (this.#ahead.isDrawn(region.candidateAt(slot), nowMs)) this.#refresh(key, id, 'early')
    return true
  }

  #valueFor(slot: Slot): unknown {
    const { region } = this.#context
    return region.isShared(slot) ? region.valueAt(slot) : deepCopy(region.valueAt(slot))
  }

  #refresh(key: L1Key, id: unknown, reason: RefreshReason): void {
    const { counters, limiter, switches } = this.#context
    if (this.#batches.isRefreshing(key) || this.#closed.signal.aborted) return
    // It would be shed at once: then Redis need not be asked for it.
    if (!refreshes(switches) || limiter.isFullFor(rankOf('refresh'))) return
    counters.refreshes[reason]++
    this.#batches.refresh(this.#wanted(key, id, {}, undefined, { isEarly: reason === 'early' }))
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
      if (waitsForLoad(this.#context)) offerFromL1(this.#context, wanted)
      this.#batches.enqueue(wanted)
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
    const slot = this.#find(wanted.key, wanted.id, true)
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
    const { clock, entity, turns, readDeadlineMs } = this.#context
    const beganAtMs = clock.monotonicMs()
    const isStrong = request.consistency === 'strong'
    const tickets = ticketsOf(request.ticket)
    const isUrgent = isStrong || tickets.length > 0
    return {
      key,
      id,
      beganAtMs,
      beganTurn: turns.next(),
      deadlineAtMs: beganAtMs + (request.timeoutMs ?? entity.hardTimeoutMs ?? readDeadlineMs),
      isStrong,
      tickets,
      answer,
      loadClass: isUrgent ? 'ticket' : isWarmUp ? 'warm-up' : answer ? 'miss' : 'refresh',
      isEarly,
    }
  }
}
