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

/** ioredis gives up following redirections: what the last one was counts, a reply or a connection that broke. */
const tooMany = /^Too many Cluster redirections\. Last error: /
const replyOf = /^ReplyError: /

/** Anything that is no reply is a connection that broke, or a deadline. */
function meaningOf(error: unknown): Meaning {
  if (!(error instanceof Error)) return gone
  const last = error.message.replace(tooMany, '')
  const isReply = error.name === 'ReplyError' || replyOf.test(last)
  const [word = ''] = last.replace(replyOf, '').split(/[\s:]/, 1)
  if (!isReply && !tooMany.test(error.message)) return gone
  if (Object.hasOwn(replies, word)) return replies[word] as Meaning
  return isReply ? refused : gone
}

/** Is this error an answer of a server that is well? Loading, read-only or failing over, it is not. */
export function isRedisAnswer(error: unknown): boolean {
  return meaningOf(error).isWell
}

export function isRetryableRedis(error: unknown): boolean {
  return meaningOf(error).isRetryable
}
