/** Reads of an entity with a Bloom filter (DESIGN §8, I6): who is told "does not exist", and by what. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FilterCopy } from '../../../src/coordinator/filter-copy.ts'
import { BloomFilter } from '../../../src/memory/bloom-filter.ts'
import { shapeFor } from '../../../src/model/bloom.ts'
import type { Build } from '../../../src/model/filter-ports.ts'
import type { L2, Lookup } from '../../../src/model/l2-port.ts'
import { deferred } from '../../../src/resilience/deadline.ts'
import { memoryFilters } from '../../../src/testing/memory-filters.ts'
import { incarnationB } from '../../support/arbitrary.ts'
import { over } from '../../support/over.ts'
import {
  cityEntity,
  now,
  type Process,
  type ProcessOptions,
  startProcess,
  timing,
  World,
} from './process.ts'

const strong = { consistency: 'strong' } as const
const boundMs = timing.stalenessBoundMs
const absent = 99

let world: World
let processes: Process[]
let copy: FilterCopy
let outdated: number
/** Of each lookup, the ids with what level 2 was asked of them. */
let asked: (readonly (readonly [string, boolean | undefined])[])[]
beforeEach(() => {
  world = new World()
  processes = []
  asked = []
  outdated = 0
  world.seed([1, 2, 3])
  copy = new FilterCopy({
    entity: 'city',
    filters: memoryFilters(world.redis),
    open: (seed, shape, bytes) => new BloomFilter(seed, shape, bytes),
    clock: world.clock,
    outdated: () => outdated++,
  })
})
afterEach(async () => {
  for (const one of processes) await one.close()
  expect(world.clock.timers).toBe(0)
})

interface StartOptions extends ProcessOptions {
  readonly lookup?: (...args: Parameters<L2['lookup']>) => ReturnType<L2['lookup']>
}

/** A process with a copy of the filter, when the barrier beside that is proven to it. */
async function start({ lookup, ...options }: StartOptions = {}): Promise<Process> {
  const wrapL2 = (l2: L2): L2 =>
    over(l2, {
      lookup: (entity, ids, which) => {
        asked.push(ids.map((id, place) => [id, which?.[place]]))
        return (lookup ?? l2.lookup)(entity, ids, which)
      },
    })
  const one = await startProcess(world, { filter: copy, wrapL2, ...options })
  processes.push(one)
  await world.clock.advance(boundMs / 2)
  return one
}

/** Level 2: a filter of these ids that answers. */
async function build(ids: readonly number[]): Promise<void> {
  const filters = memoryFilters(world.redis)
  const begun = await filters.begin('city', shapeFor(1_000, 0.000_1), ids.length, 10_000)
  const { build: declared } = begun as { build: Build }
  const { database } = world
  const xid = database.takeXid()
  database.finish(xid, 'committed')
  await filters.started(declared, { incarnation: database.incarnation, xid })
  const bits = new BloomFilter(filters.seedOf('city'), declared)
  for (const id of ids) bits.add(String(id))
  const progress = { cursor: undefined, scanned: ids.length, expected: ids.length }
  await filters.merge(declared, bits.bytes, progress)
  expect(await filters.finish(declared)).toEqual({ kind: 'done' })
}

/** Level 1: as level 2 is now. */
async function follow(): Promise<void> {
  const status = await memoryFilters(world.redis).status('city')
  if (status.kind !== 'status' || !status.current) throw new Error('there is no filter')
  await copy.follow(status.current, new AbortController().signal)
}

/** A process over a filter of the ids that exist, built when Redis has been told of what was before. */
async function startFiltered(options: StartOptions = {}): Promise<Process> {
  const one = await start(options)
  await build([1, 2, 3])
  await follow()
  return one
}

const acts = ({ calls }: Process): readonly string[] => calls.map(({ act }) => act)
const counted = ({ counters: { refused, falsePositives } }: Process) => [refused, falsePositives]
async function entry(one: Process, id: number, request = {}) {
  const { value, tier, state, isProven } = await now(world, one.reader.getEntry(id, request))
  return [value, tier, state, isProven]
}

describe('level 2 is asked', () => {
  test('of the ids that the copy does not have, and of no others', async () => {
    const one = await startFiltered()
    await now(world, one.reader.getMany([1, absent, 2], {}))
    expect(asked).toEqual([
      [
        ['1', false],
        ['99', true],
        ['2', false],
      ],
    ])
  })

  test('of every id without a copy', async () => {
    const one = await start()
    await build([1])
    expect((await now(world, one.reader.getMany([1, absent], {}))).size).toBe(1)
    expect(asked).toEqual([
      [
        ['1', true],
        ['99', true],
      ],
    ])
    expect(counted(one)).toEqual([1, 0])
  })

  test('of none that only strong or ticketed readers want', async () => {
    const one = await startFiltered()
    const { ticket } = await now(world, one.write(1, 'new'))
    await now(world, Promise.all([one.name(absent, strong), one.name(98, { ticket })]))
    expect(asked).toEqual([
      [
        ['99', false],
        ['98', false],
      ],
    ])
    expect(one.loads).toEqual([[absent, 98]])
    expect(counted(one)).toEqual([0, 0])
  })

  test('not at all by an entity without a filter', async () => {
    const one = await startProcess(world)
    processes.push(one)
    await world.clock.advance(boundMs / 2)
    await build([1])
    expect(await now(world, one.name(absent))).toBeUndefined()
    expect(one.loads).toEqual([[absent]])
  })
})

describe('an id that is refused', () => {
  test('is a proven answer of L2, costs neither lease nor load, and leaves nothing in L1', async () => {
    const one = await startFiltered()
    expect(await entry(one, absent)).toEqual([undefined, 'l2', 'fresh', true])
    expect(await now(world, one.name(absent))).toBeUndefined()
    expect(acts(one)).toEqual(['lookup', 'lookup'])
    expect([one.loads, one.region.count]).toEqual([[], 0])
    expect(counted(one)).toEqual([2, 0])
    expect(one.counters.l2Absent).toBe(2)
  })

  test('is counted once for each reader, and left out by getMany', async () => {
    const one = await startFiltered()
    const ids = [1, ...Array.from({ length: 20 }, (_, nth) => 1_000 + nth)]
    const [found, again] = await now(
      world,
      Promise.all([one.reader.getMany(ids, {}), one.name(1_000)]),
    )
    expect([...found]).toEqual([[1, { id: 1, name: 'old' }]])
    expect(again).toBeUndefined()
    expect(one.loads).toEqual([[1]])
    expect(counted(one)).toEqual([21, 0])
  })

  test('is loaded for strong and ticketed readers of the same turn, who alone wait for that', async () => {
    const gate = deferred<void>()
    const one = await startFiltered({
      wrapSource: (source) =>
        over(source, {
          load: async (...args) => {
            await gate.promise
            return source.load(...args)
          },
        }),
    })
    const { ticket } = await now(world, one.write(1, 'new'))
    const tiers: string[] = []
    const read = async (name: string, request = {}) => {
      const { tier } = await one.reader.getEntry(absent, request)
      tiers.push(`${name} ${tier}`)
    }
    const all = Promise.all([read('strong', strong), read('bounded'), read('ticket', { ticket })])
    await world.clock.settle()
    expect(tiers).toEqual(['bounded l2'])
    gate.resolve()
    await now(world, all)
    expect(tiers.sort()).toEqual(['bounded l2', 'strong source', 'ticket source'])
    expect(one.loads).toEqual([[absent]])
    expect(counted(one)).toEqual([1, 0])
  })

  test('is loaded for a refresh of the same turn', async () => {
    const entity = cityEntity({ ttl: '10s', grace: '1h', refreshAhead: false })
    const one = await startFiltered({ entity })
    await now(world, one.name(1))
    await world.clock.advance(20_000)
    world.redis.evictValue('city', 1, '1')
    await build([2, 3])
    copy.drop()
    // Stale, and refreshed behind; then L1 is emptied before the end of the turn.
    const stale = one.name(1)
    one.trust.lose('gap')
    const bounded = one.reader.getEntry(1, {})
    expect(await now(world, stale)).toBe('old')
    expect((await bounded).tier).toBe('l2')
    expect(asked.at(-1)).toEqual([['1', true]])
    expect(one.loads).toEqual([[1], [1]])
    expect(counted(one)).toEqual([1, 0])
  })

  test('tells whose copy is of another bitmap', async () => {
    const one = await startFiltered()
    await now(world, one.name(absent))
    expect(outdated).toBe(0)
    await world.clock.advance(2_000)
    await build([1, 2, 3])
    await now(world, one.name(absent))
    expect(outdated).toBe(1)
  })
})

describe('a "no" is a "maybe"', () => {
  test('where no barrier lies beside the filter', async () => {
    const one = await startFiltered({ isRelaying: false })
    expect(await entry(one, absent)).toEqual([undefined, 'source', 'fresh', true])
    expect(counted(one)).toEqual([0, 0])
  })

  test.each(['one that is older than the staleness bound', 'one of another incarnation'])(
    'beside %s',
    async (which) => {
      const { database, clock } = world
      const old = { ...database.snapshot() }
      const barrier = which.includes('older') ? old : { ...old, incarnation: incarnationB }
      const lookup = async (): Promise<readonly Lookup[]> => [
        { kind: 'refused', refusal: { barrier, generation: 1 } },
      ]
      const one = await startFiltered({ lookup })
      // What has been written since is what that barrier doesn't see.
      await now(world, one.write(1, 'new'))
      await clock.advance(3 * boundMs)
      expect(await entry(one, absent)).toEqual([undefined, 'source', 'fresh', true])
      expect(one.loads).toEqual([[absent]])
      expect(counted(one)).toEqual([0, 0])
    },
  )

  test('of the same refusal beside a barrier that is proven it is a "no"', async () => {
    const lookup = async (): Promise<readonly Lookup[]> => [
      { kind: 'refused', refusal: { barrier: world.database.snapshot(), generation: 1 } },
    ]
    const one = await startFiltered({ lookup })
    expect(await entry(one, absent)).toEqual([undefined, 'l2', 'fresh', true])
  })

  test('when Redis has no answer: it is loaded, beside L2', async () => {
    const one = await startFiltered()
    world.redis.down = new Error('cut off')
    copy.add(String(absent))
    expect(await entry(one, absent)).toEqual([undefined, 'source', 'fresh', true])
    expect(await entry(one, 98)).toEqual([undefined, 'source', 'fresh', true])
    expect(acts(one)).toEqual(['lookup', 'lookup'])
    // The copy said of one of them that it might exist.
    expect(counted(one)).toEqual([0, 1])
    world.redis.down = undefined
  })
})

describe('an id that may exist', () => {
  test('in vain is counted; one that exists is not, nor one that the copy does not have', async () => {
    const one = await startFiltered()
    copy.add(String(absent))
    await now(world, one.reader.getMany([1, absent], {}))
    expect(asked.at(-1)?.map(([, which]) => which)).toEqual([false, false])
    expect(one.loads).toEqual([[1, absent]])
    expect(counted(one)).toEqual([0, 1])
    await now(world, one.name(98, strong))
    expect(counted(one)).toEqual([0, 1])
  })

  test('because this process was told of it is asked of nobody', async () => {
    const one = await startFiltered()
    const other = await startProcess(world)
    processes.push(other)
    expect(await now(world, one.name(absent))).toBeUndefined()
    await now(world, other.write(absent, 'new'))
    await world.clock.settle()
    expect(copy.has(String(absent))).toBe(true)
    expect(await now(world, one.name(absent))).toBe('new')
    expect(asked.at(-1)).toEqual([['99', false]])
    expect(counted(one)).toEqual([1, 0])
  })
})
