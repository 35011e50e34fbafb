/** Values past their ttl: who waits for the load, how long, and what the others get (DESIGN §4.3, §9). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type FlagName, switchesOf } from '../../../src/model/flags.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { watch } from '../../support/clock.ts'
import { over } from '../../support/over.ts'
import {
  type City,
  cityEntity,
  now,
  type Process,
  type ProcessOptions,
  startProcess,
  World,
} from './process.ts'

const ttlMs = 10_000
const softTimeoutMs = 50

let world: World
let processes: Process[]
/** Held loads; each is given its rows, or an error, by `resolve` and `reject`. */
let loads: Deferred<void>[]
let isHeld: boolean
beforeEach(() => {
  world = new World()
  processes = []
  loads = []
  isHeld = false
  world.seed([1, 42])
})
afterEach(async () => {
  for (const load of loads) load.resolve()
  for (const one of processes) await one.close()
  expect(world.clock.timers).toBe(0)
})

async function start(
  options: ProcessOptions & { readonly flags?: never; readonly set?: readonly FlagName[] } = {},
  entity: Parameters<typeof cityEntity>[0] = {},
): Promise<Process> {
  const slow = cityEntity({
    load: async (ids, { db }) => {
      const held = deferred<void>()
      if (isHeld) {
        loads.push(held)
        await held.promise
      }
      return db.rows('city', ids) as City[]
    },
    ttl: ttlMs,
    grace: '1m',
    softTimeout: softTimeoutMs,
    hardTimeout: '2s',
    ...entity,
  })
  const { set = [], ...others } = options
  const one = await startProcess(world, {
    entity: slow,
    loadDeadlineMs: 1_500,
    ...others,
    flags: switchesOf(set),
  })
  processes.push(one)
  return one
}

const entryOf = (one: Process) => one.reader.getEntry(42, {})

/** Past its ttl, in L1 and in L2; another row lies in the source, and nobody was told. */
async function expired(one: Process): Promise<void> {
  await now(world, one.name(42))
  await world.clock.advance(1.2 * ttlMs)
  world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
  isHeld = true
}

describe('softTimeout', () => {
  test('a load that is quick enough answers', async () => {
    const one = await start()
    await expired(one)
    const read = watch(one.name(42))
    await world.clock.advance(softTimeoutMs - 1)
    expect(read.state).toBe('pending')
    loads[0]?.resolve()
    await world.clock.settle()
    expect(read.value).toBe('new')
  })

  test('else the expired value does, and the load goes on behind', async () => {
    const one = await start()
    await expired(one)
    const read = watch(entryOf(one))
    await world.clock.advance(softTimeoutMs)
    expect(read.value).toMatchObject({ tier: 'l1', state: 'stale', value: { name: 'old' } })
    expect(one.counters.l1StaleHits).toBe(1)
    loads[0]?.resolve()
    await world.clock.settle()
    expect(loads).toHaveLength(1)
    expect(await now(world, one.name(42))).toBe('new')
  })

  test('so it does out of Redis', async () => {
    await expired(await start())
    const other = await start()
    const read = watch(entryOf(other))
    await world.clock.advance(softTimeoutMs)
    expect(read.value).toMatchObject({ tier: 'l2', state: 'stale', value: { name: 'old' } })
    expect(other.counters.l2StaleHits).toBe(1)
  })

  test('and it does for who comes while a load goes on that began before', async () => {
    await expired(await start())
    const other = await start()
    const first = watch(entryOf(other))
    await world.clock.advance(softTimeoutMs)
    expect(first.state).toBe('resolved')
    const late = watch(entryOf(other))
    await world.clock.advance(softTimeoutMs - 1)
    expect(late.state).toBe('pending')
    await world.clock.advance(1)
    expect(late.value).toMatchObject({ tier: 'l2', state: 'stale', value: { name: 'old' } })
    expect(loads).toHaveLength(1)
  })

  test('a load that fails before is answered with it at once', async () => {
    const one = await start()
    await expired(one)
    const reads = [watch(one.name(42)), watch(one.reader.getMany([42], {}))]
    await world.clock.settle()
    loads[0]?.reject(new Error('mine'))
    await world.clock.settle()
    expect(reads.map(({ state }) => state)).toEqual(['resolved', 'resolved'])
    expect(reads[0]?.value).toBe('old')
    expect(one.counters.readFailures.size).toBe(0)
  })

  test.each([true, false])(
    'never with one that was invalidated meanwhile (L2: %s)',
    async (hasL2) => {
      const one = await start({ hasL2 })
      await expired(one)
      const read = watch(one.name(42))
      await world.clock.settle()
      await one.write(42, 'newer')
      await world.clock.advance(softTimeoutMs)
      expect(read.state).toBe('pending')
      loads[0]?.reject(new Error('mine'))
      await world.clock.settle()
      expect(read.state).toBe('rejected')
    },
  )

  test('beyond the grace there is nothing to fall back on', async () => {
    const one = await start({}, { grace: '1s' })
    await expired(one)
    const read = watch(one.name(42))
    await world.clock.advance(softTimeoutMs)
    expect(read.state).toBe('pending')
    loads[0]?.reject(new Error('mine'))
    await world.clock.settle()
    expect(read.state).toBe('rejected')
  })

  test('a strong read waits for the load; peek waits for nobody', async () => {
    const one = await start()
    await expired(one)
    const strong = watch(one.name(42, { consistency: 'strong' }))
    await world.clock.advance(softTimeoutMs)
    expect(strong.state).toBe('pending')
    expect(one.reader.peek(42)).toMatchObject({ name: 'old' })
  })

  test('without it the expired value is answered at once', async () => {
    const one = await start({}, { softTimeout: 0 })
    await expired(one)
    expect(await now(world, one.name(42))).toBe('old')
    expect(loads).toHaveLength(1)
  })
})

test('hardTimeout is the deadline of a read that says none', async () => {
  const one = await start({ loadDeadlineMs: 10_000, readDeadlineMs: 20_000 })
  isHeld = true
  const read = watch(one.name(1))
  const patient = watch(one.name(1, { timeoutMs: 5_000 }))
  await world.clock.advance(2_000)
  expect(read.error).toMatchObject({ code: 'READ_TIMEOUT' })
  loads[0]?.resolve()
  await world.clock.settle()
  expect(patient.value).toBe('old')
})

describe('flags', () => {
  test.each([['refresh.off'], ['serve.stale']] as const)(
    '%s: nobody waits, and nothing is loaded behind',
    async (flag) => {
      const one = await start({ set: [flag] })
      await expired(one)
      expect(await now(world, one.name(42))).toBe('old')
      const other = await start({ set: [flag] })
      expect(await now(world, entryOf(other))).toMatchObject({ tier: 'l2', state: 'stale' })
      expect(loads).toEqual([])
    },
  )

  test('serve.stale: what is filled meanwhile stays in Redis for staleGrace', async () => {
    const grace = { ttl: '2s', grace: '1s', staleGrace: '20s' } as const
    const one = await start({ set: ['serve.stale'] }, grace)
    await now(world, one.name(42))
    const without = await start({}, grace)
    await now(world, without.name(1))
    await world.clock.advance(5_000)
    expect(world.redis.valueBytes('city', 1, '42')).toBeDefined()
    expect(world.redis.valueBytes('city', 1, '1')).toBeUndefined()
    const other = await start({ set: ['serve.stale'] }, grace)
    expect(await now(world, entryOf(other))).toMatchObject({ tier: 'l2', state: 'stale' })
    await world.clock.advance(20_000)
    isHeld = true
    const late = watch(entryOf(other))
    await world.clock.settle()
    expect(late.state).toBe('pending')
    expect(loads).toHaveLength(1)
  })

  test('l1.bypass: L1 is filled, told, and not asked', async () => {
    const one = await start({ set: ['l1.bypass'] })
    await now(world, one.name(42))
    expect(one.region.count).toBe(1)
    expect(one.reader.peek(42)).toBeUndefined()
    expect(await now(world, entryOf(one))).toMatchObject({ tier: 'l2' })
    await now(world, one.write(42, 'new'))
    expect(one.region.count).toBe(0)
  })

  test('l2.bypass: nobody asks or fills L2, and it is told of writes', async () => {
    const one = await start({ set: ['l2.bypass'] }, { writeThrough: true })
    await now(world, one.name(42))
    expect(one.calls).toEqual([])
    await now(world, one.write(42, 'new'))
    expect(one.calls.map(({ act }) => act)).toEqual(['invalidate', 'invalidate'])
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    expect(world.redis.tombstones('city', '42')).toHaveLength(1)
  })

  test('fill.off: L2 is asked, gives no lease, and gets nothing', async () => {
    const one = await start({ set: ['fill.off'] }, { writeThrough: true })
    await now(world, one.name(42))
    expect(one.calls.map(({ act }) => act)).toEqual(['lookup'])
    expect(world.redis.hasLease('city', '42')).toBe(false)
    await now(world, one.write(42, 'new'))
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
  })

  test('misses.shed: who may have an expired value gets it at once, and nothing is loaded', async () => {
    const one = await start({ set: ['misses.shed'] })
    const flags = switchesOf([])
    const other = await startProcess(world, { entity: one.entity, flags })
    processes.push(other)
    await now(world, other.name(42))
    await world.clock.advance(1.2 * ttlMs)
    flags['misses.shed'] = true
    expect(await now(world, other.name(42))).toBe('old')
    expect(await now(world, entryOf(one))).toMatchObject({ tier: 'l2', state: 'stale' })
    expect([one.loads, other.loads]).toEqual([[], [[42]]])
  })

  test('misses.shed: who waits for the load when it is set gets the expired value then', async () => {
    const flags = switchesOf([])
    let held: Deferred<void> | undefined
    const { entity } = await start()
    const one = await startProcess(world, {
      ...{ entity, flags },
      wrapL2: (l2) =>
        over(l2, {
          lookup: async (...args) => {
            await held?.promise
            return l2.lookup(...args)
          },
        }),
    })
    processes.push(one)
    await expired(one)
    held = deferred()
    const read = watch(entryOf(one))
    await world.clock.settle()
    expect(read.state).toBe('pending')
    flags['misses.shed'] = true
    world.redis.down = new Error('ECONNRESET')
    held.resolve()
    await world.clock.settle()
    expect(read.value).toMatchObject({ tier: 'l1', state: 'stale', value: { name: 'old' } })
    expect(loads).toEqual([])
    world.redis.down = undefined
  })
})
