/**
 * One reading of the log, from its end on, until something may have been missed. KafkaJS would go
 * on by itself after most of what can happen, and not say what it skipped: so a reading ends with
 * the first thing that is out of the ordinary, and a new one begins (`reader.ts`).
 *
 * Order matters: the ends of all partitions are asked for, then the group is joined, then the
 * position is set, inside the event that says so and thus before the first record is fetched.
 */
import type { Consumer } from 'kafkajs'
import type { LogListener } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { type Deferred, deferred, withDeadline } from '../resilience/deadline.ts'
import { type Client, openClient, withAdmin } from './client.ts'
import { newGroup, removeGroups } from './groups.ts'
import { joinDeadlineMs, leaveDeadlineMs, membership, requestTimeoutMs } from './membership.ts'
import type { KafkaSettings } from './options.ts'
import { type End, Positions, type ReadBatch } from './position.ts'
import { decodeRecord } from './record.ts'
import { ensureTopic } from './topic.ts'

export interface Place {
  readonly settings: KafkaSettings
  readonly clock: Clock
  readonly log: Logger
}

export interface Loss {
  readonly reason: Parameters<LogListener['lost']>[0]
  readonly error: unknown
  /** Had it begun? Otherwise nothing was heard, and nothing can have been missed. */
  readonly wasPositioned: boolean
}

/** A broker that hasn't answered by then hangs. KafkaJS would notice after its retries and its farewells. */
const stalledMs = 2_000
const lookEveryMs = 500
const metadataMaxAgeMs = 30_000
const mostBytes = 4 * 1024 * 1024

/** Resolves when it is over; all that it opened is closed by then, and its group removed. */
export async function readUntilLost(
  place: Place,
  listener: LogListener,
  signal: AbortSignal,
): Promise<Loss> {
  const reading = new Reading(place, listener, signal)
  const end = (): void => reading.lose('disconnected', signal.reason)
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  try {
    return await reading.run()
  } finally {
    signal.removeEventListener('abort', end)
  }
}

class Reading {
  readonly #place: Place
  readonly #listener: LogListener
  readonly #signal: AbortSignal
  readonly #group: string
  readonly #client: Client
  readonly #over: Deferred<Loss> = deferred()
  #positions: Positions | undefined
  #ends: readonly End[] = []
  #hasJoined = false
  #isPositioned = false
  #isOver = false
  readonly #ended = new AbortController()
  /** By broker: since when it is asked for records. */
  readonly #asked = new Map<number, number>()
  #stopLooking: (() => void) | undefined

  constructor(place: Place, listener: LogListener, signal: AbortSignal) {
    this.#signal = signal
    this.#place = place
    this.#listener = listener
    this.#group = newGroup(place.settings.namespace)
    this.#client = openClient(place.settings, {
      log: place.log,
      requestTimeoutMs,
      onCut: (error) => this.lose('disconnected', error),
    })
  }

  async run(): Promise<Loss> {
    const consumer = this.#client.kafka.consumer({
      groupId: this.#group,
      // A transaction that somebody leaves open in this topic would hold all readers up.
      readUncommitted: true,
      ...membership,
      maxBytes: mostBytes,
      metadataMaxAge: metadataMaxAgeMs,
    })
    this.#watch(consumer)
    const begun = this.#begin(consumer).catch((error) => this.lose('disconnected', error))
    const loss = await this.#over.promise
    await this.#end(consumer, begun)
    return loss
  }

  /** Says so at once; nothing is heard any more. */
  lose(reason: Loss['reason'], error?: unknown): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stopLooking?.()
    this.#ended.abort()
    this.#over.resolve({ reason, error, wasPositioned: this.#isPositioned })
    // Who closes the log knows.
    if (this.#isPositioned && !this.#signal.aborted) this.#listener.lost(reason, error)
  }

  #watch(consumer: Consumer): void {
    const { GROUP_JOIN, REBALANCING, CRASH, STOP, DISCONNECT, FETCH_START, FETCH } = consumer.events
    consumer.on(FETCH_START, ({ payload }) => {
      this.#asked.set(payload.nodeId, this.#place.clock.monotonicMs())
    })
    consumer.on(FETCH, ({ payload }) => void this.#asked.delete(payload.nodeId))
    consumer.on(GROUP_JOIN, ({ payload }) => {
      this.#joined(consumer, payload.memberAssignment)
    })
    consumer.on(REBALANCING, () => this.lose('rebalance'))
    consumer.on(CRASH, ({ payload }) => this.lose('disconnected', payload.error))
    for (const event of [STOP, DISCONNECT]) consumer.on(event, () => this.lose('disconnected'))
  }

  async #begin(consumer: Consumer): Promise<void> {
    const { clock } = this.#place
    const late = (): Error => new Error(`the group was not joined in ${joinDeadlineMs} ms`)
    await withDeadline(joinDeadlineMs, late, this.#ended.signal, clock, async (signal) => {
      const { settings, log } = this.#place
      this.#ends = await withAdmin(settings, { log, requestTimeoutMs }, signal, async (admin) => {
        await ensureTopic(admin, settings)
        return admin.fetchTopicOffsets(settings.topic)
      })
      this.#positions = new Positions(this.#ends)
      await consumer.subscribe({ topic: settings.topic })
      if (this.#isOver) return
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => this.#read(batch as unknown as ReadBatch),
      })
    })
  }

  #joined(consumer: Consumer, assignment: Readonly<Record<string, readonly number[]>>): void {
    this.#hasJoined = true
    if (this.#isOver) return
    const { topic, partitions } = this.#place.settings
    const own = assignment[topic] ?? []
    const isWhole = own.length === partitions && this.#ends.length === partitions
    if (this.#isPositioned || !isWhole) {
      this.lose('rebalance')
      return
    }
    for (const { partition, high } of this.#ends) consumer.seek({ topic, partition, offset: high })
    this.#isPositioned = true
    this.#lookForStalls()
    this.#listener.positioned(partitions)
  }

  #lookForStalls(): void {
    const { clock } = this.#place
    this.#stopLooking = clock.after(lookEveryMs, () => {
      const dueMs = clock.monotonicMs() - stalledMs
      if ([...this.#asked.values()].some((sinceMs) => sinceMs < dueMs)) {
        this.lose('disconnected', new Error(`no answer in ${stalledMs} ms`))
      } else this.#lookForStalls()
    })
  }

  #read(batch: ReadBatch): void {
    if (this.#isOver || !this.#isPositioned) return
    const isWhole = this.#positions?.advance(batch, (value) => {
      if (this.#isOver) return
      const record = decodeRecord(value, this.#place.settings.namespace)
      if (record) this.#listener.heard(batch.partition, record)
    })
    if (!isWhole) this.lose('gap')
  }

  /** In order where the broker answers, and by force where it doesn't. */
  async #end(consumer: Consumer, begun: Promise<void>): Promise<void> {
    const { settings, clock, log } = this.#place
    const late = (): Error => new Error(`not done in ${leaveDeadlineMs} ms`)
    // It has not come so far as to be a member of anything.
    if (!this.#hasJoined) this.#client.destroy()
    try {
      await withDeadline(leaveDeadlineMs, late, undefined, clock, async (signal) => {
        await begun
        await consumer.disconnect()
        if (!this.#isPositioned) return
        await withAdmin(settings, { log, requestTimeoutMs }, signal, (admin) =>
          removeGroups(admin, [this.#group]),
        )
      })
    } catch (error) {
      const details = { group: this.#group, error: messageOf(error) }
      log.debug(details, 'Kafka: a consumer group was left behind')
    }
    this.#client.destroy()
  }
}
