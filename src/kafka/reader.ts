/** Reads the log for one listener, again and again from its end, for as long as it isn't closed. */
import type { LogListener } from '../model/bus-ports.ts'
import { messageOf } from '../model/errors.ts'
import { again } from './again.ts'
import { type Loss, type Place, readUntilLost } from './reading.ts'
import { plain, refusalOf } from './refusal.ts'

/** A broker that has just started says no a few times; one that can't be reached is not waited for. */
const triesAtStart = 4
const pace = { firstDelayMs: 50, longestDelayMs: 500, steadyMs: 10_000 }

/**
 * Resolves when it was positioned for the first time, or couldn't be a few times; rejects when Kafka says no.
 * Goes on until `signal` aborts; `ended` gets what resolves when it has.
 */
export function startReader(
  place: Place,
  listener: LogListener,
  signal: AbortSignal,
  ended: (end: Promise<void>) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let isStarting = true
    const started = (): void => {
      isStarting = false
      resolve()
    }
    const watched: LogListener = {
      positioned: (partitions) => {
        started()
        listener.positioned(partitions)
      },
      heard: (partition, record) => listener.heard(partition, record),
      lost: (reason, error) => listener.lost(reason, error),
    }
    let tries = 0
    const onLoss = (loss: Loss): boolean => {
      tries++
      const refusal = refusalOf(loss.error)
      if (refusal !== undefined && isStarting) {
        reject(refusal)
        return false
      }
      if (tries >= triesAtStart) started()
      return true
    }
    ended(readOn(place, watched, signal, onLoss))
  })
}

function readOn(
  { settings, clock, log }: Place,
  listener: LogListener,
  signal: AbortSignal,
  goesOn: (loss: Loss) => boolean,
): Promise<void> {
  return again({ clock, signal, ...pace }, async () => {
    const loss = await readUntilLost({ settings, clock, log }, listener, signal)
    if (!goesOn(loss)) return undefined
    const { error, reason, wasPositioned } = loss
    return {
      why: `${reason} ${error === undefined ? '' : messageOf(error)}`,
      isNews: wasPositioned,
      say: () => {
        const details = { topic: settings.topic, reason, err: plain(error) }
        if (refusalOf(error)) log.error(details, 'Kafka refuses to be read')
        else log.warn(details, 'Kafka is not read; it is tried again until it is')
      },
    }
  })
}
