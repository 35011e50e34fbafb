/**
 * The port `Log` over a Kafka topic (DESIGN §6): every instance reads all of it, from the end that
 * it has when the instance comes.
 */
import type { Log } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { withDeadline } from '../resilience/deadline.ts'
import { withAdmin } from './client.ts'
import { removeLeftovers } from './groups.ts'
import type { KafkaSettings } from './options.ts'
import { Publisher } from './publisher.ts'
import { startReader } from './reader.ts'
import type { Place } from './reading.ts'
import { encodeBarrier, encodeWrite, partitionOf } from './record.ts'

/** What a start waits for; then the log is read as soon as it can be. */
const startDeadlineMs = 8_000
const cleanUpDeadlineMs = 5_000

/**
 * Connects when it is first used. `listen` and `publish` reject with
 * `KAFKA_REFUSED` and `KAFKA_TOPIC_INVALID`, `publish` with `KAFKA_UNAVAILABLE` too. Closed by
 * `close()`, or when `signal` aborts.
 */
export function openLog(
  settings: KafkaSettings,
  parts: { readonly clock: Clock; readonly log: Logger; readonly signal?: AbortSignal },
): Log {
  const place: Place = { settings, clock: parts.clock, log: parts.log }
  const publisher = new Publisher(place)
  const controller = new AbortController()
  const under = new Set<Promise<void>>()
  const track = (work: Promise<void>): void => {
    under.add(work)
    const done = (): void => void under.delete(work)
    work.then(done, done)
  }
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    parts.signal?.removeEventListener('abort', closeNow)
    closing ??= (async () => {
      controller.abort(new LockstepError('CLOSED', 'the log is closed'))
      await publisher.close()
      await Promise.allSettled(under)
    })()
    return closing
  }
  const closeNow = (): void => void close()
  if (parts.signal?.aborted) closeNow()
  parts.signal?.addEventListener('abort', closeNow, { once: true })
  const { namespace, partitions } = settings

  return {
    listen: async (listener) => {
      controller.signal.throwIfAborted()
      const started = startReader(place, listener, controller.signal, track)
      const isFirst = under.size === 1
      await inTime(place, startDeadlineMs, controller.signal, () => started)
      if (isFirst) track(cleanUp(place, controller.signal))
    },
    publish: (writes, signal) => {
      const records = writes.flatMap((write) => encodeWrite(namespace, write))
      const messages = records.map(({ entity, firstId, bytes }) => ({
        partition: partitionOf(entity, firstId, partitions),
        value: bytes,
      }))
      return publisher.publish(messages, signal)
    },
    barrier: (snapshot, signal) => {
      const value = encodeBarrier(namespace, snapshot, partitions)
      const messages = Array.from({ length: partitions }, (_, partition) => ({ partition, value }))
      return publisher.publish(messages, signal)
    },
    close,
  }
}

const tooLate = new Error('too late')

/** Settles as `call` does, or resolves when the time is over. */
async function inTime(
  { clock, log, settings }: Place,
  ms: number,
  signal: AbortSignal,
  call: () => Promise<void>,
): Promise<void> {
  try {
    await withDeadline(ms, () => tooLate, signal, clock, call)
  } catch (error) {
    if (error !== tooLate) throw error
    log.warn({ topic: settings.topic }, 'Kafka does not answer; it is read as soon as it does')
  }
}

/** Best effort: what is left goes away by itself. */
async function cleanUp({ settings, clock, log }: Place, signal: AbortSignal): Promise<void> {
  const late = (): Error => new Error(`not done in ${cleanUpDeadlineMs} ms`)
  const options = { log, requestTimeoutMs: cleanUpDeadlineMs }
  try {
    await withDeadline(cleanUpDeadlineMs, late, signal, clock, (inTime) =>
      withAdmin(settings, options, inTime, (admin) => removeLeftovers(admin, settings.namespace)),
    )
  } catch (error) {
    const details = { error: messageOf(error) }
    log.debug(details, 'Kafka: consumer groups that nobody uses were not removed')
  }
}
