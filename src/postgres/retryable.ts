/** What an error says about doing the same again; knows no client, so that a cache under test asks it too. */
import { LockstepError, messageOf } from '../model/errors.ts'

const retryableStates = /^(08|40001|40P01|53|55P03|57P)/
const brokenConnection =
  /Connection terminated|Connection ended|connection error|not queryable|ECONN|EPIPE|ETIMEDOUT|Unable to acquire a connection|timeout exceeded when trying to connect/i

/** May the same work succeed when it is done again? */
export function isRetryable(error: unknown): boolean {
  const state = sqlState(error)
  return state === undefined ? isBroken(error) : retryableStates.test(state)
}

/** The same of what a load or a write came to, which may be an error of the library's own. */
export function isRetryableFailure(error: unknown): boolean {
  if (!(error instanceof LockstepError)) return isRetryable(error)
  return error.code === 'WRITE_ABORTED' || (error.cause !== undefined && isRetryable(error.cause))
}

/** Did the connection break, so that nobody knows how far a statement came? */
export function isBroken(error: unknown): boolean {
  const state = sqlState(error)
  if (state !== undefined) return /^(08|57P)/.test(state)
  const code = (error as { code?: unknown } | undefined)?.code
  return brokenConnection.test(`${typeof code === 'string' ? code : ''} ${messageOf(error)}`)
}

/** The SQLSTATE of an answer of the server. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}
