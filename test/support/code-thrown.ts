import { LockstepError } from '../../src/model/errors.ts'

/** The code of the error that the call throws, or what else it throws; `undefined`: it throws nothing. */
export function codeThrown(call: () => unknown): unknown {
  try {
    call()
    return undefined
  } catch (error) {
    return error instanceof LockstepError ? error.code : error
  }
}
