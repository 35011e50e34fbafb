/**
 * Events of foreign producers (DESIGN §6): each becomes a row of the outbox with an xid of its own,
 * which is right for all that its producer had committed before it published. From there everything
 * is as with any other write: relay, L2, the durable plane, barriers.
 *
 * At least once: a batch is done when its rows have committed and what was no event lies with the
 * dead letters. Until then it is tried again, so nothing is skipped, and the source hands on no more.
 */
import type { EventSource, Invalidations, Recording } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import type { DeadLetter } from '../model/dead-letter.ts'
import { messageOf } from '../model/errors.ts'
import { type PoisonReason, type Published, parseEvent } from '../model/event.ts'
import type { Logger } from '../model/log.ts'
import type { EntityIds } from '../model/source-port.ts'
import { sleep, unanswered, withDeadline } from '../resilience/deadline.ts'

export interface ForeignEventsOptions {
  readonly namespace: string
  readonly source: EventSource
  readonly invalidations: Invalidations
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
  /** Of one transaction, and of one publication of dead letters. */
  readonly deadlineMs: number
  readonly counted: (outcome: 'applied' | PoisonReason, events: number) => void
}

interface Parsed {
  readonly event: Published
  readonly keys: EntityIds
}

/** Of one transaction: what Redis is told of in half a second. */
const mostIdsAtOnce = 20_000
const mostLettersAtOnce = 100
const firstDelayMs = 50
const longestDelayMs = 5_000

export class ForeignEvents {
  readonly #options: ForeignEventsOptions

  constructor(options: ForeignEventsOptions) {
    this.#options = options
  }

  start(): void {
    this.#options.source.listen((events, signal) => this.#apply(events, signal))
  }

  close(): Promise<void> {
    return this.#options.source.close()
  }

  async #apply(events: readonly Published[], signal: AbortSignal): Promise<void> {
    const { namespace } = this.#options
    const letters: DeadLetter[] = []
    let parsed: Parsed[] = []
    let ids = 0
    for (const event of events) {
      const answer = parseEvent(event.value, namespace)
      if (answer.kind === 'poison') {
        letters.push({ event, reason: answer.reason, detail: answer.detail })
        continue
      }
      if (ids > 0 && ids + answer.ids.length > mostIdsAtOnce) {
        letters.push(...(await this.#record(parsed, signal)))
        parsed = []
        ids = 0
      }
      parsed.push({ event, keys: { entity: answer.entity, ids: answer.ids } })
      ids += answer.ids.length
    }
    letters.push(...(await this.#record(parsed, signal)))
    for (let first = 0; first < letters.length; first += mostLettersAtOnce) {
      await this.#bury(letters.slice(first, first + mostLettersAtOnce), signal)
    }
  }

  /** In one transaction; those that can't be. */
  async #record(parsed: readonly Parsed[], signal: AbortSignal): Promise<readonly DeadLetter[]> {
    if (parsed.length === 0) return []
    const { counted, invalidations } = this.#options
    const keys = merged(parsed)
    const answer = await this.#untilDone<Recording>('PostgreSQL', signal, (inTime) =>
      invalidations.record(keys, inTime),
    )
    if (answer.kind === 'recorded') {
      const unknown = parsed.filter(({ keys: { entity } }) => answer.unknown.has(entity))
      if (unknown.length < parsed.length) counted('applied', parsed.length - unknown.length)
      return unknown.map(({ event, keys: { entity } }) => ({
        event,
        reason: 'unknown-entity',
        detail: `no cache of this namespace has had an entity "${entity}"`,
      }))
    }
    const [first] = parsed
    if (parsed.length === 1 && first) {
      return [{ event: first.event, reason: 'refused', detail: answer.why }]
    }
    // One of them: halves find it, and the others are not refused for its sake.
    const middle = Math.ceil(parsed.length / 2)
    return [
      ...(await this.#record(parsed.slice(0, middle), signal)),
      ...(await this.#record(parsed.slice(middle), signal)),
    ]
  }

  async #bury(letters: readonly DeadLetter[], signal: AbortSignal): Promise<void> {
    const { counted, log, source } = this.#options
    await this.#untilDone('Kafka', signal, (inTime) => source.bury(letters, inTime))
    for (const { event, reason, detail } of letters) {
      counted(reason, 1)
      const { partition, offset } = event
      log.warn({ reason, detail, partition, offset }, 'an event of others is a dead letter')
    }
  }

  /** Rejects only when the signal aborts. */
  async #untilDone<T>(
    who: string,
    signal: AbortSignal,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { clock, deadlineMs, log, random } = this.#options
    const late = unanswered(deadlineMs)
    for (let failures = 0; ; failures++) {
      signal.throwIfAborted()
      try {
        return await withDeadline(deadlineMs, late, signal, clock, run)
      } catch (error) {
        signal.throwIfAborted()
        const level = failures === 0 ? 'warn' : 'debug'
        log[level]({ error: messageOf(error) }, `events of others wait for ${who}`)
        const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures, 10))
        await sleep(delayMs * (0.5 + random() / 2), signal, clock)
      }
    }
  }
}

/** Each id of each entity once. */
function merged(parsed: readonly Parsed[]): readonly EntityIds[] {
  const ids = new Map<string, Set<string>>()
  for (const { keys } of parsed) {
    const known = ids.get(keys.entity) ?? new Set()
    for (const id of keys.ids) known.add(id)
    ids.set(keys.entity, known)
  }
  return [...ids].map(([entity, each]) => ({ entity, ids: [...each] }))
}
