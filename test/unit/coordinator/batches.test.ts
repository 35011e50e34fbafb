/** Under flags: which ids a Bloom filter is asked of, what is filled, and which misses are still loaded. */
import { describe, expect, test } from 'vitest'
import { type FlagName, switchesOf } from '../../../src/model/flags.ts'
import type { L2, Lookup } from '../../../src/model/l2-port.ts'
import type { Snapshot } from '../../../src/model/snapshot.ts'
import { watch } from '../../support/clock.ts'
import { over } from '../../support/over.ts'
import { cityEntity, now, type Process, type World } from './process.ts'
import { onStage } from './stage.ts'

let world: World
const { start } = onStage([1, 2, 3, 42], (renewed) => {
  world = renewed
})

const acts = ({ calls }: Process): readonly string[] => calls.map(({ act }) => act)
const busy = { code: 'SOURCE_BUSY', retryable: true }

describe('a Bloom filter that has none of the ids', () => {
  const filter = { generation: 1, has: () => false, add: () => {}, noticed: () => {} }
  let barrier: Snapshot | undefined

  /** Refuses what it is asked of, under the barrier that lay beside the last value. */
  const refusing = (l2: L2): L2 =>
    over(l2, {
      lookup: async (entity, ids, asked) => {
        const lookups = await l2.lookup(entity, ids)
        return lookups.map((lookup, index): Lookup => {
          if (lookup.kind === 'fresh') barrier = lookup.stored.barrier
          if (lookup.kind !== 'miss' || !asked?.[index] || !barrier) return lookup
          return { kind: 'refused', refusal: { barrier, generation: 1 } }
        })
      },
    })

  test.each<[FlagName | undefined, boolean]>([
    [undefined, true],
    ['bloom.off', false],
    ['l2.bypass', false],
    ['l1.bypass', true],
    ['fill.off', true],
    ['misses.shed', true],
  ])('with flag %s: is heeded: %s', async (flag, isHeeded) => {
    await now(world, (await start()).name(42))
    const flags = switchesOf([])
    const one = await start({ wrapL2: refusing, filter, flags })
    await world.clock.advance(500)
    expect(await now(world, one.name(42))).toBe('old')
    if (flag) flags[flag] = true
    expect(await now(world, one.name(1))).toBe(isHeeded ? undefined : 'old')
    expect(one.counters.refused).toBe(isHeeded ? 1 : 0)
    flags['bloom.off'] = false
    flags['l2.bypass'] = false
    expect(await now(world, one.name(2))).toBeUndefined()
  })
})

describe('fill.off', () => {
  test('a warm-up has its counts, and Redis gets nothing', async () => {
    const one = await start({ flags: switchesOf(['fill.off']) })
    const warmed = await now(world, one.reader.warm([1, 2, 777], {}))
    expect(warmed).toEqual({ warmed: 2, absent: 1, failed: 0, skipped: 0 })
    expect(acts(one)).toEqual(['lookup'])
    expect(world.redis.valueBytes('city', 1, '1')).toBeUndefined()
    expect(one.reader.peek(1)).toBeDefined()
  })
})

describe('misses.shed', () => {
  const shedding = { flags: switchesOf(['misses.shed']) }

  test('what no tier has is not loaded, but for who reads strongly or brings a ticket', async () => {
    const [one, writer] = [await start(shedding), await start()]
    const { ticket } = await now(world, writer.write(2, 'new'))
    const reads = [
      watch(one.name(1)),
      watch(one.name(2, { ticket })),
      watch(one.name(3, { consistency: 'strong' })),
    ]
    await world.clock.advance(1_000)
    expect(reads[0]?.error).toMatchObject(busy)
    expect(reads.slice(1).map(({ value }) => value)).toEqual(['new', 'old'])
    expect(one.loads.flat().toSorted()).toEqual([2, 3])
  })

  test('who is shed takes nobody along who asks for the same id in the same turn', async () => {
    const one = await start(shedding)
    const shed = watch(one.name(1))
    const strong = watch(one.name(1, { consistency: 'strong' }))
    await world.clock.settle()
    expect(shed.error).toMatchObject(busy)
    expect(strong.value).toBe('old')
  })

  test('a value that is too big to be kept is a miss, whatever L2 knows of it', async () => {
    const entity = cityEntity({ maxValueBytes: 1 })
    expect(await now(world, (await start({ entity })).name(42))).toBe('old')
    const one = await start({ entity, ...shedding })
    const read = watch(one.name(42))
    await world.clock.settle()
    expect(read.error).toMatchObject(busy)
    expect([acts(one), one.loads]).toEqual([['lookup'], []])
  })

  test('a warm-up is shed, and tried again once the flag is gone', async () => {
    const flags = switchesOf(['misses.shed'])
    const one = await start({ flags })
    const warmed = watch(one.reader.warm([1], {}))
    await world.clock.advance(5_000)
    expect([warmed.state, one.loads]).toEqual(['pending', []])
    flags['misses.shed'] = false
    await world.clock.advance(5_000)
    expect(warmed.value).toMatchObject({ warmed: 1, failed: 0 })
  })
})
