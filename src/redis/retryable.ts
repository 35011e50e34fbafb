/** What an error of Redis, or of the way to it, says: is the server well, and may the same call succeed again? */

interface Meaning {
  readonly isWell: boolean
  readonly isRetryable: boolean
}

const gone: Meaning = { isWell: false, isRetryable: true }
const busy: Meaning = { isWell: true, isRetryable: true }
const refused: Meaning = { isWell: true, isRetryable: false }

/** By the first word of a reply; every other reply is a refusal. */
const replies: Readonly<Record<string, Meaning>> = {
  LOADING: gone,
  MASTERDOWN: gone,
  CLUSTERDOWN: gone,
  UNBLOCKED: gone,
  // The table of slots, or of who is primary, is out of date on our side, or nobody is.
  READONLY: gone,
  MOVED: gone,
  ASK: gone,
  // A slot that is on its way from one node to another; both are well.
  TRYAGAIN: busy,
  // A script of somebody's, or too few replicas just now.
  BUSY: busy,
  NOREPLICAS: busy,
}

/** ioredis gives up following redirections: what the last one was counts. */
const tooMany = /^Too many Cluster redirections\. Last error: (?:ReplyError: )?/

/** Anything that is no reply is a connection that broke, or a deadline. */
function meaningOf(error: unknown): Meaning {
  if (!(error instanceof Error)) return gone
  const isReply = error.name === 'ReplyError' || tooMany.test(error.message)
  if (!isReply) return gone
  const [word = ''] = error.message.replace(tooMany, '').split(/[\s:]/, 1)
  return Object.hasOwn(replies, word) ? (replies[word] as Meaning) : refused
}

/** Is this error an answer of a server that is well? Loading, read-only or failing over, it is not. */
export function isRedisAnswer(error: unknown): boolean {
  return meaningOf(error).isWell
}

export function isRetryableRedis(error: unknown): boolean {
  return meaningOf(error).isRetryable
}
