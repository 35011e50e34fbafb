/** Hot ids come into L1 by the rules that all values come in by; and one is loaded though it is fresh. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type FlagName, switchesOf } from '../../../src/model/flags.ts'
import { cityEntity, type Process, type ProcessOptions, startProcess, World } from './process.ts'

let world: World
let processes: Process[]
beforeEach(() => {
  world = new World()
  processes = []
  world.seed([1, 2, 3])
})
afterEach(async () => {
  for (const one of processes) await one.close()
  expect(world.clock.timers).toBe(0)
})

async function start(options: ProcessOptions = {}): Promise<Process> {
  const one = await startProcess(world, options)
  processes.push(one)
  // The relay has written a barrier, and both have a proof that it covers.
  await world.clock.advance(500)
  return one
}

const acts = ({ calls }: Process): readonly string[] => calls.map(({ act }) => act)

describe('taking in', () => {
  test('is one lookup for all, and loads nothing', async () => {
    const [one, two] = [await start(), await start({ isRelaying: false })]
    for (const id of [1, 2]) void one.reader.get(id)
    await world.clock.settle()
    const before = acts(two).length
    const taken = two.reader.takeIn([1, 2, 3])
    await world.clock.settle()
    await taken
    expect(acts(two).slice(before)).toEqual(['lookup'])
    expect([1, 2, 3].map((id) => two.reader.peek(id) !== undefined)).toEqual([true, true, false])
    expect(two.loads).toEqual([])
  })

  test('takes nothing that has expired, nor what has no barrier beside it', async () => {
    const entity = cityEntity({ ttl: '1s', grace: '10s' })
    const [one, two] = [await start({ entity }), await start({ entity, isRelaying: false })]
    void one.reader.get(1)
    await world.clock.settle()
    world.redis.evictBarrier()
    void two.reader.takeIn([1])
    await world.clock.settle()
    expect(two.reader.peek(1)).toBeUndefined()
    await world.clock.advance(1_500)
    void two.reader.takeIn([1])
    await world.clock.settle()
    expect(two.reader.peek(1)).toBeUndefined()
    expect(two.loads).toEqual([])
  })

  test('takes no value that is too big, whose bytes are as they should be', async () => {
    const entity = cityEntity({ maxValueBytes: 100 })
    world.seed([1], 'x'.repeat(200))
    const [one, two] = [await start({ entity }), await start({ entity, isRelaying: false })]
    void one.reader.get(1)
    await world.clock.settle()
    void two.reader.takeIn([1])
    await world.clock.settle()
    expect([two.reader.peek(1), two.counters.corruptValues]).toEqual([undefined, 0])
  })

  test('asks nobody without Redis, and nothing after close', async () => {
    const alone = await start({ hasL2: false })
    await alone.reader.takeIn([1])
    const one = await start()
    one.reader.close()
    const before = acts(one).length
    await one.reader.takeIn([1])
    await one.reader.reload(1, 1)
    expect(acts(one).length).toBe(before)
    expect([...alone.loads, ...one.loads]).toEqual([])
  })
})

describe('under flags', () => {
  test.each<[FlagName, boolean]>([
    ['l1.bypass', false],
    ['l2.bypass', false],
    ['fill.off', true],
    ['refresh.off', true],
  ])('%s: is taken in: %s', async (flag, isTaken) => {
    const [one, two] = [await start(), await start({ flags: switchesOf([flag]) })]
    void one.reader.get(1)
    await world.clock.settle()
    void two.reader.takeIn([1])
    await world.clock.settle()
    expect(acts(two)).toEqual(isTaken ? ['lookup'] : [])
    expect(two.region.count).toBe(isTaken ? 1 : 0)
  })

  test.each<[FlagName, number, readonly string[]]>([
    ['refresh.off', 0, []],
    ['serve.stale', 0, []],
    ['misses.shed', 0, []],
    ['l2.bypass', 1, []],
    ['fill.off', 1, []],
    ['l1.bypass', 1, ['acquire', 'fill']],
  ])(
    '%s: what is hot is loaded anew %i times, and L2 is asked to %j',
    async (flag, loads, asked) => {
      const flags = switchesOf([])
      const one = await start({ flags })
      void one.reader.get(1)
      await world.clock.settle()
      const before = acts(one).length
      flags[flag] = true
      void one.reader.reload(1, 1)
      await world.clock.settle()
      expect(one.loads.length - 1).toBe(loads)
      expect(acts(one).slice(before)).toEqual(asked)
    },
  )
})

describe('loading anew', () => {
  test.each([true, false])(
    'loads what is fresh, once at a time (with Redis: %s)',
    async (hasL2) => {
      const one = await start({ hasL2 })
      void one.reader.get(1)
      await world.clock.settle()
      const freshUntil = (): number => one.region.freshUntilMs(one.region.find(1) as never)
      const before = freshUntil()
      await world.clock.advance(20_000)
      void one.reader.reload(1, 1)
      void one.reader.reload(1, 1)
      await world.clock.settle()
      expect(one.loads).toEqual([[1], [1]])
      expect(freshUntil()).toBe(before + 20_000)
      void one.reader.reload(1, 1)
      await world.clock.settle()
      expect(one.loads.length).toBe(3)
    },
  )

  test('that fails is over, and may be tried again', async () => {
    let isFailing = false
    const one = await start({
      wrapSource: (source) => ({
        ...source,
        load: async (...args) => {
          if (isFailing) throw new Error('no')
          return source.load(...args)
        },
      }),
    })
    void one.reader.get(1)
    await world.clock.settle()
    isFailing = true
    await Promise.all([one.reader.reload(1, 1), world.clock.advance(2_000)])
    isFailing = false
    const before = one.loads.length
    void one.reader.reload(1, 1)
    await world.clock.settle()
    expect(one.loads.length).toBe(before + 1)
    await one.reader.drain()
  })
})
