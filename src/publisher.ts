/** `publisher`: for services that write the rows of a cache, and can tell of it by Kafka alone. */
import { randomUUID } from 'node:crypto'
import { openEventPublisher } from './kafka/event-publisher.ts'
import { type KafkaOptions, settleKafka } from './kafka/options.ts'
import { systemClock } from './model/clock.ts'
import { type Duration, durationMs } from './model/duration.ts'
import { checkEntityName, wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import { encodeEvent, longestNote, mostEventBytes, mostEventIds } from './model/event.ts'
import { keyOfPrimitive } from './model/id.ts'
import { type Logger, silent } from './model/log.ts'
import { redacting } from './model/redact.ts'
import { checkNamespace } from './options.ts'

export interface PublisherOptions {
  /** The namespace of the cache. */
  namespace: string
  /** As in the options of the cache: brokers, or KafkaJS options with a topic of our own. */
  kafka: KafkaOptions
  /** Who publishes, for whoever looks into the topic: up to 256 characters. */
  source?: string
  /** Silent without one; pino's shape. */
  logger?: Logger
}

export interface PublishOptions {
  /** When it is given up (default 5 s). */
  timeout?: Duration
  /** Ends the wait; what is being sent may arrive all the same. */
  signal?: AbortSignal
}

export interface EventsPublisher {
  /**
   * Tells the caches of the namespace that rows of these ids were written: call it when that has
   * committed. Resolves when Kafka has it for good (acks of all replicas); whether the entity is known
   * shows only where it is applied. Rejects with `OPTION_INVALID`, `ID_INVALID`, `KAFKA_UNAVAILABLE`
   * (some of it may have been published; to repeat it does no harm), `KAFKA_REFUSED`, `CLOSED`.
   */
  invalidate(
    entity: string,
    ids: readonly (string | number | bigint)[],
    options?: PublishOptions,
  ): Promise<void>
  /** What waits fails. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const known: ReadonlySet<string> = new Set<keyof PublisherOptions>([
  'namespace',
  'kafka',
  'source',
  'logger',
])
const knownOfCall: ReadonlySet<string> = new Set<keyof PublishOptions>(['timeout', 'signal'])
const defaultTimeout = '5s'
/** Room for all but the ids. */
const headBytes = 4_096

/** Needs neither PostgreSQL nor Redis, and connects when it first publishes. Throws `OPTION_INVALID`. */
export function publisher(options: PublisherOptions): EventsPublisher {
  checkKnown('options', options, known)
  const { namespace, kafka, source, logger } = options
  const log = logger === undefined ? silent : redacting(logger)
  checkNamespace(namespace)
  if (!kafka)
    throw new LockstepError('OPTION_INVALID', 'option "kafka" is missing; brokers would do')
  if (source !== undefined && !(typeof source === 'string' && source.length <= longestNote)) {
    throw wrong('source', source, `a text of up to ${longestNote} characters would do`)
  }
  const open = openEventPublisher(settleKafka(kafka, namespace), { clock: systemClock, log })
  const close = (): Promise<void> => open.close()
  return Object.freeze({
    invalidate: async (
      entity: string,
      ids: readonly (string | number | bigint)[],
      call: PublishOptions = {},
    ) => {
      checkKnown('options', call, knownOfCall)
      const timeoutMs = durationMs('timeout', call.timeout ?? defaultTimeout)
      checkEntityName('entity', entity)
      const at = new Date().toISOString()
      const notes = source === undefined ? { at } : { at, source }
      const events = inParts(textsOf(entity, ids)).map((part) =>
        encodeEvent(namespace, entity, part, { ...notes, eventId: randomUUID() }),
      )
      await open.publish(events, timeoutMs, call.signal)
    },
    close,
    [Symbol.asyncDispose]: close,
  })
}

function textsOf(entity: string, ids: readonly (string | number | bigint)[]): readonly string[] {
  if (!Array.isArray(ids) || ids.length === 0) {
    throw wrong('ids', ids, 'an array of at least one id would do')
  }
  return [...new Set(ids.map((id) => String(keyOfPrimitive(entity, id))))]
}

/** As many as one event may have, by number and by bytes. */
function inParts(ids: readonly string[]): readonly (readonly string[])[] {
  const parts: string[][] = []
  let room = 0
  for (const id of ids) {
    const bytes = Buffer.byteLength(JSON.stringify(id)) + 1
    const last = parts.at(-1)
    if (last && last.length < mostEventIds && bytes <= room) last.push(id)
    else {
      parts.push([id])
      room = mostEventBytes - headBytes
    }
    room -= bytes
  }
  return parts
}

/** Without the values, which may be passwords. */
function checkKnown(name: string, options: object, knownOnes: ReadonlySet<string>): void {
  const wouldDo = `an object with any of ${[...knownOnes].join(', ')} would do`
  if (options === null || typeof options !== 'object') throw wrong(name, options, wouldDo)
  for (const key of Object.keys(options)) {
    if (knownOnes.has(key)) continue
    throw new LockstepError('OPTION_INVALID', `option "${key}" is not known; ${wouldDo}`)
  }
}
