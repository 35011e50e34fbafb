import { LockstepError } from '../model/errors.ts'
import { planOf, type RowName, rowNames } from './row-plans.ts'

/** As they come from the command line. */
export interface BenchArguments {
  readonly only?: string
  readonly rounds?: string
  readonly scale?: string
}

export interface BenchOptions {
  readonly names: readonly RowName[]
  readonly rounds: number
  /** Of the operations of a block. */
  readonly scale: number
}

export const benchDefaults = { rounds: '15', scale: '1' } as const

const leastRounds = 15
const mostRounds = 1_000

/** Throws `OPTION_INVALID`, which names the option, the value, and what would do. */
export function parseBenchOptions(given: BenchArguments): BenchOptions {
  const { rounds, scale } = { ...benchDefaults, ...given }
  const prefixes = (given.only ?? '').split(',').map((prefix) => prefix.trim())
  for (const prefix of given.only === undefined ? [] : prefixes) {
    if (prefix !== '' && rowNames.some((name) => isMeant(name, prefix))) continue
    throw invalid('only', prefix, `the beginning of one of ${rowNames.join(', ')}`)
  }
  const names = rowNames.filter((name) => prefixes.some((prefix) => isMeant(name, prefix)))
  const roundCount = Number(rounds)
  if (!Number.isInteger(roundCount) || roundCount < leastRounds || roundCount > mostRounds) {
    throw invalid('rounds', rounds, `a whole number, ${leastRounds} to ${mostRounds},`)
  }
  const share = scale.trim() === '' ? Number.NaN : Number(scale)
  if (!(share > 0 && share <= 100)) {
    throw invalid('scale', scale, 'a number above 0 and up to 100, like 0.1,')
  }
  return { names, rounds: roundCount, scale: share }
}

function isMeant(name: RowName, prefix: string): boolean {
  const { onlyBy } = planOf(name)
  return name.startsWith(prefix) && (onlyBy === undefined || prefix.startsWith(onlyBy))
}

function invalid(name: string, text: string, what: string): LockstepError {
  return new LockstepError(
    'OPTION_INVALID',
    `option "--${name}" is ${JSON.stringify(text)}; ${what} would do`,
  )
}
