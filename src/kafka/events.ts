/**
 * The port `EventSource` over a Kafka topic: what foreign producers publish, read by one group of all
 * instances of the namespace. An offset is committed when what lies before it was applied, or lies
 * with the dead letters: each event is applied at least once, from the oldest that the topic has.
 *
 * Nothing waits for it: where Kafka is away or says no, it is tried again until it does.
 */
import type { Consumer, EachBatchPayload } from 'kafkajs'
import type { EventSource } from '../model/bus-ports.ts'
import { encodeLetter } from '../model/dead-letter.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import { type Deferred, deferred, sleep, withDeadline } from '../resilience/deadline.ts'
import { again } from './again.ts'
import { openClient, withAdmin } from './client.ts'
import { eventsGroup } from './groups.ts'
import {
  heartbeatMs,
  joinDeadlineMs,
  leaveDeadlineMs,
  membership,
  requestTimeoutMs,
} from './membership.ts'
import { eventsTopicOf } from './options.ts'
import { Publisher } from './publisher.ts'
import type { Place } from './reading.ts'
import { plain, refusalOf } from './refusal.ts'
import { deadLettersTopic, ensureLooseTopic, eventsTopic } from './topic.ts'

type Apply = Parameters<EventSource['listen']>[0]

const mostBytes = 2 * 1024 * 1024
const pace = { firstDelayMs: 100, longestDelayMs: 10_000, steadyMs: 30_000 }

/** Connects when it is listened to. Closed by `close()`. */
export function openEvents(place: Place): EventSource {
  const controller = new AbortController()
  const graves = new Publisher(place, deadLettersTopic(place.settings))
  const topic = eventsTopicOf(place.settings)
  let ended: Promise<void> | undefined
  let closing: Promise<void> | undefined
  return {
    listen: (apply) => {
      ended ??= readOn(place, apply, controller.signal)
    },
    bury: (letters, signal) => {
      const at = new Date(place.clock.wallMs()).toISOString()
      const messages = letters.map((letter) => ({ value: encodeLetter(letter, topic, at) }))
      return graves.publish(messages, signal)
    },
    close: () => {
      closing ??= (async () => {
        controller.abort(new LockstepError('CLOSED', 'the events are closed'))
        await Promise.all([ended, graves.close()])
      })()
      return closing
    },
  }
}

function readOn(place: Place, apply: Apply, signal: AbortSignal): Promise<void> {
  const { clock, log, settings } = place
  return again({ clock, signal, ...pace }, async () => {
    const error = await new Session(place, apply).run(signal)
    const refusal = refusalOf(error)
    return {
      why: messageOf(error),
      say: () => {
        const details = { topic: eventsTopicOf(settings), err: plain(refusal ?? error) }
        if (refusal) log.error(details, 'Kafka refuses to hand out the events of others')
        else
          log.warn(details, 'the events of others are not read; it is tried again until they are')
      },
    }
  })
}

/** One membership of the group, until something breaks that KafkaJS doesn't mend. */
class Session {
  readonly #place: Place
  readonly #apply: Apply
  readonly #over: Deferred<unknown> = deferred()
  readonly #ended = new AbortController()

  constructor(place: Place, apply: Apply) {
    this.#place = place
    this.#apply = apply
  }

  /** Why it ended; all that it opened is closed by then. */
  async run(signal: AbortSignal): Promise<unknown> {
    const { log, settings } = this.#place
    const client = openClient(settings, { log, requestTimeoutMs })
    const end = (): void => this.#end(signal.reason)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
    const consumer = client.kafka.consumer({
      groupId: eventsGroup(settings.namespace),
      ...membership,
      maxBytes: mostBytes,
    })
    const begun = this.#begin(consumer).catch((error) => this.#end(error))
    const why = await this.#over.promise
    signal.removeEventListener('abort', end)
    const late = (): Error => new Error(`not done in ${leaveDeadlineMs} ms`)
    await withDeadline(leaveDeadlineMs, late, undefined, this.#place.clock, async () => {
      await begun
      await consumer.disconnect()
    }).catch((error: unknown) => {
      log.debug(
        { error: messageOf(error) },
        'Kafka: the group of the events was left without a word',
      )
    })
    client.destroy()
    return why
  }

  #end(why: unknown): void {
    this.#over.resolve(why)
    this.#ended.abort(why)
  }

  async #begin(consumer: Consumer): Promise<void> {
    const { clock, log, settings } = this.#place
    const { CRASH, STOP, DISCONNECT } = consumer.events
    consumer.on(CRASH, ({ payload }) => this.#end(payload.error))
    for (const event of [STOP, DISCONNECT]) {
      consumer.on(event, () => this.#end(new Error('the group was left')))
    }
    const late = (): Error => new Error(`the group was not joined in ${joinDeadlineMs} ms`)
    await withDeadline(joinDeadlineMs, late, this.#ended.signal, clock, async (signal) => {
      const wanted = eventsTopic(settings)
      await withAdmin(settings, { log, requestTimeoutMs }, signal, (admin) =>
        ensureLooseTopic(admin, wanted),
      )
      // A group that has committed nothing begins at the oldest: who published first is heard too.
      await consumer.subscribe({ topic: wanted.topic, fromBeginning: true })
      signal.throwIfAborted()
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        eachBatch: (payload) => this.#read(payload),
      })
    })
  }

  /** What isn't resolved here is fetched again. */
  async #read(payload: EachBatchPayload): Promise<void> {
    const { batch, commitOffsetsIfNecessary, heartbeat, isRunning, isStale, resolveOffset } =
      payload
    const { partition, topic } = batch
    if (this.#ended.signal.aborted || !isRunning() || isStale()) return
    const last = batch.lastOffset()
    const events = batch.messages.map(({ offset, key, value }) => ({
      partition,
      offset,
      key,
      value,
    }))
    await this.#alive(heartbeat, (signal) => this.#apply(events, signal))
    resolveOffset(last)
    const offset = String(BigInt(last) + 1n)
    await commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset }] }] })
  }

  /** The group waits for none that says nothing; and one that it has left applies nothing more. */
  async #alive(
    heartbeat: () => Promise<void>,
    run: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { clock } = this.#place
    const lost = new AbortController()
    const signal = AbortSignal.any([this.#ended.signal, lost.signal])
    const done = new AbortController()
    const beating = (async () => {
      while (!done.signal.aborted && !signal.aborted) {
        await sleep(heartbeatMs, AbortSignal.any([done.signal, signal]), clock)
        if (done.signal.aborted || signal.aborted) return
        await heartbeat().catch((error: unknown) => lost.abort(error))
      }
    })()
    try {
      await run(signal)
    } catch (error) {
      throw lost.signal.aborted ? lost.signal.reason : error
    } finally {
      done.abort()
      await beating
    }
    lost.signal.throwIfAborted()
  }
}
