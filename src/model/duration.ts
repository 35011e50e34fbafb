import { LockstepError } from './errors.ts'

/** Milliseconds, or a number with a unit: `'250ms'`, `'1.5s'`, `'10m'`, `'1h'`, `'7d'`. */
export type Duration = number | string

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const pattern = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/

/** The longest delay that Node's timers take, and more than any duration here needs. */
export const longestMs = 2 ** 31 - 1

/** Milliseconds of a duration; throws `OPTION_INVALID` that names the option. */
export function durationMs(option: string, value: Duration): number {
  const ms = typeof value === 'number' ? value : parse(value)
  if (!Number.isFinite(ms) || ms < 0 || ms > longestMs) {
    throw new LockstepError(
      'OPTION_INVALID',
      `option "${option}" is ${describe(value)}; a duration of 0 to 24 days would do, as milliseconds or like '250ms', '10s', '5m', '1h'`,
    )
  }
  return ms
}

function parse(value: unknown): number {
  const match = typeof value === 'string' ? pattern.exec(value) : null
  if (!match) return Number.NaN
  return Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]
}

/** A URL, `user:password@host`, and what libpq takes: `password=…`. */
const secretPattern = /:\/\/|:[^@]*@|passw/i

/** A value as an error message shows it: short, and never an object's content nor what may be a password. */
export function describe(value: unknown): string {
  if (typeof value === 'string') {
    if (secretPattern.test(value)) return 'a text that may hold a password'
    return JSON.stringify(value.slice(0, 60))
  }
  if (typeof value === 'bigint') return `${value.toString().slice(0, 60)}n`
  if (typeof value === 'function') return 'a function'
  if (value === null || typeof value !== 'object') return String(value).slice(0, 60)
  return Array.isArray(value) ? 'an array' : 'an object'
}
