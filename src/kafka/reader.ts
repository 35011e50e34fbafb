/** Reads the log for one listener, again and again from its end, for as long as it isn't closed. */
import { messageOf } from '../model/errors.ts'
import type { LogListener } from '../model/ports.ts'
import { sleep } from '../resilience/deadline.ts'
import { type Loss, type Place, readUntilLost } from './reading.ts'
import { plain, refusalOf } from './refusal.ts'

/** A broker that has just started says no a few times; one that can't be reached is not waited for. */
const triesAtStart = 4
const firstDelayMs = 50
const longestDelayMs = 1_000
/** A reading that held this long was a good one: the next failure is the first again. */
const steadyMs = 10_000

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

async function readOn(
  { settings, clock, log }: Place,
  listener: LogListener,
  signal: AbortSignal,
  goesOn: (loss: Loss) => boolean,
): Promise<void> {
  let failures = 0
  let said: string | undefined
  while (!signal.aborted) {
    const begunAtMs = clock.monotonicMs()
    const loss = await readUntilLost({ settings, clock, log }, listener, signal)
    if (!goesOn(loss) || signal.aborted) return
    failures = clock.monotonicMs() - begunAtMs > steadyMs ? 1 : failures + 1
    const why = `${loss.reason} ${loss.error === undefined ? '' : messageOf(loss.error)}`
    // Once for each cause, however often it is tried.
    if (loss.wasPositioned || why !== said) {
      const details = { topic: settings.topic, reason: loss.reason, err: plain(loss.error) }
      if (refusalOf(loss.error)) log.error(details, 'Kafka refuses to be read')
      else log.warn(details, 'Kafka is not read; it is tried again until it is')
    }
    said = why
    const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures, 10))
    await sleep(delayMs * (0.5 + Math.random() / 2), signal, clock)
  }
}
