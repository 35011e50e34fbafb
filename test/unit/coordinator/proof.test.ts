/** Values of L2 and the barrier beside them: who may have what, and what enters L1 (DESIGN §6, §7). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Lookup } from '../../../src/model/l2-port.ts'
import type { Snapshot } from '../../../src/model/snapshot.ts'
import {
  cityEntity,
  now,
  type Process,
  type ProcessOptions,
  startProcess,
  timing,
  World,
} from './process.ts'

const { pollIntervalMs, stalenessBoundMs: boundMs } = timing
const strong = { consistency: 'strong' } as const

let world: World
let processes: Process[]
beforeEach(() => {
  world = new World()
  processes = []
  world.seed([42])
})
afterEach(async () => {
  for (const one of processes) await one.close()
  expect(world.clock.timers).toBe(0)
})

async function start(options: ProcessOptions = {}): Promise<Process> {
  const one = await startProcess(world, options)
  processes.push(one)
  await world.clock.settle()
  return one
}
const entry = async (one: Process, request = {}) => {
  const { isProven, tier, value } = await now(world, one.reader.getEntry(42, request))
  return [(value as { name: string }).name, tier, isProven]
}

describe('where nobody writes barriers', () => {
  const alone = { isRelaying: false }
  async function barrier(one: Process, snapshot: Snapshot = world.database.snapshot()) {
    const [answer] = (await now(world, one.l2?.barrier(snapshot) as never)) as [{ kind: string }]
    if (answer.kind !== 'changed') return
    const { change } = answer as never
    await now(world, one.l2?.restore(change, snapshot, undefined) as never)
  }

  test('a value of L2 is an answer that nobody has proven, and stays out of L1', async () => {
    const [filler, one] = [await start(alone), await start(alone)]
    await now(world, filler.name(42))
    expect(await entry(one)).toEqual(['old', 'l2', false])
    expect([one.region.count, one.region.refusedFills]).toEqual([0, 1])
    expect(one.loads).toEqual([])
  })

  test('a strong read is loaded from the source, beside L2: its value is not touched, nor its lease taken', async () => {
    const [filler, one] = [await start(alone), await start(alone)]
    await now(world, filler.name(42))
    expect(await entry(one, strong)).toEqual(['old', 'source', true])
    expect(one.calls.map(({ act }) => act)).toEqual(['lookup'])
    expect(one.region.count).toBe(1)
  })

  test('of readers of one turn those who need no proof have the value, and the others a load', async () => {
    const [filler, one] = [await start(alone), await start(alone)]
    await now(world, filler.name(42))
    const both = Promise.all([one.reader.getEntry(42, {}), one.reader.getEntry(42, strong)])
    const [bounded, proven] = await now(world, both)
    expect([bounded.tier, bounded.isProven]).toEqual(['l2', false])
    expect([proven.tier, proven.isProven]).toEqual(['source', true])
  })

  test('with foreign writes no reader is content with it', async () => {
    const entity = cityEntity({ foreignWrites: true })
    const [filler, one] = [await start({ ...alone, entity }), await start({ ...alone, entity })]
    await now(world, filler.name(42))
    expect(await entry(one)).toEqual(['old', 'source', true])
    // Nor with one that has expired, though another would be served it.
    await world.clock.advance(entity.ttlMs * 1.2)
    const late = await start({ ...alone, entity })
    expect(await entry(late)).toEqual(['old', 'source', true])
  })

  test('beside a barrier that covers a probe of the last B it is proven, to everybody, and enters L1', async () => {
    const entity = cityEntity({ foreignWrites: true })
    const [filler, one] = [await start({ ...alone, entity }), await start({ ...alone, entity })]
    await now(world, filler.name(42))
    await barrier(filler)
    expect(await entry(one, strong)).toEqual(['old', 'l2', true])
    expect(await entry(one)).toEqual(['old', 'l1', true])
  })

  test('beside a barrier that covers none of them it is not', async () => {
    const [filler, one] = [await start(alone), await start({ ...alone, floorLagMs: 0 })]
    await now(world, filler.name(42))
    await barrier(filler)
    world.database.putUnnoticed('city', 9, { id: 9, name: 'other' })
    await world.clock.advance(boundMs + 2 * pollIntervalMs)
    expect(await entry(one)).toEqual(['old', 'l2', false])
    expect(one.region.count).toBe(0)
    expect(await entry(one, strong)).toEqual(['old', 'source', true])
  })

  test('what was filled between lookup and acquire is judged by the barrier beside it, too', async () => {
    let fill = async (): Promise<void> => {}
    const filler = await start(alone)
    const one = await start({
      ...alone,
      wrapL2: (l2) => ({
        ...l2,
        lookup: async (...args): Promise<readonly Lookup[]> => {
          const found = await l2.lookup(...args)
          await fill()
          return found
        },
      }),
    })
    fill = async () => {
      fill = async () => {}
      await filler.name(42)
    }
    const read = one.reader.getEntry(42, strong)
    await world.clock.settle()
    const { isProven, tier } = await now(world, read)
    expect([tier, isProven]).toEqual(['source', true])
    expect(one.calls.map(({ act }) => act)).toEqual(['lookup', 'acquire', 'lookup'])
  })
})

describe('a Redis that forgets', () => {
  test('what it brings back is no answer to a strong read, nor to others for longer than B', async () => {
    const [one, other] = [await start(), await start()]
    await now(world, one.name(42))
    const saved = world.redis.save()
    await now(world, one.write(42, 'new'))
    await world.clock.advance(2 * pollIntervalMs)
    world.redis.failOver(saved)
    await world.clock.advance(boundMs)
    expect(await entry(other, strong)).toEqual(['new', 'source', true])
    expect((await entry(other))[0]).toBe('new')
    expect(one.replayed()).toBeGreaterThan(0)
  })

  test('what nobody can tell it again has outlived its proof', async () => {
    const retentionMs = 1_000
    const [one, other] = [await start({ retentionMs }), await start({ retentionMs })]
    await now(world, one.name(42))
    const saved = world.redis.save()
    await now(world, one.write(42, 'new'))
    await world.clock.advance(5 * retentionMs)
    expect(world.database.outboxRows).toEqual([])
    world.redis.failOver(saved)
    expect(world.redis.valueBytes('city', 1, '42')).toBeDefined()
    await world.clock.advance(boundMs + 2 * pollIntervalMs)
    expect(await entry(other)).toEqual(['new', 'source', true])
    expect(await entry(one, strong)).toEqual(['new', 'l2', true])
  })
})
