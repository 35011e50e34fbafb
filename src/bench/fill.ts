/**
 * A fenced fill against a SET of the same payload. A `get` that misses is answered before its fill,
 * so that no caller ever waits for one: measured is L2 itself, as a started cache uses it.
 */
import { assemble } from '../lockstep.ts'
import { defaultCodec } from '../model/codec.ts'
import type { Fill, Grant, L2 } from '../model/l2-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { takeSnapshot } from '../postgres/snapshot.ts'
import { type Contest, decide, type Effort, inLanes, NotMeasured } from './contest.ts'
import { cityOf, idsInTurn, type Size } from './data.ts'
import { bareKey, cityEntity, valueKey } from './places.ts'
import type { Row } from './row.ts'
import type { RowName } from './row-plans.ts'
import { type Redis, type Stage, timing } from './stage.ts'

const ttlMs = 3_600_000
const leaseMs = 60_000

interface FillRow {
  readonly size: Size
  readonly concurrency: number
  readonly perBlock: number
  /** Those of one turn go in one call. */
  readonly together: boolean
}

export const fillRows = {
  'fill.c1': { size: 200, concurrency: 1, perBlock: 128, together: false },
  'fill.c32': { size: 200, concurrency: 32, perBlock: 384, together: true },
  'fill.c32-apart': { size: 200, concurrency: 32, perBlock: 384, together: false },
  'fill.c1-2kb': { size: 2_048, concurrency: 1, perBlock: 128, together: false },
} as const satisfies Partial<Record<RowName, FillRow>>

export async function measureFill(
  name: keyof typeof fillRows,
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<Row> {
  const { redis, place, pool } = stage
  const row: FillRow = fillRows[name]
  if (!redis) throw new NotMeasured('there is no Redis')
  const entity = cityEntity(`filled-${row.size}`, row.size)
  let found: L2 | undefined
  const options = { namespace: place.namespace, postgres: pool.knex, redis, timing }
  const cache = await assemble({ ...options, entities: { city: entity } }, (parts) => {
    found = parts.l2
    return parts
  })
  const l2 = found as unknown as L2
  try {
    const connection = await pool.connect()
    const snapshot = await takeSnapshot(connection).finally(() => connection.end())
    if (!snapshot) throw new NotMeasured('the database has begun a new incarnation')
    return await decide(name, fills({ l2, redis, snapshot, stage, row, ...effort }), effort)
  } finally {
    await cache.close()
  }
}

interface FillSides {
  readonly l2: L2
  readonly redis: Redis
  readonly snapshot: Snapshot
  readonly stage: Stage
  readonly row: FillRow
  readonly scale: number
}

function fills({ l2, redis, snapshot, stage, row, scale }: FillSides): Contest {
  const { size, concurrency, perBlock, together } = row
  const { namespace } = stage.place
  const name = `filled-${size}` as const
  const entity = cityEntity(name, size)
  const batches = Math.max(1, Math.round((perBlock * scale) / concurrency))
  const operations = batches * concurrency
  const next = idsInTurn()
  let ready: readonly Fill[] = []
  let refused = 0
  const fill = async (some: readonly Fill[]): Promise<void> => {
    for (const answer of await l2.fill(entity, some)) if (answer !== 'filled') refused++
  }
  return {
    operations,
    prepare: async () => {
      const ids = Array.from({ length: operations }, next)
      await redis.unlink(...ids.map((id) => valueKey(namespace, name, id)))
      await redis.unlink(...ids.map((id) => bareKey(namespace, size, id)))
      const wanted = { incarnation: snapshot.incarnation, leaseMs, insist: false }
      const grants = await l2.acquire(entity, ids.map(String), wanted)
      refused = grants.filter(({ kind }) => kind !== 'lease').length
      ready = grants.map((grant, index) => fillOf(grant, snapshot, ids[index] as number, size))
    },
    ours: together
      ? async () => {
          for (let start = 0; start < operations; start += concurrency) {
            await fill(ready.slice(start, start + concurrency))
          }
        }
      : () => inLanes(concurrency, operations, (index) => fill([ready[index] as Fill])),
    bare: () =>
      inLanes(concurrency, operations, (index) => {
        const { lease, payload } = ready[index] as Fill
        const key = bareKey(namespace, size, Number(lease.id))
        return redis.set(key, payload as Buffer, 'PX', ttlMs)
      }),
    spoiled: () => (refused > 0 ? `${refused} of ${operations} fills were refused` : undefined),
  }
}

function fillOf(grant: Grant, snapshot: Snapshot, id: number, size: Size): Fill {
  const { nonce, tombstones } = grant as Grant & { kind: 'lease' }
  return {
    lease: { id: String(id), nonce, tombstones },
    snapshot,
    payload: defaultCodec.encode(cityOf(id, size)),
    ageMs: 0,
    ttlMs,
    graceMs: 60_000,
    over: [],
  }
}
