/**
 * Loads ids that nobody has asked for yet, so that the first who do find them. Batch by batch, as many
 * at once as leaves a place to readers; what the limiter sheds is tried again.
 */
import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { L1Key } from '../model/id.ts'
import { abortable, sleep } from '../resilience/deadline.ts'
import { Outcomes, type Recipient } from './reply.ts'

/** What became of ids, so far. */
export interface WarmCounts {
  readonly warmed: number
  readonly absent: number
  readonly failed: number
  readonly skipped: number
}

export interface WarmRequest {
  readonly signal?: AbortSignal | undefined
  /** Ids a second; `undefined`: as fast as it goes. */
  readonly rate?: number | undefined
  readonly progress?: ((counts: WarmCounts) => void) | undefined
}

type Outcome = keyof WarmCounts | 'shed'

export interface WarmContext {
  readonly clock: Clock
  readonly random: () => number
  readonly entity: AnyEntity
  /** Loads that may run at once, now. */
  readonly limit: () => number
  /** Does L1 have it, and may it serve it for longer? */
  readonly isFresh: (key: L1Key) => boolean
  /** A read of the class warm-up that no metric counts as one. */
  readonly ask: (key: L1Key, id: unknown, to: Recipient, place: number) => void
}

/** A batch that is shed is tried again for so long; then what is left of it has failed. */
const batchDeadlineMs = 30_000
const firstDelayMs = 50
const longestDelayMs = 2_000
/** With a rate, batches are no bigger than what it lets pass in a tenth of a second. */
const batchesPerSecond = 10

/** Rejects with the reason of either signal, and with what `ids` or `progress` threw. */
export async function warm(
  context: WarmContext,
  ids: Iterable<unknown> | AsyncIterable<unknown>,
  request: WarmRequest,
  closed: AbortSignal,
): Promise<WarmCounts> {
  const ending = new AbortController()
  const follow = (): void => ending.abort(closed.aborted ? closed.reason : request.signal?.reason)
  const parents = [closed, ...(request.signal ? [request.signal] : [])]
  for (const parent of parents) parent.addEventListener('abort', follow, { once: true })
  if (parents.some(({ aborted }) => aborted)) follow()
  try {
    return await new WarmUp(context, request, ending).run(ids)
  } finally {
    for (const parent of parents) parent.removeEventListener('abort', follow)
  }
}

class WarmUp {
  readonly #context: WarmContext
  readonly #request: WarmRequest
  readonly #ending: AbortController
  readonly #counts = { warmed: 0, absent: 0, failed: 0, skipped: 0 }
  readonly #running = new Set<Promise<void>>()
  #mayGoOnAtMs: number

  constructor(context: WarmContext, request: WarmRequest, ending: AbortController) {
    this.#context = context
    this.#request = request
    this.#ending = ending
    this.#mayGoOnAtMs = context.clock.monotonicMs()
  }

  async run(ids: Iterable<unknown> | AsyncIterable<unknown>): Promise<WarmCounts> {
    const { signal } = this.#ending
    signal.throwIfAborted()
    const iterator = iteratorOf(ids)
    const { maxBatch } = this.#context.entity
    const { rate = Number.POSITIVE_INFINITY } = this.#request
    const size = Math.max(1, Math.min(maxBatch, Math.ceil(rate / batchesPerSecond)))
    let isDone = false
    try {
      while (!isDone) {
        const batch: unknown[] = []
        while (batch.length < size && !isDone) {
          const next = iterator.next()
          // Each id of a plain iterable through a promise would cost more than its load.
          const one = isPromise(next) ? await abortable(next, signal) : next
          if (one.done) isDone = true
          else batch.push(one.value)
        }
        if (batch.length > 0) await this.#begin(batch, rate)
      }
      await Promise.all(this.#running)
      signal.throwIfAborted()
      return { ...this.#counts }
    } catch (error) {
      this.#ending.abort(error)
      await Promise.all(this.#running)
      throw error
    } finally {
      // Not awaited: a generator that hangs would not come to its end.
      if (!isDone) void close(iterator).catch(() => {})
    }
  }

  /** Resolves when the batch has begun. */
  async #begin(batch: readonly unknown[], rate: number): Promise<void> {
    const { clock, limit } = this.#context
    const { signal } = this.#ending
    const waitMs = this.#mayGoOnAtMs - clock.monotonicMs()
    if (waitMs > 0) await sleep(waitMs, signal, clock)
    // One place is left for those who wait for their answer.
    while (this.#running.size >= Math.max(1, limit() - 1)) await Promise.race(this.#running)
    signal.throwIfAborted()
    const nowMs = clock.monotonicMs()
    this.#mayGoOnAtMs = Math.max(this.#mayGoOnAtMs, nowMs) + (batch.length / rate) * 1_000
    const run = this.#load(batch)
      .catch((error: unknown) => this.#ending.abort(error))
      .finally(() => this.#running.delete(run))
    this.#running.add(run)
  }

  async #load(batch: readonly unknown[]): Promise<void> {
    const { clock, random } = this.#context
    const { signal } = this.#ending
    const untilMs = clock.monotonicMs() + batchDeadlineMs
    let left = batch
    for (let tries = 0; ; tries++) {
      const outcomes = await abortable(this.#outcomes(left), signal)
      const shed = left.filter((_, index) => outcomes[index] === 'shed')
      for (const outcome of outcomes) if (outcome !== 'shed') this.#counts[outcome]++
      if (shed.length === 0) break
      left = shed
      const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** tries) * random()
      if (clock.monotonicMs() + delayMs >= untilMs) {
        this.#counts.failed += left.length
        break
      }
      await sleep(delayMs, signal, clock)
      signal.throwIfAborted()
    }
    this.#request.progress?.({ ...this.#counts })
  }

  async #outcomes(ids: readonly unknown[]): Promise<readonly Outcome[]> {
    const { ask, entity, isFresh } = this.#context
    const outcomes = new Outcomes(ids.length)
    const skipped = new Set<number>()
    let isAsked = false
    for (const [place, id] of ids.entries()) {
      try {
        const key = entity.keyOf(id)
        if (!isFresh(key)) {
          ask(key, id, outcomes, place)
          isAsked = true
        } else {
          skipped.add(place)
          outcomes.failed(undefined, place)
        }
      } catch (error) {
        outcomes.failed(error, place)
      }
    }
    await outcomes.complete
    // With nothing to wait for, millions of ids would keep everybody else from their turn.
    if (!isAsked) await new Promise((resolve) => setImmediate(resolve))
    return ids.map((_, place) => {
      if (skipped.has(place)) return 'skipped'
      const answer = outcomes.answers[place]
      if (!answer) return isShed(outcomes.errors[place]) ? 'shed' : 'failed'
      return answer.candidate.value === undefined ? 'absent' : 'warmed'
    })
  }
}

function iteratorOf(
  ids: Iterable<unknown> | AsyncIterable<unknown>,
): Iterator<unknown> | AsyncIterator<unknown> {
  return Symbol.asyncIterator in ids ? ids[Symbol.asyncIterator]() : ids[Symbol.iterator]()
}

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as Promise<T>).then === 'function'
}

async function close(iterator: Iterator<unknown> | AsyncIterator<unknown>): Promise<void> {
  await iterator.return?.()
}

function isShed(error: unknown): boolean {
  return error instanceof LockstepError && error.code === 'SOURCE_BUSY'
}
