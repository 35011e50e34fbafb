/** Numbers and names as `lockstep doctor` says them. */

import { clockErrorMs } from '../model/defaults.ts'
import type { ClockFacts } from '../model/doctor.ts'
import { ok, type Verdict, warning } from './doctor.ts'

export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  const amount = bytes / 1024 ** power
  return `${power === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[power]}`
}

export function secondsText(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  return `${Math.round(seconds / 3_600)} h`
}

export function countText(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

/** What came from elsewhere must not write to the terminal as it likes. */
export const quoted = (text: string): string => JSON.stringify(text)

/** A difference within what the question took is none. */
export function clockVerdict({ offsetMs, roundTripMs }: ClockFacts): Verdict {
  const differenceMs = Math.max(0, Math.abs(offsetMs) - roundTripMs / 2)
  const found = `its clock is ${secondsText(Math.abs(offsetMs) / 1_000)} ${offsetMs < 0 ? 'behind' : 'ahead of'} this machine's`
  if (differenceMs > clockErrorMs) return warning(found)
  return ok(`within ${Math.ceil(Math.abs(offsetMs) + roundTripMs / 2)} ms of this machine's`)
}

/** The name that was probably meant; `most`: how many letters may be other ones. */
export function nearestName(
  name: string,
  known: readonly string[],
  most = name.length / 3,
): string | undefined {
  const ranked = known
    .map((one) => ({ one, distance: distanceOf(name, one) }))
    .sort((a, b) => a.distance - b.distance)
  const [best] = ranked
  return best && best.distance <= most ? best.one : undefined
}

/** Levenshtein's: letters put in, left out or replaced. */
function distanceOf(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (const [above, letter] of [...from].entries()) {
    const next = [above + 1]
    for (let column = 1; column <= to.length; column++) {
      const replaced = (row[column - 1] as number) + (letter === to[column - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[column] as number) + 1, (next[column - 1] as number) + 1))
    }
    row = next
  }
  return row[to.length] as number
}
