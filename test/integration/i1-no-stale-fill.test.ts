/** I1: no tier stores a value that misses a write it was told of, whatever happens to the fence meanwhile. */
import { expect, test } from 'vitest'
import type { L2 } from '../../src/model/l2-port.ts'
import type { Incarnation, Snapshot } from '../../src/model/snapshot.ts'
import type { Parts } from '../../src/running-cache.ts'
import { connect, migratedDatabase } from '../support/database.ts'
import { all, withL2, withOutbox, withoutDoubts, withTransactions } from '../support/parts.ts'
import { startPostgres, startRedis } from '../support/servers.ts'
import {
  gate,
  type OpenOptions,
  openWorld,
  until,
  untilMarked,
  untilProven,
  type World,
} from '../support/world.ts'

const id = 1
/** What a fill leaves is what is looked at: nobody tells Redis of the write once more. */
const timing = { delayedDelete: '1m' } as const

/**
 * A load has read the old row and is held; another process writes the row; the load goes on.
 * What a third process reads then, and what the loading process has.
 */
async function slowLoadAgainstWrite(
  world: World,
  slow: OpenOptions,
  between: (world: World) => Promise<unknown>,
  others: OpenOptions = {},
): Promise<{ truth: number | undefined; third: number | undefined; loading: number | undefined }> {
  const held = gate()
  const writing = await world.open({ ...others, timing })
  const loading = await world.open({ ...slow, timing, afterRead: () => held.pass() })
  await untilProven(writing)
  const first = loading.item.get(id)
  await held.held
  await world.write(writing, id)
  await untilMarked(world)
  await between(world)
  held.open()
  await first
  await until('the load has landed', () => loading.stats().item.misses === 1)
  await loading.close()
  await untilProven(writing)
  const again = await world.open({ ...others, timing })
  return {
    truth: await world.truth(id),
    third: (await writing.item.get(id, { consistency: 'strong' }))?.version,
    loading: (await again.item.get(id))?.version,
  }
}

const nothing = async (): Promise<void> => {}

test('a load that began before a write fills no tier after it', async () => {
  const { truth, third, loading } = await slowLoadAgainstWrite(await openWorld(), {}, nothing)
  expect({ third, loading }).toEqual({ third: truth, loading: truth })
})

test('a load that began before a write does not enter the L1 of its own process', async () => {
  const world = await openWorld()
  const held = gate()
  const loading = await world.open({ afterRead: () => held.pass() })
  const writing = await world.open()
  const first = loading.item.get(id)
  await held.held
  await world.write(writing, id)
  held.open()
  await first
  await until('the fill was answered', () => loading.stats().item.refusedFills === 1)
  expect(loading.item.peek(id)).toBeUndefined()
  expect((await loading.item.get(id))?.version).toBe(1)
})

const losses: readonly [string, (world: World) => Promise<unknown>][] = [
  ['the value is evicted', (world) => world.redis.del(world.valueKey(id))],
  ['the fence is evicted', (world) => world.redis.del(world.fenceKey(id))],
  [
    'value and fence are evicted',
    (world) => world.redis.del(world.valueKey(id), world.fenceKey(id)),
  ],
]

for (const [what, lose] of losses) {
  test(`a load that began before a write fills no tier when ${what} in between`, async () => {
    const { truth, third, loading } = await slowLoadAgainstWrite(await openWorld(), {}, lose)
    expect({ third, loading }).toEqual({ third: truth, loading: truth })
  })
}

test('a load that began before a write fills no tier when Redis is flushed in between', async () => {
  const redis = await startRedis()
  const world = await openWorld({ redisUrl: redis.url })
  const { truth, third, loading } = await slowLoadAgainstWrite(world, {}, () =>
    world.redis.flushall(),
  )
  expect({ third, loading }).toEqual({ third: truth, loading: truth })
})

test('a load from a REPEATABLE READ snapshot of before the write fills no tier', async () => {
  const world = await openWorld()
  const slow: OpenOptions = { entity: { isolation: 'repeatable read' } }
  const { truth, third, loading } = await slowLoadAgainstWrite(world, slow, nothing)
  expect({ third, loading }).toEqual({ third: truth, loading: truth })
})

test('a load that is older than the retention of tombstones fills no tier', async () => {
  const world = await openWorld()
  const timing = {
    writeDeadline: '40ms',
    redisDeadline: '60ms',
    tombstoneRetention: '1500ms',
  } as const
  const held = gate()
  const loading = await world.open({ timing, afterRead: () => held.pass() })
  const writing = await world.open({ timing: { ...timing, writeDeadline: '100ms' } })
  const first = loading.item.get(id)
  await held.held
  await world.write(writing, id)
  await until(
    'the fence has expired',
    async () => (await world.redis.exists(world.fenceKey(id))) === 0,
  )
  held.open()
  await first
  expect((await writing.item.get(id, { consistency: 'strong' }))?.version).toBe(1)
  expect((await loading.item.get(id))?.version).toBe(1)
})

test('a write-through that comes late does not replace what a later write left', async () => {
  const world = await openWorld()
  const late = gate()
  const slow = await world.open({
    entity: { writeThrough: true },
    replace: withL2((l2) => heldSecondDelete(l2, late)),
  })
  const fast = await world.open({ entity: { writeThrough: true } })
  const first = world.write(slow, id)
  await late.held
  await world.write(fast, id)
  expect((await fast.item.get(id, { consistency: 'strong' }))?.version).toBe(2)
  late.open()
  await first
  expect((await fast.item.get(id, { consistency: 'strong' }))?.version).toBe(2)
  expect((await slow.item.get(id, { consistency: 'strong' }))?.version).toBe(2)
})

test('a write-through is what the next reader finds in Redis', async () => {
  const world = await openWorld()
  const writing = await world.open({ entity: { writeThrough: true } })
  const reading = await world.open()
  await untilProven(writing)
  await world.write(writing, id)
  const found = await reading.item.getEntry(id)
  expect({ tier: found.tier, version: found.value?.version }).toEqual({ tier: 'l2', version: 1 })
})

test('a write of another schema version drops the value of this one', async () => {
  // Before a new version is filled, every transaction of the server that is older has to end.
  const postgres = await startPostgres()
  const world = await openWorld({ databaseUrl: await migratedDatabase(postgres) })
  const old = await world.open()
  const next = await world.open({ entity: { version: 2 } })
  await old.item.get(id)
  await next.item.get(id)
  await until('the new version may be filled', async () => {
    await next.item.get(id, { consistency: 'strong' })
    return (await world.redis.exists(world.valueKey(id, 2))) === 1
  })
  await world.write(old, id)
  expect((await next.item.get(id, { consistency: 'strong' }))?.version).toBe(1)
})

test('after a crash that hands xids out again, an old value hides no new write', async () => {
  const { afterCrash, truth } = await crashUnderOldValue((parts) => parts)
  expect(afterCrash).toBe(truth)
}, 60_000)

// ---- what must be caught

test('the scenario notices a fill without a fence', async () => {
  const world = await openWorld()
  const bare: OpenOptions = { replace: withL2((l2) => unfencedFill(l2, world)) }
  const others: OpenOptions = { replace: withoutDoubts }
  const { truth, third } = await slowLoadAgainstWrite(world, bare, nothing, others)
  expect(third).not.toBe(truth)
})

test('the scenario notices values that carry no incarnation', async () => {
  const { afterCrash, truth } = await crashUnderOldValue(withoutIncarnations)
  expect(afterCrash).not.toBe(truth)
}, 60_000)

/**
 * A value lies in Redis whose snapshot has seen ids that the crash of the database makes it forget;
 * then the row is written under one of them. What a strong read answers.
 */
async function crashUnderOldValue(
  replace: (parts: Parts) => Parts,
): Promise<{ afterCrash: number | undefined; truth: number | undefined }> {
  const postgres = await startPostgres({ fsync: true, config: { wal_writer_delay: '10s' } })
  const world = await openWorld({ databaseUrl: await migratedDatabase(postgres) })
  const before = await world.open({ replace, timing })
  // Ids of transactions that only aborted are not on disk until something else is.
  let last = 0
  for (let index = 0; index < 40; index++) {
    const client = await connect(world.databaseUrl)
    const { rows } = await client
      .query('begin; select pg_current_xact_id()::text as xid; rollback')
      .then((results) => (results as unknown as { rows: { xid: string }[] }[])[1] ?? { rows: [] })
    last = Number(rows[0]?.xid)
    await client.end()
  }
  await until('the value in Redis has seen those ids', async () => {
    await world.redis.del(world.valueKey(id), world.fenceKey(id))
    await before.item.get(id, { consistency: 'strong' })
    return (await xmaxInRedis(world)) > last
  })
  await postgres.kill9()
  await before.close({ timeout: 0 })
  await postgres.start()
  const after = await world.open({ replace, timing })
  const next = Number((await world.sql('select pg_current_xact_id()::text as xid'))[0]?.xid)
  expect(next, 'the crash handed no xid out again: the test shows nothing').toBeLessThan(last)
  await world.write(after, id)
  await untilProven(after)
  return {
    afterCrash: (await after.item.get(id, { consistency: 'strong' }))?.version,
    truth: await world.truth(id),
  }
}

const oneWorld = '1111111111111111' as Incarnation

/** Broken: every life of the database is taken for the same. */
const ofOneWorld = (snapshot: Snapshot): Snapshot => ({ ...snapshot, incarnation: oneWorld })
const withoutIncarnations = all(
  withOutbox((outbox) => ({
    poll: async (...args) => {
      const poll = await outbox.poll(...args)
      return { ...poll, snapshot: ofOneWorld(poll.snapshot), pruned: ofOneWorld(poll.pruned) }
    },
    progress: async (...args) => {
      const progress = await outbox.progress(...args)
      const { snapshot, repeated } = progress
      return { ...progress, snapshot: ofOneWorld(snapshot), repeated: ofOneWorld(repeated) }
    },
    claim: (destination, minAgeMs, tell, signal) =>
      outbox.claim(
        destination,
        minAgeMs,
        (claim) => tell({ ...claim, incarnation: oneWorld }),
        signal,
      ),
    page: async (...args) => {
      const page = await outbox.page(...args)
      const [snapshot, pruned] = [ofOneWorld(page.snapshot), ofOneWorld(page.pruned)]
      return { ...page, incarnation: oneWorld, snapshot, pruned }
    },
  })),
  withTransactions((transaction) => ({
    record: async (keys) => {
      const recorded = await transaction.record(keys)
      return { ...recorded, write: { ...recorded.write, incarnation: oneWorld } }
    },
  })),
)

/** Broken: takes whatever fence it finds, and tombstones with it. */
function unfencedFill(l2: L2, world: World): Partial<L2> {
  return {
    fill: async (entity, fills) => {
      await world.redis.del(...fills.map(({ lease }) => world.fenceKey(Number(lease.id))))
      const incarnation = fills[0]?.snapshot.incarnation
      if (!incarnation) return []
      const ids = fills.map(({ lease }) => lease.id)
      const grants = await l2.acquire(entity, ids, { incarnation, leaseMs: 1_000, insist: true })
      return l2.fill(
        entity,
        fills.map((fill, index) => {
          const grant = grants[index]
          return grant?.kind === 'lease' ? { ...fill, lease: grant } : fill
        }),
      )
    },
  }
}

function heldSecondDelete(l2: L2, held: { pass: () => Promise<void> }): Partial<L2> {
  let calls = 0
  return {
    invalidate: async (...args) => {
      if (++calls === 2) await held.pass()
      return l2.invalidate(...args)
    },
  }
}

/** The xmax that the value in Redis carries; 0 when there is none. */
async function xmaxInRedis(world: World): Promise<number> {
  const bytes = await world.redis.getBuffer(world.valueKey(id))
  return bytes ? bytes.readUInt32BE(14) + bytes.readUInt32BE(18) : 0
}
