/** Which row is asked for next: as a shop's customers would, or as a trace says. */
import { Popularity } from './popularity.ts'
import { randomBelow } from './random.ts'
import { zipf } from './zipf.ts'

export interface Traffic {
  /** An id in 1 … rows. */
  next(elapsedMs: number): number
}

const zipfExponent = 0.9
/** Of the accesses during a burst, the share that goes to its rows. */
const burstShare = 0.3

/** Zipf over a hot set that drifts, and bursts; `seed` is the same in all processes, `random` is not. */
export function shopTraffic(rows: number, seed: number, random: () => number): Traffic {
  const popularity = new Popularity(rows, seed)
  const rank = zipf(rows, zipfExponent)
  return {
    next: (elapsedMs) => {
      const burst = popularity.burstAt(elapsedMs)
      if (burst && random() < burstShare) return burst[randomBelow(burst.length, random)] as number
      return popularity.idOf(rank(random), elapsedMs)
    },
  }
}

/** The accesses of a trace, dealt out to the processes in turn; from the start again at its end. */
export function traceTraffic(
  keys: Uint32Array,
  rows: number,
  process: number,
  processes: number,
): Traffic {
  let position = process
  return {
    next: () => {
      const key = keys[position % keys.length] as number
      position += processes
      return 1 + (key % rows)
    },
  }
}
