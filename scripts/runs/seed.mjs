import { randomInt } from 'node:crypto'
import { UsageError } from './usage-error.mjs'

const largestSeed = 2 ** 31 - 1

/** A new one when none is given; throws a `UsageError`. */
export function seedOf(given) {
  if (given === undefined) return randomInt(largestSeed)
  const value = /^\d+$/.test(given) ? Number(given) : Number.NaN
  if (value <= largestSeed) return value
  throw new UsageError(`--seed is "${given}"; a whole number, 0 to ${largestSeed}, would do`)
}
