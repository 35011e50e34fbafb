/**
 * Lists of hot keys on the channel of the fast plane: `{"h":1,"n":instance,"k":[[entity,id,reads a
 * second,share of L1],…]}`. What is malformed, too long or of a version to come is no list.
 */
import type { HotKey, HotList } from '../model/bus-ports.ts'
import { isEntityName } from '../model/entity.ts'
import { isIdText } from '../model/id.ts'

/** Longer ones lose their coolest keys before they are sent, and are not read when they come. */
export const longestHotList = 32 * 1024
/** Of one list, over all entities. */
export const mostListedKeys = 256
const longestInstanceName = 64
/** Nothing is read more often; a sum of such rates is still a number that can be printed. */
const mostReadsPerSecond = 1e9

const head = '{"h":'

export function isHotList(message: string): boolean {
  return message.startsWith(head)
}

export function formatHotList({ instance, keys }: HotList): string {
  const hottest = keys
    .toSorted((one, other) => other.readsPerSecond - one.readsPerSecond)
    .slice(0, mostListedKeys)
  let message = messageOf(instance, hottest)
  while (message.length > longestHotList) {
    hottest.length = Math.floor(hottest.length / 2)
    message = messageOf(instance, hottest)
  }
  return message
}

function messageOf(instance: string, keys: readonly HotKey[]): string {
  const rows = keys.map(({ entity, id, readsPerSecond, l1Share }) => [
    entity,
    id,
    Math.round(readsPerSecond),
    Math.round(l1Share * 100) / 100,
  ])
  return JSON.stringify({ h: 1, n: instance, k: rows })
}

/** `undefined` for anything else; of a list, what is no key is left out. */
export function parseHotList(message: string): HotList | undefined {
  if (message.length > longestHotList) return undefined
  try {
    const { h, n, k } = JSON.parse(message) as { h: unknown; n: unknown; k: unknown }
    if (h !== 1 || !Array.isArray(k)) return undefined
    if (typeof n !== 'string' || n.length === 0 || n.length > longestInstanceName) return undefined
    return { instance: n, keys: k.slice(0, mostListedKeys).flatMap(keyOf) }
  } catch {
    return undefined
  }
}

function keyOf(row: unknown): HotKey | readonly [] {
  if (!Array.isArray(row)) return []
  const [entity, id, readsPerSecond, l1Share] = row as readonly unknown[]
  if (!isEntityName(entity) || typeof id !== 'string' || !isIdText(id)) return []
  if (!isWithin(readsPerSecond, mostReadsPerSecond) || !isWithin(l1Share, 1)) return []
  return { entity, id, readsPerSecond, l1Share }
}

function isWithin(value: unknown, most: number): value is number {
  return typeof value === 'number' && value >= 0 && value <= most
}
