/** Which loads go to a replica, under which snapshot, and what the primary is asked all the same. */
import { expect, test } from 'vitest'
import { type Snapshot, visible } from '../../../src/model/snapshot.ts'
import type { Replicas, Source } from '../../../src/model/source-port.ts'
import { parseTicket } from '../../../src/model/ticket.ts'
import { deferred } from '../../../src/resilience/deadline.ts'
import { sumOf } from '../../../src/telemetry/counters.ts'
import { watch } from '../../support/clock.ts'
import { over } from '../../support/over.ts'
import type { MemoryTx } from '../../support/ports.ts'
import { now, startProcess, timing, World } from './process.ts'

const fromReplica = (ids: readonly unknown[]) => ids.map((id) => ({ id, name: 'of the replica' }))

type Answer = (
  ids: readonly unknown[],
  signal: AbortSignal,
) => Promise<readonly unknown[] | undefined>

/** A process with a replica that answers so; what it was asked. */
async function startReplicated(answer: Answer, isReady = true) {
  const world = new World()
  world.seed([1, 2, 3], 'of the primary')
  const asked: { readonly ids: readonly unknown[]; readonly least: Snapshot }[] = []
  const replicas: Replicas = {
    isReady,
    load: (_entity, ids, least, signal) => {
      asked.push({ ids, least })
      return answer(ids, signal)
    },
  }
  const wrapSource = (source: Source<MemoryTx>): Source<MemoryTx> => ({ ...source, replicas })
  const one = await now(world, startProcess(world, { wrapSource }))
  return { world, one, asked }
}

test('a replica is asked under a snapshot that the primary gave after the read began', async () => {
  const { world, one, asked } = await startReplicated(async (ids) => fromReplica(ids))
  const xid = world.database.putUnnoticed('city', 9, { id: 9, name: 'just now' })
  expect(await now(world, one.name(1))).toBe('of the replica')
  const { incarnation } = world.database
  expect(asked.map(({ ids, least }) => [ids, visible({ incarnation, xid }, least)])).toEqual([
    [[1], true],
  ])
  expect([one.loads, one.counters.loads, one.counters.fills.filled]).toEqual([[], 1, 1])
  expect(one.region.count).toBe(1)
  await one.close()
})

test('without a replica that may be asked the load takes no snapshot of its own', async () => {
  const { world, one, asked } = await startReplicated(async () => [], false)
  const before = one.probes.newest
  expect(await now(world, one.name(1))).toBe('of the primary')
  expect([asked, one.probes.newest]).toEqual([[], before])
  await one.close()
})

test.each<[what: string, Answer]>([
  ['covers nothing', async () => undefined],
  ['fails', async () => Promise.reject(new Error('canceling statement due to conflict'))],
  ['does not answer', () => new Promise(() => {})],
])('of a replica that %s the primary is asked', async (_, answer) => {
  const { world, one, asked } = await startReplicated(answer)
  const read = one.name(1)
  read.catch(() => {})
  await world.clock.advance(timing.loadDeadlineMs + 100)
  expect(await now(world, read)).toBe('of the primary')
  expect([asked.length, one.loads]).toEqual([1, [[1]]])
  expect(sumOf(one.counters.loadFailures)).toBe(0)
  await one.close()
})

test('strong reads are loaded from the primary, and leave the others of their turn to the replica', async () => {
  const { world, one, asked } = await startReplicated(async (ids) => fromReplica(ids))
  const names = Promise.all([one.name(1), one.name(2, { consistency: 'strong' }), one.name(3)])
  expect(await now(world, names)).toEqual(['of the replica', 'of the primary', 'of the replica'])
  expect([asked.map(({ ids }) => ids), one.loads]).toEqual([[[1, 3]], [[2]]])
  await one.close()
})

test('a ticket goes to a replica that sees it; of another incarnation it is the primary’s', async () => {
  const { world, one, asked } = await startReplicated(async (ids) => fromReplica(ids))
  const { ticket } = await now(world, one.write(2, 'written'))
  expect(await now(world, one.name(1, { ticket }))).toBe('of the replica')
  const [write] = parseTicket(ticket)
  expect(asked.map(({ least }) => write && visible(write, least))).toEqual([true])
  world.database.crash()
  await world.clock.advance(timing.pollIntervalMs * 2)
  expect(await now(world, one.name(3, { ticket }))).toBe('of the primary')
  expect(asked.length).toBe(1)
  await one.close()
})

test('a load that waits for its turn before it asks a replica is as old as the snapshot for that', async () => {
  const world = new World()
  world.seed([1, 42], 'old')
  const held = deferred<void>()
  const replicas: Replicas = {
    isReady: true,
    // It shows no more than it has to.
    load: async (_entity, ids, least) => {
      if (ids.includes(1)) await held.promise
      return world.database.rows('city', ids, least)
    },
  }
  const deadlines = { loadDeadlineMs: 5_000, loadQueueDeadlineMs: 5_000, readDeadlineMs: 20_000 }
  const one = await now(
    world,
    startProcess(world, {
      wrapSource: (source) => ({ ...source, replicas }),
      ...{ maxConcurrentLoads: 1, boundMs: 1_000, ...deadlines },
    }),
  )
  const blocking = watch(one.name(1))
  await world.clock.settle()
  const early = watch(one.name(42))
  await world.clock.settle()
  await now(world, one.write(42, 'new'))
  await world.clock.advance(2_000)
  const late = watch(one.name(42))
  await world.clock.settle()
  held.resolve()
  await world.clock.advance(500)
  expect([blocking.value, early.value, late.value]).toEqual(['old', 'old', 'new'])
  await one.close()
})

test('a strong read that finds a load on its way to a replica takes nothing that misses a write', async () => {
  const world = new World()
  world.seed([1], 'old')
  const held = deferred<void>()
  let isHolding = false
  const replicas: Replicas = {
    isReady: true,
    load: async (_entity, ids, least) => world.database.rows('city', ids, least),
  }
  const reading = await now(
    world,
    startProcess(world, {
      wrapSource: (source) => ({ ...source, replicas }),
      // The snapshot is taken, and its answer is slow.
      wrapOutbox: (outbox) =>
        over(outbox, {
          poll: async (...args) => {
            const poll = await outbox.poll(...args)
            if (isHolding) await held.promise
            return poll
          },
        }),
    }),
  )
  const writing = await now(world, startProcess(world))
  isHolding = true
  const bounded = reading.name(1)
  await world.clock.settle()
  expect((await now(world, writing.write(1, 'new'))).fenced).toBe(true)
  const strong = reading.name(1, { consistency: 'strong' })
  await world.clock.settle()
  isHolding = false
  held.resolve()
  expect(await now(world, bounded)).toBe('old')
  expect(await now(world, strong)).toBe('new')
  await reading.close()
  await writing.close()
})
