import { describe } from './duration.ts'
import { LockstepError } from './errors.ts'

export function wrong(option: string, value: unknown, wouldDo: string): LockstepError {
  return new LockstepError('OPTION_INVALID', `option "${option}" is ${describe(value)}; ${wouldDo}`)
}

/** An object of options: no instance of anything, no array. */
export function isPlainObject(value: unknown): value is object {
  if (value === null || typeof value !== 'object') return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
