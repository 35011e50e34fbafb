/** Short forms for tests of the L2 port: snapshots, writes, fills, and what a lease is asked for with. */
import { expect } from 'vitest'
import { defineEntity, type Entity } from '../../src/model/entity.ts'
import type { Fill, Grant, L2, Lease, NodeChange, Nonce } from '../../src/model/l2-port.ts'
import {
  type Incarnation,
  parseIncarnation,
  parseSnapshot,
  parseXid,
  type Snapshot,
  type WriteId,
} from '../../src/model/snapshot.ts'

export const present: Incarnation = parseIncarnation('00c0ffee00c0ffee')
/** Another life of the database. */
export const former: Incarnation = parseIncarnation('f0f0f0f0f0f0f0f0')

export function thing(version = 1, graceMs = 60_000): Entity<string, string, object> {
  return defineEntity('thing', {
    load: async () => [],
    id: (_row: object) => '',
    version,
    grace: graceMs,
  })
}

/** `xmin:xmax:xip`, as PostgreSQL prints it; `own` as a write-through has it. */
export function snapshot(text: string, incarnation = present, own?: number): Snapshot {
  const parsed = parseSnapshot(text, incarnation)
  return own === undefined ? parsed : { ...parsed, own: parseXid(String(own)) }
}

/** A snapshot that sees all before `xid`. */
export function upTo(xid: number, incarnation = present): Snapshot {
  return snapshot(`${xid}:${xid}:`, incarnation)
}

export function write(xid: number, incarnation = present): WriteId {
  return { incarnation, xid: parseXid(String(xid)) }
}

export function fillOf(lease: Lease, under: Snapshot, change: Partial<Fill> = {}): Fill {
  return {
    lease,
    snapshot: under,
    payload: Buffer.from(`value of ${lease.id}`),
    ageMs: 0,
    ttlMs: 60_000,
    graceMs: 60_000,
    over: [],
    ...change,
  }
}

export interface Asked {
  readonly entity?: Entity<string, string, object>
  readonly incarnation?: Incarnation
  readonly leaseMs?: number
  readonly insist?: boolean
}

export async function acquire(l2: L2, id: string, asked: Asked = {}): Promise<Grant> {
  const { entity = thing(), incarnation = present, leaseMs = 9_000, insist = false } = asked
  const grants = await l2.acquire(entity, [id], { incarnation, leaseMs, insist })
  expect(grants).toHaveLength(1)
  return grants[0] as Grant
}

export async function lease(l2: L2, id: string, asked: Asked = {}): Promise<Lease> {
  const grant = await acquire(l2, id, asked)
  if (grant.kind !== 'lease') throw new Error(`a lease was expected, not ${grant.kind}`)
  return grant
}

export async function fill(l2: L2, one: Fill, entity = thing()): Promise<string> {
  const answers = await l2.fill(entity, [one])
  expect(answers).toHaveLength(1)
  return answers[0] as string
}

/** Leaves a value there that was read under `under`. */
export async function put(
  l2: L2,
  id: string,
  under: Snapshot,
  change: Partial<Fill> = {},
  entity = thing(),
): Promise<void> {
  const { incarnation } = under
  const leased = await lease(l2, id, { entity, incarnation, insist: true })
  expect(await fill(l2, fillOf(leased, under, change), entity)).toBe('filled')
}

/** One invalidation; the nonces by the order of the ids. */
export async function invalidate(
  l2: L2,
  told: WriteId,
  ids: readonly string[],
  versions: readonly number[] = [1],
): Promise<readonly Nonce[]> {
  const dropped = await l2.invalidate(
    told,
    ids.map((id) => ({ entity: 'thing', id, versions })),
  )
  if (dropped.kind !== 'dropped') throw dropped.cause
  return dropped.nonces
}

/** What lies there: its text, `null` for "does not exist", or the kind of the answer. */
export async function found(l2: L2, id: string, entity = thing()): Promise<string | null> {
  const [lookup] = await l2.lookup(entity, [id])
  if (lookup?.kind !== 'fresh' && lookup?.kind !== 'stale') return lookup?.kind ?? 'no answer'
  return lookup.stored.payload === undefined ? null : lookup.stored.payload.toString()
}

/** The barrier beside the value there; the kind of the answer where there is none. */
export async function beside(
  l2: L2,
  id: string,
  entity = thing(),
): Promise<Snapshot | undefined | string> {
  const [lookup] = await l2.lookup(entity, [id])
  if (lookup?.kind === 'fresh' || lookup?.kind === 'stale') return lookup.stored.barrier
  return lookup?.kind === 'miss' ? lookup.why : lookup?.kind
}

/** The barrier is written to every node. */
export async function proves(l2: L2, barrier: Snapshot): Promise<void> {
  const answers = await l2.barrier(barrier)
  expect(answers.length).toBeGreaterThan(0)
  expect(new Set(answers.map(({ kind }) => kind))).toEqual(new Set(['written']))
}

/** Every node has changed; how. */
export async function changes(l2: L2, barrier: Snapshot): Promise<readonly NodeChange[]> {
  const answers = await l2.barrier(barrier)
  return answers.map((answer) => {
    if (answer.kind !== 'changed') throw new Error(`a change was expected, not ${answer.kind}`)
    return answer.change
  })
}

/** Restores what has changed; the kinds of the answers. */
export async function restore(
  l2: L2,
  changed: readonly NodeChange[],
  barrier: Snapshot,
  generation?: Snapshot,
): Promise<readonly string[]> {
  const answers = await Promise.all(
    changed.map((change) => l2.restore(change, barrier, generation)),
  )
  return [...new Set(answers.map(({ kind }) => kind))]
}
