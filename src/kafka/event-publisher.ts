/** Publishes events as foreign producers do, with nothing but Kafka. */
import type { Clock } from '../model/clock.ts'
import { LockstepError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { withDeadline } from '../resilience/deadline.ts'
import type { KafkaSettings } from './options.ts'
import { Publisher } from './publisher.ts'
import { eventsTopic } from './topic.ts'

export interface EventPublisher {
  /** Resolves when all of them lie in the topic for good. Rejects with `KAFKA_REFUSED`, `KAFKA_UNAVAILABLE`, `CLOSED`. */
  publish(events: readonly Buffer[], timeoutMs: number, signal?: AbortSignal): Promise<void>
  close(): Promise<void>
}

/** Connects when it first publishes. */
export function openEventPublisher(
  settings: KafkaSettings,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): EventPublisher {
  const wanted = eventsTopic(settings)
  const publisher = new Publisher({ settings, clock, log }, wanted)
  return {
    publish: (events, timeoutMs, signal) => {
      const late = (): Error =>
        new LockstepError('KAFKA_UNAVAILABLE', `Kafka: no answer in ${timeoutMs} ms`)
      const messages = events.map((value) => ({ value }))
      return withDeadline(timeoutMs, late, signal, clock, (inTime) =>
        publisher.publish(messages, inTime),
      )
    },
    close: () => publisher.close(),
  }
}
