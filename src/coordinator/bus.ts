import type { Log } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import { LockstepError } from '../model/errors.ts'
import { withDeadline } from '../resilience/deadline.ts'
import type { Hop } from '../resilience/hop.ts'
import { type RetryOptions, retry } from '../resilience/retry.ts'

export interface BusOptions extends Omit<RetryOptions, 'signal'> {
  readonly clock: Clock
  /** Of one try. */
  readonly deadlineMs: number
  /** `undefined`: there is no breaker. */
  readonly hop: Pick<Hop, 'run'> | undefined
}

/**
 * Publishing by writers (DESIGN §5.5): what takes too long, or isn't tried because Kafka is ill, is left
 * to the relay. The relay itself goes on trying, and is no part of the hop.
 */
export function busOf(log: Log, options: BusOptions): Pick<Log, 'publish'> {
  const { clock, deadlineMs, hop } = options
  const late = (): Error =>
    new LockstepError('KAFKA_UNAVAILABLE', `Kafka: no answer in ${deadlineMs} ms`)
  return {
    publish: (writes, signal) =>
      retry({ ...options, signal }, () =>
        withDeadline(deadlineMs, late, signal, clock, (inTime) => {
          const publish = (): Promise<void> => log.publish(writes, inTime)
          return hop ? hop.run(publish, inTime) : publish()
        }),
      ),
  }
}
