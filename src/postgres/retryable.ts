/** What an error says about doing the same again, and about the server; knows no client, so that a cache under test asks it too. */
import { LockstepError, messageOf } from '../model/errors.ts'

/** Classes of SQLSTATEs, and single ones (PostgreSQL manual, appendix A). */
const retryableStates = /^(08|40001|40P01|53|55P03|57P)/
/** No connection, no resources, going down or coming up, an I/O error: not contention, nor what is refused. */
const illStates = /^(08|53|57P|58)/
const brokenConnection =
  /Connection terminated|Connection ended|connection error|not queryable|ECONN|EPIPE|ETIMEDOUT|Unable to acquire a connection|Timeout acquiring a connection|^ timeout expired$|timeout exceeded when trying to connect/i

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

/** Is this an answer of a server that is well? What a loader throws of its own is one too. */
export function isSourceAnswer(error: unknown): boolean {
  if (error instanceof LockstepError) {
    return error.code !== 'SOURCE_TIMEOUT' && (error.cause === undefined || isWell(error.cause))
  }
  return isWell(error)
}

function isWell(error: unknown): boolean {
  const state = sqlState(error)
  return state === undefined ? !isBroken(error) : !illStates.test(state)
}

/** Did the connection break, so that nobody knows how far a statement came? */
export function isBroken(error: unknown): boolean {
  const state = sqlState(error)
  if (state !== undefined) return /^(08|57P)/.test(state)
  const code = (error as { code?: unknown } | undefined)?.code
  return brokenConnection.test(`${typeof code === 'string' ? code : ''} ${messageOf(error)}`)
}

/** The SQLSTATE of an answer of the server: no EPIPE, which is as long. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? code : undefined
}
