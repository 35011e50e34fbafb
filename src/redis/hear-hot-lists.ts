import type { HotList } from '../model/bus-ports.ts'
import { messageOf } from '../model/errors.ts'
import { silent } from '../model/log.ts'
import { connectRedis } from './connection.ts'
import { isHotList, parseHotList } from './hot-list.ts'
import { keySpace } from './keys.ts'

/**
 * Hears the hot keys of a namespace from outside of a cache; the returned function ends it. Rejects
 * with `OPTION_INVALID`, `REDIS_REFUSED`, or when Redis doesn't answer in time.
 */
export async function hearHotLists(
  url: string,
  namespace: string,
  deadlineMs: number,
  heard: (list: HotList) => void,
): Promise<() => void> {
  const { bus } = keySpace(namespace)
  let cause: unknown
  const warn = (details: { readonly err?: unknown }): void => {
    cause = details.err
  }
  const { subscriber, close } = await connectRedis(url, bus, deadlineMs, { ...silent, warn })
  if (cause !== undefined) {
    close()
    throw new Error(`Redis cannot be reached: ${messageOf(cause)}`, { cause })
  }
  subscriber.on('message', (channel: string, message: string) => {
    const list = channel === bus && isHotList(message) ? parseHotList(message) : undefined
    if (list) heard(list)
  })
  return close
}
