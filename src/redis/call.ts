/** How a call reaches Redis, and what came of it. */
import type { Cluster, Redis } from 'ioredis'
import { runScript, type Script } from './scripts.ts'

export type RedisClient = Redis | Cluster

/** Its keys lie in one slot. */
export interface Call {
  /** Absent: an MGET. */
  readonly script?: Script
  readonly keys: readonly string[]
  readonly args?: readonly (string | Buffer)[]
}

export type Outcome =
  | { readonly isAnswered: true; readonly answer: unknown }
  | { readonly isAnswered: false; readonly cause: unknown }

/**
 * What came of each call; several are calls to one node of a cluster, and go out as one pipeline.
 * Rejects when none was answered.
 */
export async function callAll(
  redis: RedisClient,
  calls: readonly Call[],
): Promise<readonly Outcome[]> {
  if (calls.length === 1) return [answered(await send(redis, calls[0] as Call))]
  const outcomes = await Promise.all(
    (await pipeline(redis, calls)).map((outcome, index) =>
      !outcome.isAnswered && isForAnother(outcome.cause)
        ? send(redis, calls[index] as Call).then(answered, failed)
        : outcome,
    ),
  )
  const first = outcomes[0]
  if (first && !first.isAnswered && outcomes.every(({ isAnswered }) => !isAnswered))
    throw first.cause
  return outcomes
}

/** Whether the node of a key answers at all. */
export async function askNode(redis: RedisClient, key: string): Promise<void> {
  await mget(redis, [key])
}

function send(redis: RedisClient, { script, keys, args = [] }: Call): Promise<unknown> {
  if (script) return runScript(redis, script, keys, args)
  return mget(redis, keys)
}

function mget(redis: RedisClient, keys: readonly string[]): Promise<readonly (Buffer | null)[]> {
  // The types of the two clients differ in what a pipeline returns, and in nothing here.
  return (redis as Redis).mgetBuffer(keys as string[])
}

async function pipeline(redis: RedisClient, calls: readonly Call[]): Promise<readonly Outcome[]> {
  const batch = redis.pipeline()
  for (const { script, keys, args = [] } of calls) {
    if (script) batch.callBuffer('EVALSHA', script.sha, keys.length, ...keys, ...args)
    else batch.mgetBuffer([...keys])
  }
  const results = await batch.exec().catch((error: unknown) => failed(error))
  return calls.map((_, index) => {
    if (!Array.isArray(results)) return results ?? failed(new Error('no answer'))
    const [error, answer] = results[index] ?? [new Error('no answer')]
    return error ? failed(error) : answered(answer)
  })
}

/**
 * Says that it was not done here: the slot has moved or is moving, or the node doesn't know the
 * script. ioredis redirects a pipeline as a whole or not at all; alone, a command is sent where it
 * belongs. (Each act may be done twice.)
 */
function isForAnother(cause: unknown): boolean {
  return (
    cause instanceof Error &&
    /^(MOVED|ASK|TRYAGAIN|NOSCRIPT) |same slots allocation group/.test(cause.message)
  )
}

function answered(answer: unknown): Outcome {
  return { isAnswered: true, answer }
}

function failed(cause: unknown): Outcome {
  return { isAnswered: false, cause }
}
