/** The story of a read (DESIGN §4), over the ports in memory. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LockstepError, PartialReadError } from '../../../src/model/errors.ts'
import type { Lookup } from '../../../src/model/l2-port.ts'
import type { WriteId, Xid } from '../../../src/model/snapshot.ts'
import { formatTicket } from '../../../src/model/ticket.ts'
import { deferred } from '../../../src/resilience/deadline.ts'
import type { CacheEvents } from '../../../src/telemetry/events.ts'
import { incarnationB } from '../../support/arbitrary.ts'
import { watch } from '../../support/clock.ts'
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

let world: World
let processes: Process[]
beforeEach(() => {
  world = new World()
  processes = []
  world.seed([1, 2, 3, 42])
})
afterEach(async () => {
  for (const one of processes) await one.close()
  expect(world.clock.timers).toBe(0)
  expect(world.redis.waiting).toBe(0)
  for (const { region } of processes) {
    const sum = region.candidates().reduce((all, { weightBytes }) => all + weightBytes, 0)
    expect(region.weightBytes).toBe(sum)
  }
})

async function start(options: ProcessOptions = {}): Promise<Process> {
  const one = await startProcess(world, options)
  processes.push(one)
  return one
}

const acts = ({ calls }: Process): readonly string[] => calls.map(({ act }) => act)
const codeOf = (error: unknown): unknown => (error instanceof LockstepError ? error.code : error)

describe('the tiers', () => {
  test('a miss is one lookup, one acquire, one load and one fill', async () => {
    const one = await start()
    expect(await now(world, one.name(42))).toBe('old')
    expect(acts(one)).toEqual(['lookup', 'acquire', 'fill'])
    expect(one.loads).toEqual([[42]])
  })

  test('what was read is a hit of L1, and asks nobody', async () => {
    const one = await start()
    await now(world, one.name(42))
    const before = acts(one).length
    expect(await now(world, one.name('42'))).toBe('old')
    expect(one.reader.peek(42n)).toEqual({ id: 42, name: 'old' })
    expect(acts(one).length).toBe(before)
    expect(one.loads.length).toBe(1)
    expect(one.counters.l1Hits).toBe(2)
  })

  test('a hit returns the promise that the entry keeps', async () => {
    const one = await start()
    await now(world, one.name(42))
    expect(one.reader.get(42)).toBe(one.reader.get(42))
  })

  test.each(['get', 'peek'] as const)('what is asked for again by %s stays in L1', async (how) => {
    const one = await start({ entity: cityEntity({ l1: { maxEntries: 3 } }) })
    await now(world, one.name(42))
    for (let times = 0; times < 2; times++) await one.reader[how](42)
    for (const id of [1, 2, 3]) await now(world, one.name(id))
    expect([42, 1, 2, 3].filter((id) => one.reader.peek(id))).toEqual([42, 2, 3])
  })

  test('what another process filled is a hit of L2, and enters L1', async () => {
    const [one, other] = [await start(), await start()]
    await now(world, one.name(42))
    expect(await now(world, other.name(42))).toBe('old')
    expect([acts(other), other.loads]).toEqual([['lookup'], []])
    expect(await now(world, other.reader.getEntry(42, {}))).toMatchObject({
      tier: 'l1',
      state: 'fresh',
      isProven: true,
    })
  })

  test('an id that does not exist is remembered as such, in both tiers', async () => {
    const [one, other] = [await start(), await start()]
    expect(await now(world, one.reader.get(7))).toBeUndefined()
    expect(await now(world, one.reader.get(7))).toBeUndefined()
    expect(await now(world, other.reader.get(7))).toBeUndefined()
    expect([one.loads, other.loads]).toEqual([[[7]], []])
  })

  test('"does not exist" has a life of its own, and no grace', async () => {
    const one = await start({ entity: cityEntity({ negativeTtl: '5s', ttl: '1h', grace: '1h' }) })
    await now(world, one.reader.get(7))
    await world.clock.advance(5_500)
    world.database.putUnnoticed('city', 7, { id: 7, name: 'new' })
    expect(await now(world, one.name(7))).toBe('new')
  })

  test('the answer says where it came from', async () => {
    const [one, other] = [await start(), await start()]
    const fromSource = await now(world, one.reader.getEntry(42, {}))
    expect(fromSource).toMatchObject({ tier: 'source', state: 'fresh', isProven: true })
    const fromL2 = await now(world, other.reader.getEntry(42, {}))
    expect(fromL2).toMatchObject({ tier: 'l2', state: 'fresh', isProven: true })
  })

  test('a value that every tier may share is one and the same, deeply frozen', async () => {
    const one = await start()
    const [a, b] = [await now(world, one.reader.get(42)), await now(world, one.reader.get(42))]
    expect(a).toBe(b)
    expect(Object.isFrozen(a)).toBe(true)
  })

  test('a cloned value is the caller’s own, whichever tier it comes from', async () => {
    const options = { entity: cityEntity({ values: 'cloned' }) }
    const [one, other] = [await start(options), await start(options)]
    for (const { reader } of [one, one, other, other]) {
      const mine = (await now(world, reader.get(42))) as { name: string }
      expect(mine.name).toBe('old')
      mine.name = 'scribbled over'
    }
    expect((one.reader.peek(42) as { name: string }).name).toBe('old')
  })

  test('without L2 the source is asked, and L1 serves', async () => {
    const one = await start({ hasL2: false })
    await now(world, one.name(42))
    await now(world, one.name(42))
    expect([one.loads, one.counters.l1Hits]).toEqual([[[42]], 1])
  })

  test('while L2 is down reads go on, and L1 with them', async () => {
    const one = await start()
    world.redis.down = new Error('ECONNREFUSED')
    expect(await now(world, one.name(42))).toBe('old')
    expect(await now(world, one.name(42))).toBe('old')
    expect(await now(world, one.name(42, { consistency: 'strong' }))).toBe('old')
    expect(one.loads.length).toBe(2)
  })

  test('an L2 that fails between lookup and acquire costs nothing but the fill', async () => {
    const one = await start({
      wrapL2: (l2) => ({
        ...l2,
        acquire: (_entity, ids) =>
          Promise.resolve(ids.map(() => ({ kind: 'unavailable', cause: 'down' }))),
      }),
    })
    expect(await now(world, one.name(42))).toBe('old')
    expect(acts(one)).toEqual(['lookup'])
  })
})

describe('a batch', () => {
  test('the reads of one turn are one lookup, one acquire, one load and one fill', async () => {
    const one = await start()
    const names = Promise.all([1, 2, 3, 42].map((id) => one.name(id)))
    expect(await now(world, names)).toEqual(['old', 'old', 'old', 'old'])
    expect(acts(one)).toEqual(['lookup', 'acquire', 'fill'])
    expect(one.loads).toEqual([[1, 2, 3, 42]])
  })

  test('an id that several ask for in one turn is asked for once, whatever type it came in as', async () => {
    const one = await start()
    const names = Promise.all([42, '42', 42n, 42].map((id) => one.name(id)))
    expect(await now(world, names)).toEqual(['old', 'old', 'old', 'old'])
    expect(one.loads).toEqual([[42]])
    expect(one.calls[0]?.ids).toEqual(['42'])
  })

  test('getMany answers with the ids as they were given, those that exist, each once', async () => {
    const one = await start()
    const values = await now(world, one.reader.getMany(['1', 2, 7, 42n, 42], {}))
    expect([...values.keys()]).toEqual(['1', 2, 42n])
    expect(acts(one)).toEqual(['lookup', 'acquire', 'fill'])
  })

  test('getMany takes any iterable, and nothing of nobody', async () => {
    const one = await start()
    expect((await now(world, one.reader.getMany(new Set([1, 2]), {}))).size).toBe(2)
    expect((await now(world, one.reader.getMany([], {}))).size).toBe(0)
  })

  test('ids that are too many for one call of the loader come in several', async () => {
    const ids = Array.from({ length: 25 }, (_, index) => index + 1)
    world.seed(ids)
    const one = await start({ entity: cityEntity({ maxBatch: 10 }) })
    const values = await now(world, one.reader.getMany(ids, {}))
    expect(values.size).toBe(25)
    expect(one.loads.map((some) => some.length)).toEqual([10, 10, 5])
    expect(acts(one)).toEqual(['lookup', 'acquire', 'fill', 'fill', 'fill'])
  })

  test('a partial failure rejects with what was found, and why the rest was not', async () => {
    const entity = cityEntity({
      maxBatch: 2,
      load: async (ids, { db }) => {
        if (ids.includes(3)) throw new Error('no luck with 3')
        return db.rows('city', ids) as never
      },
    })
    const one = await start({ entity })
    const read = watch(one.reader.getMany([1, 2, 3, 42], {}))
    await world.clock.settle()
    const error = read.error as PartialReadError
    expect(error).toBeInstanceOf(PartialReadError)
    expect([...error.values.keys()]).toEqual([1, 2])
    expect([...error.failures.keys()]).toEqual([3, 42])
    expect(codeOf(error.failures.get(3))).toBe('LOADER_FAILED')
  })

  test('a signal that many ids share gives no warning of a leak', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    const one = await start()
    const { signal } = new AbortController()
    const ids = Array.from({ length: 50 }, (_, index) => index)
    await now(world, one.reader.getMany(ids, { signal }))
    process.off('warning', onWarning)
    expect(warnings.map(({ name }) => name)).toEqual([])
  })
})

describe('what is asked wrongly', () => {
  test.each([undefined, null, Number.NaN, {}, '', 'x'.repeat(10_000)])(
    'the id %j rejects with ID_INVALID, in get and getMany alike',
    async (id) => {
      const one = await start()
      for (const call of [
        () => one.reader.get(id),
        () => one.reader.get(id, {}),
        () => one.reader.getEntry(id, {}),
        () => one.reader.getMany([1, id], {}),
      ]) {
        const read = watch(call())
        await world.clock.settle()
        expect(codeOf(read.error)).toBe('ID_INVALID')
      }
      expect(one.calls).toEqual([])
    },
  )

  test('the id __proto__ is an id like any other', async () => {
    world.seed(['__proto__'])
    const one = await start()
    expect(await now(world, one.name('__proto__'))).toBe('old')
    expect(await now(world, one.name('constructor'))).toBeUndefined()
  })

  test.each([
    ['a text that is no ticket', 'x'],
    ['one of several', ['1.x']],
    ['nothing', ''],
  ])('a ticket that is %s rejects with TICKET_INVALID', async (_, ticket) => {
    const one = await start()
    const read = watch(one.reader.get(42, { ticket }))
    await world.clock.settle()
    expect(codeOf(read.error)).toBe('TICKET_INVALID')
  })

  test('a ticket of a wrong type rejects with TICKET_INVALID too: cookies come as null', async () => {
    const one = await start()
    const reads = [null, 42, {}, [null]].map((ticket) =>
      watch(one.reader.get(42, { ticket: ticket as never })),
    )
    await world.clock.settle()
    expect(reads.map(({ error }) => codeOf(error))).toEqual(Array(4).fill('TICKET_INVALID'))
  })
})

describe('joining a load of this process', () => {
  /** A loader that waits until it is let go, once a call. */
  function gate() {
    const waiting: (() => void)[] = []
    const entity = cityEntity({
      load: async (ids, { db }) => {
        const rows = db.rows('city', ids)
        const { promise, resolve } = deferred<void>()
        waiting.push(resolve)
        await promise
        return rows as never
      },
    })
    return { entity, waiting, go: () => waiting.shift()?.() }
  }

  test('who comes during a load joins it: one load, one value', async () => {
    const { entity, go } = gate()
    const one = await start({ entity })
    const first = watch(one.name(42))
    await world.clock.advance(10)
    const second = watch(one.name(42))
    await world.clock.advance(10)
    go()
    await world.clock.settle()
    expect([first.value, second.value]).toEqual(['old', 'old'])
    expect([one.loads.length, acts(one)]).toEqual([1, ['lookup', 'acquire', 'fill']])
  })

  test('a joined load that crashes fails each of its readers', async () => {
    const one = await start({
      entity: cityEntity({ load: () => Promise.reject(new Error('no table')) }),
    })
    const reads = [watch(one.name(42)), watch(one.name(42))]
    await world.clock.settle()
    expect(reads.map(({ error }) => codeOf(error))).toEqual(['LOADER_FAILED', 'LOADER_FAILED'])
  })

  test('a bounded reader does not join a load that began longer than B before it', async () => {
    const { entity, waiting, go } = gate()
    const one = await start({ entity, boundMs: 500, loadDeadlineMs: 5_000, readDeadlineMs: 9_000 })
    watch(one.name(42))
    await world.clock.advance(400)
    const inTime = watch(one.name(42))
    await world.clock.advance(101)
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    const tooLate = watch(one.name(42))
    await world.clock.settle()
    expect(waiting.length).toBe(2)
    go()
    await world.clock.settle()
    expect([inTime.value, tooLate.state]).toEqual(['old', 'pending'])
    go()
    await world.clock.settle()
    expect(tooLate.value).toBe('new')
  })

  test('a strong reader does not take what a load before it brought, when nobody filled it', async () => {
    const { entity, waiting, go } = gate()
    const one = await start({ entity, hasL2: false })
    watch(one.name(42))
    await world.clock.settle()
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    const strong = watch(one.name(42, { consistency: 'strong' }))
    await world.clock.settle()
    expect(waiting.length).toBe(2)
    go()
    await world.clock.settle()
    expect(strong.state).toBe('pending')
    go()
    await world.clock.settle()
    expect(strong.value).toBe('new')
  })

  test('a strong reader that joins a load whose fill is refused loads again', async () => {
    const { entity, go } = gate()
    const one = await start({ entity })
    const other = await start()
    const bounded = watch(one.name(42))
    await world.clock.settle()
    await now(world, other.write(42, 'new'))
    // The load under way is of before the write: its fill will be refused.
    const strong = watch(one.name(42, { consistency: 'strong' }))
    await world.clock.settle()
    go()
    await world.clock.settle()
    expect(bounded.value).toBe('old')
    expect(strong.value).not.toBe('old')
    go()
    await world.clock.settle()
    expect(strong.value).toBe('new')
  })

  test('a strong reader takes a load that began before it when its fill was accepted after it began', async () => {
    const { entity, waiting, go } = gate()
    const one = await start({ entity })
    watch(one.name(42))
    await world.clock.settle()
    const strong = watch(one.name(42, { consistency: 'strong' }))
    await world.clock.settle()
    expect(waiting.length).toBe(1)
    go()
    await world.clock.settle()
    expect([strong.value, one.loads.length]).toEqual(['old', 1])
  })

  test('a ticketed reader does not take what misses its write, though everything else would do', async () => {
    const { entity, go } = gate()
    const one = await start({ entity })
    const other = await start()
    watch(one.name(42))
    await world.clock.settle()
    const { ticket } = await now(world, other.write(42, 'new'))
    const ticketed = watch(one.name(42, { ticket }))
    await world.clock.settle()
    go()
    await world.clock.settle()
    expect(ticketed.state).toBe('pending')
    go()
    await world.clock.settle()
    expect(ticketed.value).toBe('new')
  })
})

describe('strong and ticketed reads', () => {
  test('a strong read skips L1 and is content with L2', async () => {
    const one = await start({ isTold: false })
    const other = await start()
    await now(world, one.name(42))
    await now(world, other.write(42, 'new'))
    expect(await now(world, one.name(42))).toBe('old')
    expect(await now(world, one.name(42, { consistency: 'strong' }))).toBe('new')
    await now(world, one.name(42, { consistency: 'strong' }))
    expect(one.counters.l2Hits).toBe(1)
  })

  test('a ticketed read takes from L1 only what sees its writes', async () => {
    const one = await start({ isTold: false })
    const other = await start()
    await now(world, one.name(42))
    const { ticket } = await now(world, other.write(42, 'new'))
    expect(await now(world, one.name(42, { ticket }))).toBe('new')
    await world.clock.advance(timing.pollIntervalMs)
    await now(world, one.name(42, { ticket }))
    const before = one.loads.length
    const entry = await now(world, one.reader.getEntry(42, { ticket }))
    expect([entry.tier, one.loads.length]).toEqual(['l1', before])
  })

  test('a ticketed read does not take from L2 what misses its write, and mends it', async () => {
    const one = await start()
    await now(world, one.name(42))
    // SQL past the cache: L2 is not told, but somebody got to know the xid.
    const xid = world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    const ticket = formatTicket([{ incarnation: world.database.incarnation, xid }])
    expect(await now(world, one.name(42, { ticket }))).toBe('new')
    const other = await start()
    expect(await now(world, other.name(42))).toBe('new')
    expect(other.loads).toEqual([])
  })

  test('several tickets must all be seen', async () => {
    const one = await start({ isTold: false })
    const other = await start()
    const first = await now(world, other.write(42, 'first'))
    await now(world, one.name(42))
    const second = await now(world, other.write(42, 'second'))
    const tickets = [first.ticket, second.ticket]
    expect(await now(world, one.name(42, { ticket: tickets }))).toBe('second')
  })

  test('a ticket of another life of the database is answered by the source', async () => {
    const one = await start()
    await now(world, one.name(42))
    const ticket = formatTicket([{ incarnation: incarnationB, xid: 5 as Xid }])
    const entry = await now(world, one.reader.getEntry(42, { ticket }))
    expect(entry.tier).toBe('source')
  })

  test('a strong read of a value in L2 past its ttl loads, and a bounded one does not wait', async () => {
    const options = { entity: cityEntity({ ttl: '10s', grace: '60s' }), isTold: false }
    const [one, two] = [await start(options), await start(options)]
    await now(world, one.name(42))
    await world.clock.advance(15_000)
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    const bounded = watch(two.reader.getEntry(42, {}))
    const strong = watch(two.name(42, { consistency: 'strong' }))
    await world.clock.settle()
    expect(bounded.value).toMatchObject({ value: { name: 'old' }, state: 'stale', tier: 'l2' })
    expect(strong.value).toBe('new')
  })
})

describe('staleness', () => {
  test('an entry of L1 within its grace is served and refreshed behind, by one load', async () => {
    const one = await start({ entity: cityEntity({ ttl: '10s', grace: '60s' }), hasL2: false })
    await now(world, one.name(42))
    await world.clock.advance(15_000)
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    const names = [one.name(42), one.name(42), one.name(42)]
    expect(await now(world, Promise.all(names))).toEqual(['old', 'old', 'old'])
    expect(one.loads.length).toBe(2)
    expect(one.counters.l1StaleHits).toBe(3)
    expect(await now(world, one.name(42))).toBe('new')
  })

  test.each([true, false])(
    'a value is fresh until its ttl is over, and served until its grace is: with L2 or not (%s)',
    async (hasL2) => {
      const one = await start({ entity: cityEntity({ ttl: '10s', grace: '5s' }), hasL2 })
      await now(world, one.name(42))
      await world.clock.advance(9_999)
      expect(await now(world, one.reader.getEntry(42, {}))).toMatchObject({ state: 'fresh' })
      world.database.down = new Error('nobody loads it anew')
      await world.clock.advance(1)
      expect(await now(world, one.reader.getEntry(42, {}))).toMatchObject({ state: 'stale' })
      world.database.down = undefined
      await world.clock.advance(5_000)
      const last = await now(world, one.reader.getEntry(42, {}))
      expect(last).toMatchObject({ state: 'fresh', tier: 'source' })
    },
  )

  test('past its grace an entry is not served', async () => {
    const one = await start({ entity: cityEntity({ ttl: '10s', grace: '5s' }), hasL2: false })
    await now(world, one.name(42))
    await world.clock.advance(16_000)
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    expect(await now(world, one.name(42))).toBe('new')
  })

  test('a value of L2 within its grace is served and refreshed behind, by one process', async () => {
    const options = { entity: cityEntity({ ttl: '10s', grace: '60s' }) }
    const [one, two, three] = [await start(options), await start(options), await start(options)]
    await now(world, one.name(42))
    await world.clock.advance(15_000)
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    expect(await now(world, Promise.all([two.name(42), three.name(42)]))).toEqual(['old', 'old'])
    expect(two.loads.length + three.loads.length).toBe(1)
    await world.clock.settle()
    expect(await now(world, two.name(42, { consistency: 'strong' }))).toBe('new')
  })

  test('while the source is down a value within its grace is served, and the failure is no rejection', async () => {
    const one = await start({ entity: cityEntity({ ttl: '10s', grace: '60s' }) })
    await now(world, one.name(42))
    await world.clock.advance(15_000)
    world.database.down = new Error('ECONNREFUSED')
    await world.clock.advance(5_000)
    expect(one.trust.isProven({ monotonicMs: world.clock.monotonicMs(), wallMs: 0 })).toBe(false)
    const entry = await now(world, one.reader.getEntry(42, {}))
    expect(entry).toMatchObject({ tier: 'l2', state: 'stale', isProven: false })
    await world.clock.advance(5_000)
  })

  /** Its loads hang from `break` on; nothing is proven any more by then. */
  async function hanging() {
    let isHung = false
    const hung: unknown[] = []
    const one = await start({
      entity: cityEntity({ ttl: '10s', grace: '60s' }),
      loadDeadlineMs: 500,
      wrapSource: (source) => ({
        ...source,
        load: (entity, ids, signal) => {
          if (!isHung) return source.load(entity, ids, signal)
          hung.push(...ids)
          return new Promise(() => {})
        },
      }),
    })
    await now(world, one.name(42))
    await world.clock.advance(15_000)
    isHung = true
    world.database.down = new Error('ECONNREFUSED')
    world.clock.stop(timing.stalenessBoundMs + 1)
    return { one, hung }
  }

  const stale = expect.objectContaining({ tier: 'l2', state: 'stale', isProven: false })

  test('nobody waits for a load behind an answer: who comes meanwhile gets what L2 has as well', async () => {
    const { one, hung } = await hanging()
    const answers = [watch(one.reader.getEntry(42, {}))]
    await world.clock.settle()
    expect(hung).toEqual([42])
    answers.push(watch(one.reader.getEntry(42, {})))
    await world.clock.settle()
    expect(answers.map(({ value }) => value)).toEqual([stale, stale])
    expect(hung).toEqual([42])
    expect(one.counters.refreshes).toMatchObject({ expired: 1 })
  })

  test('nor for one that a strong reader waits for, who can’t have what L2 has', async () => {
    const { one, hung } = await hanging()
    const strong = watch(one.name(42, { consistency: 'strong' }))
    await world.clock.settle()
    const bounded = [watch(one.reader.getEntry(42, {})), watch(one.reader.getEntry(42, {}))]
    await world.clock.settle()
    expect(bounded.map(({ value }) => value)).toEqual([stale, stale])
    // And who can't have it either loads nothing of its own.
    const other = watch(one.name(42, { consistency: 'strong' }))
    await world.clock.advance(3_000)
    expect([codeOf(strong.error), codeOf(other.error)]).toEqual(Array(2).fill('SOURCE_TIMEOUT'))
    expect(hung).toEqual([42])
  })

  test('who joined a load that fails gets what L2 has by then, within its grace', async () => {
    const { one, hung } = await hanging()
    // It was away when the load began.
    world.redis.down = new Error('ECONNREFUSED')
    const first = watch(one.name(42))
    await world.clock.settle()
    expect(hung).toEqual([42])
    const joined = [watch(one.reader.getEntry(42, {})), watch(one.reader.getEntry(42, {}))]
    await world.clock.settle()
    expect(joined.map(({ state }) => state)).toEqual(['pending', 'pending'])
    world.redis.down = undefined
    await world.clock.advance(3_000)
    expect(codeOf(first.error)).toBe('SOURCE_TIMEOUT')
    expect(joined.map(({ value }) => value)).toEqual([stale, stale])
  })

  test('a close ends who joined a load at once, and asks L2 nothing more', async () => {
    const { one } = await hanging()
    const reads = [watch(one.name(7))]
    await world.clock.settle()
    reads.push(watch(one.name(7)))
    await world.clock.settle()
    const before = acts(one).filter((act) => act === 'lookup').length
    await one.close()
    expect(reads.map(({ error }) => codeOf(error))).toEqual(['CLOSED', 'CLOSED'])
    expect(acts(one).filter((act) => act === 'lookup')).toHaveLength(before)
  })

  test('who joined a load that fails, and finds nothing in L2, fails with it, and nothing is loaded again', async () => {
    const { one, hung } = await hanging()
    const first = watch(one.name(7))
    await world.clock.settle()
    const joined = watch(one.name(7))
    await world.clock.advance(5_000)
    expect([codeOf(first.error), codeOf(joined.error)]).toEqual(Array(2).fill('SOURCE_TIMEOUT'))
    expect(hung).toEqual([7])
  })

  test('unproven, L1 is not served, not even to a peek', async () => {
    const one = await start()
    await now(world, one.name(42))
    world.database.down = new Error('ECONNREFUSED')
    world.clock.stop(timing.stalenessBoundMs + 1)
    expect(one.reader.peek(42)).toBeUndefined()
    const entry = await now(world, one.reader.getEntry(42, {}))
    expect([entry.tier, entry.isProven]).toEqual(['l2', false])
  })
})

describe('leases', () => {
  /** A loader that holds every load until it is let go. */
  function held() {
    const { promise, resolve } = deferred<void>()
    const entity = cityEntity({
      load: async (ids, { db }) => {
        await promise
        return db.rows('city', ids) as never
      },
    })
    return { entity, go: resolve }
  }

  test('one load over all processes: the others wait, and are woken by the fill', async () => {
    const { entity, go } = held()
    const [one, two, three] = [await start({ entity }), await start(), await start()]
    const first = watch(one.name(42))
    await world.clock.settle()
    const others = [watch(two.name(42)), watch(three.name(42))]
    await world.clock.settle()
    expect(world.redis.waiting).toBe(2)
    go()
    await world.clock.settle()
    expect([first, ...others].map(({ value }) => value)).toEqual(['old', 'old', 'old'])
    expect([one, two, three].map(({ loads }) => loads.length)).toEqual([1, 0, 0])
  })

  test('a lost wake-up costs a moment: who waits looks again by itself', async () => {
    const { entity, go } = held()
    const one = await start({ entity })
    const two = await start({
      wrapL2: (l2) => ({
        ...l2,
        filled: (_entity, _id, pollAfterMs) =>
          new Promise((resolve) => world.clock.after(pollAfterMs, resolve)),
      }),
    })
    watch(one.name(42))
    await world.clock.settle()
    const waiting = watch(two.name(42))
    await world.clock.settle()
    go()
    await world.clock.advance(100)
    expect([waiting.value, two.loads.length]).toEqual(['old', 0])
  })

  test('the lease of a process that died is taken over when it has lapsed', async () => {
    const [dead, two] = [await start(), await start()]
    const { incarnation } = world.database
    const options = { incarnation, leaseMs: 2_000, insist: false }
    await now(world, dead.l2?.acquire(dead.entity, ['42'], options) as Promise<unknown>)
    const waiting = watch(two.name(42))
    await world.clock.advance(1_999)
    expect(waiting.state).toBe('pending')
    await world.clock.advance(110)
    expect([waiting.value, two.loads]).toEqual(['old', [[42]]])
  })

  test('a load that takes long keeps its lease, and the others wait for it', async () => {
    const { entity, go } = held()
    const options = { entity, loadDeadlineMs: 3_000, readDeadlineMs: 9_000 }
    const [one, two] = [await start(options), await start(options)]
    const reads = [watch(one.name(42))]
    await world.clock.settle()
    reads.push(watch(two.name(42)))
    await world.clock.advance(2_500)
    go()
    await world.clock.settle()
    expect(reads.map(({ value }) => value)).toEqual(['old', 'old'])
    expect([one.loads.length, two.loads.length]).toEqual([1, 0])
    expect(acts(one).filter((act) => act === 'renew').length).toBeGreaterThan(50)
  })

  test('a quick load renews nothing', async () => {
    const entity = cityEntity({
      load: async (ids, { db }) => {
        await new Promise<void>((resolve) => world.clock.after(20, resolve))
        return db.rows('city', ids) as never
      },
    })
    const one = await start({ entity })
    const read = watch(one.name(42))
    await world.clock.advance(200)
    expect([read.value, acts(one)]).toEqual(['old', ['lookup', 'acquire', 'fill']])
  })

  test('when a process dies during its load, another loads within 100 ms', async () => {
    const { entity } = held()
    let isDead = false
    const dying = await start({
      entity,
      wrapL2: (l2) => ({
        ...l2,
        renew: async (...args) => (isDead ? args[1].map(() => 'unavailable') : l2.renew(...args)),
      }),
    })
    const [two, three] = [await start(), await start()]
    watch(dying.name(42))
    await world.clock.advance(300)
    const waiting = [watch(two.name(42)), watch(three.name(42))]
    await world.clock.advance(100)
    expect(waiting.map(({ state }) => state)).toEqual(['pending', 'pending'])
    isDead = true
    await world.clock.advance(100)
    expect(waiting.map(({ value }) => value)).toEqual(['old', 'old'])
    expect(two.loads.length + three.loads.length).toBe(1)
  })

  test('a process that was held up costs one more load, and what it brings harms nothing', async () => {
    const { entity, go } = held()
    let isHeldUp = true
    const slow = await start({
      entity,
      isTold: false,
      wrapL2: (l2) => ({
        ...l2,
        renew: async (...args) => (isHeldUp ? args[1].map(() => 'unavailable') : l2.renew(...args)),
      }),
    })
    const other = await start()
    const late = watch(slow.name(42))
    await world.clock.advance(100)
    await now(world, other.write(42, 'new'))
    expect(await now(world, other.name(42))).toBe('new')
    isHeldUp = false
    await world.clock.advance(100)
    go()
    await world.clock.settle()
    expect(late.state).toBe('resolved')
    expect([slow.loads.length, other.loads.length]).toEqual([1, 1])
    expect(await now(world, other.name(42, { consistency: 'strong' }))).toBe('new')
  })

  test('a load that fails gives its lease back: who waits loads at once', async () => {
    const { promise, reject } = deferred<never>()
    promise.catch(() => {})
    const one = await start({ entity: cityEntity({ load: () => promise }) })
    const two = await start()
    const failed = watch(one.name(42))
    await world.clock.settle()
    const waiting = watch(two.name(42))
    await world.clock.settle()
    expect(waiting.state).toBe('pending')
    reject(new Error('no table'))
    await world.clock.settle()
    expect([codeOf(failed.error), waiting.value]).toEqual(['LOADER_FAILED', 'old'])
    expect(world.redis.hasLease('city', '42')).toBe(false)
  })

  test('what was filled meanwhile is taken, and the lease is left alone', async () => {
    const one = await start()
    const two = await start({
      wrapL2: (l2) => ({
        ...l2,
        lookup: async (_entity, ids) => {
          await one.name(42)
          return ids.map((): Lookup => ({ kind: 'miss', why: 'absent' }))
        },
      }),
    })
    expect(await now(world, two.name(42))).toBe('old')
    expect([acts(two), two.loads]).toEqual([['acquire'], []])
  })

  test('a read gives up at its deadline while another process holds the lease', async () => {
    const { entity } = held()
    const one = await start({ entity, loadDeadlineMs: 100_000, readDeadlineMs: 200_000 })
    const two = await start({ boundMs: 1e9 })
    watch(one.name(42))
    await world.clock.settle()
    const waiting = watch(two.name(42))
    await world.clock.advance(timing.readDeadlineMs + 100)
    expect(codeOf(waiting.error)).toBe('READ_TIMEOUT')
  })
})

describe('pending tombstones', () => {
  /** A write that has told L2 and not committed yet. */
  async function pendingWrite(one: Process, id: number) {
    const xid = world.database.takeXid()
    world.database.put(xid, 'city', id, { id, name: 'new' })
    const write: WriteId = { incarnation: world.database.incarnation, xid }
    const drop = { entity: 'city', id: String(id), versions: [1] }
    await now(world, one.l2?.invalidate(write, [drop]) as Promise<unknown>)
    return { commit: () => world.database.finish(xid, 'committed') }
  }

  test('while a write is pending the value is loaded and answered, and stored nowhere', async () => {
    const one = await start()
    const { commit } = await pendingWrite(one, 42)
    expect(await now(world, one.name(42))).toBe('old')
    expect(one.reader.peek(42)).toBeUndefined()
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    expect(acts(one)).not.toContain('fill')
    // Nobody waits for a fill that cannot come.
    expect(world.redis.hasLease('city', '42')).toBe(false)
    commit()
    await world.clock.advance(timing.pollIntervalMs)
    expect(await now(world, one.name(42))).toBe('new')
    expect(world.redis.valueBytes('city', 1, '42')).toBeDefined()
  })

  test('who would wait for another process’ load does not, while no fill can be accepted', async () => {
    const { promise, resolve } = deferred<void>()
    const slow = cityEntity({
      load: async (ids, { db }) => {
        await promise
        return db.rows('city', ids) as never
      },
    })
    const [one, two] = [await start({ entity: slow }), await start()]
    const { commit } = await pendingWrite(one, 42)
    watch(one.name(42))
    await world.clock.settle()
    expect(await now(world, two.name(42))).toBe('old')
    commit()
    resolve()
    await world.clock.settle()
  })

  test('ids that wait for nothing but pending writes reach the loader as one batch', async () => {
    const never = new Promise<never>(() => {})
    const one = await start({ entity: cityEntity({ load: () => never }), loadDeadlineMs: 9_000 })
    const two = await start()
    for (const id of [1, 2, 3]) await pendingWrite(one, id)
    watch(one.reader.getMany([1, 2, 3], {}))
    await world.clock.settle()
    await now(world, two.reader.getMany([1, 2, 3], {}))
    expect(two.loads).toEqual([[1, 2, 3]])
  })

  test('a tombstone that the newest probe sees costs no snapshot', async () => {
    let polls = 0
    const one = await start({
      wrapOutbox: (database) =>
        over(database, {
          poll: (...args) => {
            polls++
            return database.poll(...args)
          },
        }),
    })
    await now(world, one.write(42, 'new'))
    await world.clock.advance(timing.pollIntervalMs)
    const before = polls
    expect(await now(world, one.name(42))).toBe('new')
    expect([polls, acts(one).at(-1)]).toEqual([before, 'fill'])
    expect(world.redis.valueBytes('city', 1, '42')).toBeDefined()
  })

  test('a tombstone that it does not see costs one, and then the fill is accepted', async () => {
    const [one, two] = [await start(), await start()]
    await now(world, two.write(42, 'new'))
    expect(await now(world, one.name(42))).toBe('new')
    expect(world.redis.valueBytes('city', 1, '42')).toBeDefined()
    expect(world.redis.tombstones('city', '42')).toEqual([])
  })

  test('tombstones of another life of the database block nobody', async () => {
    const [one, two] = [await start(), await start()]
    const { incarnation } = world.database
    const drop = { entity: 'city', id: '42', versions: [1] }
    await now(
      world,
      two.l2?.invalidate({ incarnation, xid: 9_999 as Xid }, [drop]) as Promise<unknown>,
    )
    world.database.crash()
    await world.clock.advance(timing.pollIntervalMs)
    expect(await now(world, one.name(42))).toBe('old')
    expect(world.redis.valueBytes('city', 1, '42')).toBeDefined()
  })
})

describe('what lies in L2 and is no value of ours', () => {
  test.each([
    ['foreign text', Buffer.from('Lorem ipsum dolor sit amet, consectetur adipiscing elit')],
    ['nothing', Buffer.alloc(0)],
    ['noise', Buffer.alloc(200, 0xa7)],
  ])('%s is a counted miss, and mended', async (_, bytes) => {
    world.redis.putBytes('city', 1, '42', bytes)
    const one = await start()
    expect(await now(world, one.name(42))).toBe('old')
    expect(one.counters.corruptValues).toBe(1)
    const other = await start()
    await now(world, other.name(42))
    expect(other.loads).toEqual([])
  })

  test.each([
    ['its payload', 60],
    ['its time', 26],
  ])('an envelope with a flipped bit in %s is a counted miss, and mended', async (_, offset) => {
    const one = await start()
    await now(world, one.name(42))
    const bytes = Buffer.from(world.redis.valueBytes('city', 1, '42') as Buffer)
    bytes[offset] = (bytes[offset] as number) ^ 4
    world.redis.putBytes('city', 1, '42', bytes)
    const two = await start()
    expect(await now(world, two.name(42))).toBe('old')
    expect(two.counters.corruptValues).toBe(1)
    const three = await start()
    await now(world, three.name(42))
    expect(three.loads).toEqual([])
  })

  test('bytes that the codec did not write are a counted miss', async () => {
    const writing = cityEntity({
      codec: {
        name: 'any',
        encode: () => Buffer.from('?'),
        decode: () => ({ id: 42, name: 'any' }),
      },
    })
    const one = await start({ entity: writing })
    await now(world, one.name(42))
    const throwing = cityEntity({
      codec: {
        name: 'json',
        encode: (value) => Buffer.from(JSON.stringify(value)),
        decode: (bytes) => JSON.parse(bytes.toString()),
      },
    })
    const two = await start({ entity: throwing })
    expect(await now(world, two.name(42))).toBe('old')
    expect(two.counters.corruptValues).toBe(1)
  })

  test('a value of another life of the database is a miss', async () => {
    const one = await start()
    await now(world, one.name(42))
    world.database.crash()
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    const two = await start()
    expect(await now(world, two.name(42))).toBe('new')
  })
})

describe('loaders', () => {
  const failing = async (load: () => unknown): Promise<unknown> => {
    const one = await start({ entity: cityEntity({ load: load as never }) })
    const read = watch(one.name(42))
    await world.clock.settle()
    expect(world.redis.hasLease('city', '42')).toBe(false)
    return codeOf(read.error)
  }

  test.each<[what: string, load: () => unknown, code: string]>([
    [
      'throws',
      () => {
        throw new Error('x')
      },
      'LOADER_FAILED',
    ],
    ['rejects', () => Promise.reject(new Error('x')), 'LOADER_FAILED'],
    ['rejects with nothing', () => Promise.reject(undefined), 'LOADER_FAILED'],
    [
      'rejects with an object without a prototype',
      () => Promise.reject(Object.create(null)),
      'LOADER_FAILED',
    ],
    ['returns nothing', () => Promise.resolve(undefined), 'LOADER_INVALID'],
    ['returns null', () => Promise.resolve(null), 'LOADER_INVALID'],
    ['returns one row', () => Promise.resolve({ id: 42 }), 'LOADER_INVALID'],
    ['returns a text', () => Promise.resolve('rows'), 'LOADER_INVALID'],
    [
      'returns two rows of one id',
      () => Promise.resolve([{ id: 42 }, { id: '42' }]),
      'LOADER_INVALID',
    ],
    ['returns a row without an id', () => Promise.resolve([{ name: 'x' }]), 'LOADER_INVALID'],
    [
      'returns a value that the codec cannot take',
      () => Promise.resolve([{ id: 42, f: () => 1 }]),
      'VALUE_NOT_ENCODABLE',
    ],
  ])('a loader that %s: %#', async (_, load, code) => {
    expect(await failing(load)).toBe(code)
  })

  test('the error has the loader’s own as its cause', async () => {
    const cause = new Error('relation "cities" does not exist')
    const one = await start({ entity: cityEntity({ load: () => Promise.reject(cause) }) })
    const read = watch(one.name(42))
    await world.clock.settle()
    expect((read.error as LockstepError).cause).toBe(cause)
    expect((read.error as LockstepError).message).toContain(cause.message)
  })

  test('rows in another order, of other ids, and empty ones do no harm', async () => {
    const load = () =>
      Promise.resolve([
        { id: 99, name: 'not asked' },
        null,
        { id: 2, name: 'two' },
        undefined,
        { id: 1, name: 'one' },
      ])
    const one = await start({ entity: cityEntity({ load: load as never }) })
    const values = await now(world, one.reader.getMany([1, 2, 3], {}))
    expect([...values].map(([id, city]) => [id, (city as { name: string }).name])).toEqual([
      [1, 'one'],
      [2, 'two'],
    ])
    expect(one.reader.peek(99)).toBeUndefined()
  })

  test('one value that the codec cannot take fails its own id, not the batch', async () => {
    const load = () =>
      Promise.resolve([
        { id: 1, f: () => 1 },
        { id: 2, name: 'two' },
      ])
    const one = await start({ entity: cityEntity({ load: load as never }) })
    const read = watch(one.reader.getMany([1, 2], {}))
    await world.clock.settle()
    const error = read.error as PartialReadError
    expect([...error.values.keys()]).toEqual([2])
    expect(codeOf(error.failures.get(1))).toBe('VALUE_NOT_ENCODABLE')
  })

  test('an error that may go away is retried twice, then the source is unavailable', async () => {
    const { RetryableError } = await import('../../support/ports.ts')
    let calls = 0
    const load = () => Promise.reject(new RetryableError(`deadlock ${++calls}`))
    const one = await start({ entity: cityEntity({ load }) })
    const read = watch(one.name(42))
    await world.clock.advance(1_000)
    expect([calls, codeOf(read.error)]).toEqual([3, 'SOURCE_UNAVAILABLE'])
  })

  test('a loader that hangs is given up at the load’s deadline, and told so', async () => {
    let heard: AbortSignal | undefined
    const load = (_ids: unknown, { signal }: { signal: AbortSignal }) => {
      heard = signal
      return new Promise<never>(() => {})
    }
    const one = await start({ entity: cityEntity({ load }) })
    const read = watch(one.name(42))
    await world.clock.advance(timing.loadDeadlineMs - 1)
    expect(read.state).toBe('pending')
    await world.clock.advance(1)
    expect(codeOf(read.error)).toBe('SOURCE_TIMEOUT')
    expect(heard?.aborted).toBe(true)
    expect([one.limiter.running, world.redis.hasLease('city', '42')]).toEqual([0, false])
  })

  test('a value that is too big is answered, and kept in no tier', async () => {
    const load = () => Promise.resolve([{ id: 42, name: 'x'.repeat(5 * 1024 * 1024) }])
    const one = await start({ entity: cityEntity({ load }) })
    expect(((await now(world, one.name(42))) as string).length).toBe(5 * 1024 * 1024)
    expect(one.reader.peek(42)).toBeUndefined()
    expect(world.redis.valueBytes('city', 1, '42')?.length).toBeLessThan(100)
    expect([one.counters.tooBigValues, world.redis.hasLease('city', '42')]).toEqual([1, false])
  })

  test('the source sees no more loads at once than it was promised', async () => {
    let inside = 0
    let most = 0
    const load = async (
      ids: unknown[],
      { db }: { db: { rows: (e: string, i: unknown[]) => unknown } },
    ) => {
      most = Math.max(most, ++inside)
      await Promise.resolve()
      inside--
      return db.rows('city', ids) as never
    }
    const ids = Array.from({ length: 40 }, (_, index) => index)
    const entity = cityEntity({ load: load as never, maxBatch: 2 })
    const one = await start({ entity, maxConcurrentLoads: 3 })
    await now(world, one.reader.getMany(ids, {}))
    expect([most, one.loads.length]).toEqual([3, 20])
  })

  test('beyond the queue a read fails at once with SOURCE_BUSY', async () => {
    const load = () => new Promise<never>(() => {})
    const entity = cityEntity({ load, maxBatch: 1 })
    const one = await start({ entity, maxConcurrentLoads: 1, queuedLoads: 1 })
    const reads = [1, 2, 3].map((id) => watch(one.name(id)))
    await world.clock.settle()
    expect(reads.map(({ error }) => codeOf(error))).toEqual([undefined, undefined, 'SOURCE_BUSY'])
    await world.clock.advance(timing.loadDeadlineMs)
  })

  test('values that were loaded in a transaction carry its snapshot', async () => {
    const one = await start({ entity: cityEntity({ isolation: 'repeatable read' }) })
    const xid = world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    const entry = await now(world, one.reader.getEntry(42, {}))
    expect(entry.candidate.snapshot.xmin).toBeGreaterThan(xid)
  })

  test('a load that a write overtakes never leaves its value in any tier', async () => {
    const { promise, resolve } = deferred<void>()
    const slow = cityEntity({
      load: async (ids, { db }) => {
        const rows = db.rows('city', ids)
        await promise
        return rows as never
      },
    })
    const [one, two] = [await start({ entity: slow }), await start()]
    watch(one.name(42))
    await world.clock.settle()
    await now(world, two.write(42, 'new'))
    resolve()
    await world.clock.settle()
    expect(one.counters.fills).toMatchObject({ filled: 0, tombstone: 1 })
    expect(await now(world, two.name(42))).toBe('new')
    expect(await now(world, one.name(42))).toBe('new')
  })
})

test('what Redis has missed while it was away is not answered by who was told of it, and is loaded anew', async () => {
  const options = { isRelaying: false }
  const [one, two] = [await start(options), await start(options)]
  await now(world, one.name(42))
  await now(world, two.name(42))
  world.redis.down = new Error('ECONNREFUSED')
  const written = watch(one.write(42, 'new'))
  await world.clock.advance(timing.redisDeadlineMs * 10)
  expect(written.value?.fenced).toBe(false)
  world.redis.down = undefined
  const three = await start(options)
  // It began later, and can't know: what nobody has proven is told as such.
  const unknown = await now(world, three.reader.getEntry(42, {}))
  expect(unknown).toMatchObject({ tier: 'l2', isProven: false, value: { name: 'old' } })
  const known = await now(world, two.reader.getEntry(42, {}))
  expect(known).toMatchObject({ tier: 'source', value: { name: 'new' } })
  await world.clock.settle()
  // And it lies in Redis from then on.
  expect(await now(world, three.name(42))).toBe('new')
})

test('what misses a write that this process was told of is loaded anew once, though no probe has seen the write yet', async () => {
  const one = await start({ pollIntervalMs: 60_000, isRelaying: false })
  await now(world, one.name(42))
  const xid = world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
  const write = { incarnation: world.database.incarnation, xid }
  one.hear({ write, keys: [{ entity: 'city', id: '42' }] })
  const before = one.loads.length
  for (let times = 0; times < 10; times++) expect(await now(world, one.name(42))).toBe('new')
  expect(one.loads.length - before).toBe(1)
})

test('one that is told of before it commits, and Redis has missed, is loaded for once, and once again when it has', async () => {
  const one = await start({ pollIntervalMs: 60_000, isRelaying: false })
  await now(world, one.name(42))
  const xid = world.database.takeXid()
  const hear = (): void =>
    one.hear({
      write: { incarnation: world.database.incarnation, xid },
      keys: [{ entity: 'city', id: '42' }],
    })
  hear()
  const before = one.loads.length
  for (let times = 0; times < 10; times++) expect(await now(world, one.name(42))).toBe('old')
  expect(one.loads.length - before).toBe(1)
  world.database.put(xid, 'city', 42, { id: 42, name: 'new' })
  world.database.finish(xid, 'committed')
  hear()
  for (let times = 0; times < 10; times++) expect(await now(world, one.name(42))).toBe('new')
  expect(one.loads.length - before).toBe(2)
})

describe('without trust', () => {
  test('before the first probe a value is answered, and enters neither tier', async () => {
    const one = await start({ isPolling: false })
    world.database.down = undefined
    const read = watch(one.name(42))
    await world.clock.advance(timing.loadDeadlineMs)
    expect(read.value).toBe('old')
    expect([one.region.count, acts(one)]).toEqual([0, ['lookup']])
  })

  test('what another life of the database filled is not taken for this one’s', async () => {
    const [one, two] = [await start(), await start()]
    await now(world, one.name(42))
    await now(world, two.name(42))
    world.database.crash()
    world.database.putUnnoticed('city', 42, { id: 42, name: 'new' })
    await world.clock.advance(timing.pollIntervalMs)
    expect(await now(world, one.name(42))).toBe('new')
    expect(await now(world, two.name(42))).toBe('new')
  })
})

describe('the end of a read', () => {
  const hanging = cityEntity({ load: () => new Promise<never>(() => {}) })

  test('a signal ends one caller’s wait, and nobody else’s', async () => {
    const { promise, resolve } = deferred<void>()
    const entity = cityEntity({
      load: async (ids, { db }) => {
        await promise
        return db.rows('city', ids) as never
      },
    })
    const one = await start({ entity })
    const controller = new AbortController()
    const gone = watch(one.name(42, { signal: controller.signal }))
    const stays = watch(one.name(42))
    await world.clock.settle()
    controller.abort('gone')
    await world.clock.settle()
    expect([gone.error, stays.state]).toEqual(['gone', 'pending'])
    resolve()
    await world.clock.settle()
    expect(stays.value).toBe('old')
  })

  test('a signal that has aborted asks nobody', async () => {
    const one = await start()
    const request = { signal: AbortSignal.abort('before') }
    const reads = [
      watch(one.reader.get(42, request)),
      watch(one.reader.getEntry(42, request)),
      watch(one.reader.getMany([42, 1], request)),
    ]
    await world.clock.settle()
    expect(reads.map(({ error }) => error)).toEqual(['before', 'before', 'before'])
    expect(one.calls).toEqual([])
  })

  test('a timeout of one read ends it in time', async () => {
    const one = await start({ entity: hanging })
    const read = watch(one.name(42, { timeoutMs: 50 }))
    await world.clock.advance(50)
    expect(codeOf(read.error)).toBe('READ_TIMEOUT')
    await world.clock.advance(timing.loadDeadlineMs)
  })

  test('a read is answered within its deadline, retries included', async () => {
    const { RetryableError } = await import('../../support/ports.ts')
    const load = () =>
      new Promise<never>((_, reject) => {
        world.clock.after(400, () => reject(new RetryableError('deadlock')))
      })
    // Two tries take longer than a read may: redisDeadline + loadDeadline is all that the rules ask for.
    const readDeadlineMs = timing.redisDeadlineMs + timing.loadDeadlineMs
    const one = await start({ entity: cityEntity({ load }), readDeadlineMs })
    const read = watch(one.name(42))
    await world.clock.advance(readDeadlineMs)
    expect(read.state).toBe('rejected')
    await world.clock.advance(5_000)
  })

  test('who waits for one load after another gives up at the deadline', async () => {
    const one = await start({ entity: hanging, loadDeadlineMs: 1_000_000, readDeadlineMs: 2_000 })
    const other = await start({ readDeadlineMs: 2_000 })
    watch(one.name(42))
    await world.clock.settle()
    const read = watch(other.name(42, { consistency: 'strong' }))
    await world.clock.advance(2_200)
    expect(codeOf(read.error)).toBe('READ_TIMEOUT')
  })

  test('a closed reader takes no more reads, and answers those under way', async () => {
    const { promise, resolve } = deferred<void>()
    const entity = cityEntity({
      load: async (ids, { db }) => {
        await promise
        return db.rows('city', ids) as never
      },
    })
    const one = await start({ entity })
    const underWay = watch(one.name(42))
    await world.clock.settle()
    one.reader.close()
    const drained = watch(one.reader.drain())
    const late = watch(one.name(1))
    await world.clock.settle()
    expect([codeOf(late.error), drained.state]).toEqual(['CLOSED', 'pending'])
    resolve()
    await world.clock.settle()
    expect([underWay.value, drained.state]).toEqual(['old', 'resolved'])
  })

  test('a drain waits for a read that was asked for in the same turn', async () => {
    const one = await start()
    const read = watch(one.name(42))
    one.reader.close()
    let wasAnswered: boolean | undefined
    void one.reader.drain().then(() => {
      wasAnswered = read.state !== 'pending'
    })
    await world.clock.settle()
    expect(wasAnswered).toBe(true)
  })

  test('a drain waits for a reader that has to look again after the load that it joined', async () => {
    const { promise, resolve } = deferred<void>()
    const entity = cityEntity({
      load: async (ids, { db }) => {
        const rows = db.rows('city', ids)
        await promise
        return rows as never
      },
    })
    const [one, two] = [await start({ entity }), await start()]
    watch(one.name(42))
    await world.clock.settle()
    const { ticket } = await now(world, two.write(42, 'new'))
    const ticketed = watch(one.name(42, { ticket }))
    await world.clock.settle()
    one.reader.close()
    let wasAnswered: boolean | undefined
    void one.reader.drain().then(() => {
      wasAnswered = ticketed.state !== 'pending'
    })
    resolve()
    await world.clock.settle()
    expect([ticketed.value, wasAnswered]).toEqual(['new', true])
  })

  test('an abort of everything ends every read, and leaves no timer', async () => {
    const one = await start({ entity: hanging })
    const reads = [watch(one.name(42)), watch(one.name(1, { consistency: 'strong' }))]
    await world.clock.settle()
    one.reader.close()
    one.closing.abort(new LockstepError('CLOSED', 'the cache is closed'))
    await now(world, one.reader.drain())
    expect(reads.map(({ error }) => codeOf(error))).toEqual(['CLOSED', 'CLOSED'])
  })
})

describe('what reads came to is counted once each', () => {
  test('by tier and answer, whoever made the load', async () => {
    const entity = cityEntity({ ttl: '10s', grace: '60s', negativeTtl: '60s' })
    const [one, two] = [await start({ entity }), await start({ entity })]
    await now(world, Promise.all([one.name(42), one.name(42), one.name(42), one.name(999)]))
    await now(world, one.reader.getMany([42, 999], {}))
    await now(world, two.reader.getMany([42, 999], {}))
    expect(one.counters).toMatchObject({ sourceReads: 3, sourceAbsent: 1, l1Hits: 1, l1Absent: 1 })
    expect(two.counters).toMatchObject({ l2Hits: 1, l2Absent: 1, sourceReads: 0 })
    expect([one.loads.flat().sort(), one.counters.loadedIds]).toEqual([[42, 999], 2])
    await world.clock.advance(15_000)
    const three = await start({ entity })
    await now(world, three.name(42))
    expect(three.counters).toMatchObject({ l2StaleHits: 1, l2Hits: 0, l2Absent: 0, sourceReads: 0 })
  })

  test('one that timed out is no answer, even if the answer comes', async () => {
    const { promise, resolve } = deferred<void>()
    const slow = cityEntity({
      load: async (ids, { db }) => {
        await promise
        return db.rows('city', ids) as never
      },
    })
    const one = await start({ entity: slow, hasL2: false, loadDeadlineMs: 5_000 })
    const late = watch(one.name(42, { timeoutMs: 100 }))
    const patient = watch(one.name(42))
    const gone = new AbortController()
    const aborted = watch(one.name(42, { signal: gone.signal }))
    await world.clock.advance(100)
    gone.abort(new Error('gone'))
    resolve()
    await world.clock.settle()
    expect([codeOf(late.error), patient.value, aborted.state]).toEqual([
      'READ_TIMEOUT',
      'old',
      'rejected',
    ])
    expect(one.counters.readFailures).toEqual(new Map([['READ_TIMEOUT', 1]]))
    expect(one.counters.sourceReads, 'whom it was for, and who left').toBe(2)
  })

  test('a load that fails is counted and told once, its readers each', async () => {
    const failing = cityEntity({ load: () => Promise.reject(new Error('mine')) })
    const one = await start({ entity: failing })
    const told: CacheEvents['load-failed'][] = []
    one.events.on('load-failed', (event) => told.push(event))
    const reads = [watch(one.name(42)), watch(one.name(42)), watch(one.name(1))]
    await world.clock.settle()
    expect(reads.map(({ error }) => codeOf(error))).toEqual(Array(3).fill('LOADER_FAILED'))
    expect(one.counters.loadFailures).toEqual(new Map([['LOADER_FAILED', 1]]))
    expect(one.counters.readFailures).toEqual(new Map([['LOADER_FAILED', 3]]))
    expect(told).toMatchObject([{ entity: 'city', ids: [42, 1], error: { code: 'LOADER_FAILED' } }])
  })
})
