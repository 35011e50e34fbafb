/** What Redis says no to, and what only an ill Redis says. */
import { LockstepError, messageOf } from '../model/errors.ts'
import type { RedisClient } from './call.ts'
import { readScripts, runScript } from './scripts.ts'

const oldestMajor = 7
const refusals =
  /WRONGPASS|NOAUTH|NOPERM|No permissions|invalid password|invalid username|DENIED|without any password|DB index|cluster support disabled/i
/** Of TLS, what a second try won't change. */
const untrusted = new Set([
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** Where ioredis and its parser keep what was sent and what came. */
const telltale = ['command', 'args', 'buffer', 'lastNodeError', 'previousErrors']

/** Is the server new enough, and of the kind that was asked for? `info`: its section `server`. */
export function checkInfo(info: string, isCluster: boolean): void {
  const version = /redis_version:(\d+)\.(\S+)/.exec(info)
  if (version && Number(version[1]) < oldestMajor) {
    throw refused(`version ${version[1]}.${version[2]} has no script flags; 7.0 or newer would do`)
  }
  if (!isCluster && /redis_mode:cluster/.test(info)) {
    throw refused(
      'this server is a node of a cluster; { cluster: [{ host, port }] } or an ioredis Cluster would do',
    )
  }
}

/** Does once what all scripts do, on a key of the namespace that nobody uses. */
export async function checkRights(redis: RedisClient, key: string, bus: string): Promise<void> {
  await (redis as { mget(key: string): Promise<unknown> }).mget(key)
  try {
    await runScript(redis, readScripts().probe, [key], [bus])
  } catch (error) {
    // Inside a script Redis words a missing right in other ways than NOPERM, and by version.
    if (/user executing the script|ACL failure in script/i.test(messageOf(error))) {
      throw refused(`NOPERM in a script: ${messageOf(error)}`, error)
    }
    throw error
  }
}

/** The error to be thrown at the start; `undefined` for one that may go away by itself. */
export function refusalOf(error: unknown): LockstepError | undefined {
  if (error instanceof LockstepError) return error
  // ioredis hides what the last node of a cluster said behind the news that none would do.
  const { lastNodeError, code } = (error ?? {}) as { lastNodeError?: unknown; code?: unknown }
  if (lastNodeError) return refusalOf(lastNodeError)
  const message = messageOf(error)
  if (!refusals.test(message) && !untrusted.has(String(code))) return undefined
  return refused(message, error)
}

function refused(message: string, cause?: unknown): LockstepError {
  return new LockstepError(
    'REDIS_REFUSED',
    `Redis: ${withoutArguments(message)}`,
    cause === undefined ? undefined : { cause: withoutCommand(cause) },
  )
}

/**
 * An error of ioredis as it may be shown: its name and message. It brings the command along,
 * and of an AUTH the password, of a fill the value.
 */
export function withoutCommand(error: unknown): unknown {
  if (!(error instanceof Error) || !telltale.some((property) => property in error)) return error
  const { lastNodeError } = error as { lastNodeError?: unknown }
  const cause = lastNodeError === undefined ? undefined : { cause: withoutCommand(lastNodeError) }
  return Object.assign(new Error(withoutArguments(error.message), cause), { name: error.name })
}

/** A server that doesn't know a command repeats what it was given. */
function withoutArguments(message: string): string {
  return message.replace(/,? with args beginning with:.*/is, '')
}
