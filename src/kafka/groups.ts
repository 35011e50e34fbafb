/**
 * The consumer groups of this room. KafkaJS reads only as a member of a group: each reading has one
 * of its own, which holds nothing and is removed when the reading ends. Those of instances that were
 * killed are removed by the next one that starts, and by brokers after a while.
 */
import { randomBytes } from 'node:crypto'
import type { Admin } from 'kafkajs'

/** In one request; the rest is left to the next start. */
const mostAtOnce = 100

const prefixOf = (namespace: string): string => `lockstep.${namespace}.`

export function newGroup(namespace: string): string {
  return prefixOf(namespace) + randomBytes(8).toString('hex')
}

/** Shared by all instances that apply events: what it has committed outlives them. */
export function eventsGroup(namespace: string): string {
  return `${prefixOf(namespace)}events`
}

/** Removes those without members, of instances that are gone. */
export async function removeLeftovers(admin: Admin, namespace: string): Promise<void> {
  const prefix = prefixOf(namespace)
  const { groups } = await admin.listGroups()
  const own = groups
    .map(({ groupId }) => groupId)
    .filter((id) => id.startsWith(prefix) && /^[0-9a-f]{16}$/.test(id.slice(prefix.length)))
    .slice(0, mostAtOnce)
  if (own.length === 0) return
  const { groups: described } = await admin.describeGroups(own)
  const empty = described.filter(({ state }) => state === 'Empty').map(({ groupId }) => groupId)
  if (empty.length > 0) await removeGroups(admin, empty)
}

export async function removeGroups(admin: Admin, groups: readonly string[]): Promise<void> {
  await admin.deleteGroups([...groups])
}
