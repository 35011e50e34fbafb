import type { RedisConnections } from '../redis/connection.ts'

const keysALook = 1_000

/**
 * Drops all keys of a namespace, and of those that begin with it and a colon: to a cache the same as if
 * Redis had been flushed, and to others nothing.
 */
export async function dropKeys(
  redis: RedisConnections['commands'],
  namespace: string,
): Promise<void> {
  let cursor = '0'
  do {
    // No name of a namespace has a character that is more than itself to MATCH.
    const [next, keys] = (await redis.call(
      'scan',
      cursor,
      'match',
      `${namespace}:*`,
      'count',
      String(keysALook),
    )) as [string, string[]]
    if (keys.length > 0) await redis.unlink(...keys)
    cursor = next
  } while (cursor !== '0')
}
