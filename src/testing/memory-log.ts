/**
 * A log in memory that several instances may share, as they do a topic of Kafka; what may happen to
 * that one can be made to happen here. `test/contract/log.test.ts` holds the two to each other.
 */
import {
  decodeRecord,
  encodeBarrier,
  encodeWrite,
  partitionOf,
  type WriteRecord,
} from '../kafka/record.ts'
import type { Log, LoggedWrite, LogListener } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import { LockstepError } from '../model/errors.ts'

/** How long a reader that lost its place takes to find it again. */
const againMs = 50

export class MemoryTopic {
  readonly #clock: Clock
  readonly #readers = new Set<Reader>()
  #partitions: Buffer[][]
  #down: Error | undefined
  #dropped = 0
  #repeated = 0

  constructor(clock: Clock, partitions = 3) {
    this.#clock = clock
    this.#partitions = emptyPartitions(partitions)
  }

  get count(): number {
    return this.#partitions.length
  }

  endOf(partition: number): number {
    return this.#partitions[partition]?.length ?? 0
  }

  at(partition: number, offset: number): Buffer | undefined {
    return this.#partitions[partition]?.[offset]
  }

  // ---- what a test does to it

  get isDown(): boolean {
    return this.#down !== undefined
  }

  /** It can't be reached from now on. */
  stop(): void {
    this.#down = new Error('the log is down')
    for (const reader of this.#readers) reader.lose('disconnected', this.#down)
  }

  start(): void {
    this.#down = undefined
  }

  /** All that lay in it is gone, and offsets begin again. */
  recreate(): void {
    this.#partitions = emptyPartitions(this.count)
    for (const reader of this.#readers) reader.lose('disconnected', new Error('no such topic'))
  }

  rebalance(): void {
    for (const reader of this.#readers) reader.lose('rebalance')
  }

  /** The next records get their offsets and reach no reader. */
  drop(records = 1): void {
    this.#dropped += records
  }

  /** The next records lie in it twice. */
  repeat(records = 1): void {
    this.#repeated += records
  }

  put(partition: number, bytes: Buffer): void {
    const records = this.#partitions[partition] as Buffer[]
    if (this.#dropped > 0) {
      this.#dropped--
      records.push(lostBytes)
    } else if (this.#repeated > 0) {
      this.#repeated--
      records.push(bytes, bytes)
    } else records.push(bytes)
    for (const reader of this.#readers) reader.wake()
  }

  // ---- what its logs do

  append(records: readonly { readonly partition: number; readonly bytes: Buffer }[]): void {
    if (this.#down) {
      throw new LockstepError('KAFKA_UNAVAILABLE', 'the log is down', { cause: this.#down })
    }
    for (const { partition, bytes } of records) this.put(partition, bytes)
  }

  /** Returns what ends it. */
  read(namespace: string, listener: LogListener): () => void {
    const reader = new Reader(this, namespace, listener, this.#clock)
    this.#readers.add(reader)
    reader.position()
    return () => {
      reader.close()
      this.#readers.delete(reader)
    }
  }
}

export function memoryLog(topic: MemoryTopic, namespace: string): Log {
  const ends: (() => void)[] = []
  let isClosed = false
  const check = (signal?: AbortSignal): void => {
    if (isClosed) throw new LockstepError('CLOSED', 'the log is closed')
    signal?.throwIfAborted()
  }
  return {
    listen: async (listener) => {
      check()
      ends.push(topic.read(namespace, listener))
    },
    publish: async (writes: readonly LoggedWrite[], signal) => {
      check(signal)
      const place = ({ entity, firstId, bytes }: WriteRecord) => ({
        partition: partitionOf(entity, firstId, topic.count),
        bytes,
      })
      topic.append(writes.flatMap((write) => encodeWrite(namespace, write).map(place)))
    },
    barrier: async (snapshot, signal) => {
      check(signal)
      const bytes = encodeBarrier(namespace, snapshot, topic.count)
      topic.append(Array.from({ length: topic.count }, (_, partition) => ({ partition, bytes })))
    },
    close: async () => {
      isClosed = true
      for (const end of ends.splice(0)) end()
    },
  }
}

/** Stands where a record was lost. */
const lostBytes = Buffer.alloc(0)

class Reader {
  readonly #topic: MemoryTopic
  readonly #namespace: string
  readonly #listener: LogListener
  readonly #clock: Clock
  /** `undefined`: it has lost its place. */
  #next: number[] | undefined
  #isAwake = false
  #isClosed = false
  #cancel: (() => void) | undefined

  constructor(topic: MemoryTopic, namespace: string, listener: LogListener, clock: Clock) {
    this.#topic = topic
    this.#namespace = namespace
    this.#listener = listener
    this.#clock = clock
  }

  position(): void {
    if (this.#isClosed) return
    if (this.#topic.isDown) {
      this.#later()
      return
    }
    const { count } = this.#topic
    this.#next = Array.from({ length: count }, (_, partition) => this.#topic.endOf(partition))
    this.#listener.positioned(count)
  }

  lose(reason: Parameters<LogListener['lost']>[0], error?: unknown): void {
    if (!this.#next) return
    this.#next = undefined
    this.#listener.lost(reason, error)
    this.#later()
  }

  wake(): void {
    if (this.#isAwake) return
    this.#isAwake = true
    this.#clock.defer(() => {
      this.#isAwake = false
      this.#read()
    })
  }

  close(): void {
    this.#isClosed = true
    this.#next = undefined
    this.#cancel?.()
  }

  #later(): void {
    this.#cancel?.()
    this.#cancel = this.#clock.after(againMs, () => this.position())
  }

  #read(): void {
    for (let partition = 0; partition < this.#topic.count; partition++) {
      for (;;) {
        const offset = this.#next?.[partition]
        if (offset === undefined || offset >= this.#topic.endOf(partition)) break
        ;(this.#next as number[])[partition] = offset + 1
        this.#hear(partition, this.#topic.at(partition, offset) as Buffer)
      }
    }
  }

  #hear(partition: number, bytes: Buffer): void {
    if (bytes === lostBytes) {
      this.lose('gap')
      return
    }
    const record = decodeRecord(bytes, this.#namespace)
    if (record) this.#listener.heard(partition, record)
  }
}

const emptyPartitions = (count: number): Buffer[][] => Array.from({ length: count }, () => [])
