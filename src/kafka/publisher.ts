/**
 * Appends to the log: acks of all replicas, an idempotent producer, one send at a time, and in it
 * all that was asked for meanwhile. KafkaJS' producer does not recover from every error (a broker
 * that lost its producer's state refuses it from then on), so after any error it is made anew: what
 * then lies in the log twice is heard twice, which changes nothing.
 */
import type { Producer } from 'kafkajs'
import { LockstepError } from '../model/errors.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { type Client, openClient, withAdmin } from './client.ts'
import type { Place } from './reading.ts'
import { unavailable } from './refusal.ts'
import { ensureLooseTopic, ensureTopic, type LooseTopic } from './topic.ts'

export interface Message {
  /** `undefined`: any; each send begins with another one. */
  readonly partition?: number
  readonly key?: Buffer | null
  readonly value: Buffer | null
}

interface Item {
  readonly messages: readonly Message[]
  readonly bytes: number
  readonly settle: (error?: unknown) => void
}

/** One send: below the megabyte that a broker takes, all in one partition or not. */
const mostBatchBytes = 640 * 1024
const mostBatchMessages = 1_000
/** Of all that wait: beyond it publishing fails at once. */
const mostWaitingBytes = 16 * 1024 * 1024
/** A send, connecting included. Who waits for it may give up sooner. */
const sendDeadlineMs = 5_000
const requestTimeoutMs = 2_000
const endDeadlineMs = 500
const allReplicas = -1

export class Publisher {
  readonly #place: Place
  #waiting: Item[] = []
  #waitingBytes = 0
  #isSending = false
  #isClosed = false
  #open: { readonly client: Client; readonly producer: Producer } | undefined
  #isTopicKnown = false
  #sent: Promise<void> = Promise.resolve()
  readonly #beside: LooseTopic | undefined
  #turn = 0

  /** `beside`: not the log, but this topic. */
  constructor(place: Place, beside?: LooseTopic) {
    this.#place = place
    this.#beside = beside
  }

  /** Resolves when all of them lie in the log; rejects when any may not, or the signal aborts. */
  async publish(messages: readonly Message[], signal: AbortSignal): Promise<void> {
    if (this.#isClosed) throw closed()
    signal.throwIfAborted()
    const parts = inParts(messages)
    const bytes = parts.reduce((sum, part) => sum + part.bytes, 0)
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes > mostWaitingBytes) {
      throw new LockstepError('KAFKA_UNAVAILABLE', 'Kafka: too much waits to be published')
    }
    await new Promise<void>((resolve, reject) => {
      let open = parts.length
      if (open === 0) return resolve()
      const items = parts.map((part): Item => ({ ...part, settle }))
      const abort = (): void => settle(signal.reason)
      function settle(this: void, error?: unknown): void {
        if (error === undefined && --open > 0) return
        signal.removeEventListener('abort', abort)
        if (error === undefined) resolve()
        else {
          forget()
          reject(error)
        }
      }
      const forget = (): void => this.#forget(items)
      signal.addEventListener('abort', abort, { once: true })
      for (const item of items) this.#enqueue(item)
    })
  }

  /** What waits fails; what is being sent may arrive. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const item of this.#waiting.splice(0)) item.settle(closed())
    this.#waitingBytes = 0
    const open = this.#open
    this.#open = undefined
    if (open) await this.#end(open)
    this.#abortSend?.()
    await this.#sent
  }

  #abortSend: (() => void) | undefined

  #enqueue(item: Item): void {
    this.#waiting.push(item)
    this.#waitingBytes += item.bytes
    if (this.#isSending) return
    this.#isSending = true
    this.#sent = this.#sendAll().finally(() => {
      this.#isSending = false
    })
  }

  #forget(items: readonly Item[]): void {
    const gone = new Set(items)
    this.#waiting = this.#waiting.filter((item) => !gone.has(item))
    this.#waitingBytes = this.#waiting.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  async #sendAll(): Promise<void> {
    // What is asked for in the same turn goes along.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const batch = this.#take()
      try {
        await this.#send(batch.flatMap(({ messages }) => messages))
        for (const item of batch) item.settle()
      } catch (error) {
        this.#discard()
        const why = this.#isClosed ? closed() : unavailable(error, 'publishing failed')
        for (const item of batch) item.settle(why)
      }
    }
  }

  #take(): readonly Item[] {
    let bytes = 0
    let messages = 0
    const most = this.#waiting.findIndex((item) => {
      bytes += item.bytes
      messages += item.messages.length
      return bytes > mostBatchBytes || messages > mostBatchMessages
    })
    const batch = this.#waiting.splice(0, most < 0 ? this.#waiting.length : Math.max(most, 1))
    for (const item of batch) this.#waitingBytes -= item.bytes
    return batch
  }

  #send(messages: readonly Message[]): Promise<void> {
    const { settings, clock } = this.#place
    const late = unanswered(sendDeadlineMs)
    const controller = new AbortController()
    this.#abortSend = () => controller.abort(closed())
    return withDeadline(sendDeadlineMs, late, controller.signal, clock, async (signal) => {
      const producer = await this.#producer(signal)
      await producer.send({
        topic: this.#beside?.topic ?? settings.topic,
        acks: allReplicas,
        timeout: requestTimeoutMs,
        messages: [...messages],
      })
    })
  }

  async #producer(signal: AbortSignal): Promise<Producer> {
    if (this.#open) return this.#open.producer
    const { settings, log } = this.#place
    const options = { log, requestTimeoutMs }
    const client = openClient(settings, options)
    signal.addEventListener('abort', client.destroy, { once: true })
    try {
      if (!this.#isTopicKnown) {
        await withAdmin(settings, options, signal, (admin) =>
          this.#beside ? ensureLooseTopic(admin, this.#beside) : ensureTopic(admin, settings),
        )
      }
      this.#isTopicKnown = true
      const producer = client.kafka.producer({
        idempotent: true,
        allowAutoTopicCreation: false,
        createPartitioner:
          () =>
          ({ message, partitionMetadata }) =>
            message.partition ?? this.#turn++ % partitionMetadata.length,
      })
      await producer.connect()
      signal.throwIfAborted()
      this.#open = { client, producer }
      return producer
    } catch (error) {
      client.destroy()
      throw error
    } finally {
      signal.removeEventListener('abort', client.destroy)
    }
  }

  #discard(): void {
    this.#open?.client.destroy()
    this.#open = undefined
    this.#isTopicKnown = false
  }

  async #end({ client, producer }: { client: Client; producer: Producer }): Promise<void> {
    const late = (): Error => new Error('it takes too long')
    await withDeadline(endDeadlineMs, late, undefined, this.#place.clock, () =>
      producer.disconnect(),
    ).catch(() => {})
    client.destroy()
  }
}

function inParts(messages: readonly Message[]): { messages: Message[]; bytes: number }[] {
  const parts: { messages: Message[]; bytes: number }[] = []
  let last: { messages: Message[]; bytes: number } | undefined
  for (const message of messages) {
    const length = (message.value?.length ?? 0) + (message.key?.length ?? 0)
    const isFull =
      !last || last.bytes + length > mostBatchBytes || last.messages.length >= mostBatchMessages
    if (isFull) {
      last = { messages: [], bytes: 0 }
      parts.push(last)
    }
    last?.messages.push(message)
    if (last) last.bytes += length
  }
  return parts
}

const closed = (): LockstepError => new LockstepError('CLOSED', 'the log is closed')
