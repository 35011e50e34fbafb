/** Loads from replicas: hot standbys that are up to date, lag, are down, hang, are promoted, or follow another server. */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { assemble, lockstep } from '../../src/lockstep.ts'
import type { Timing } from '../../src/model/defaults.ts'
import type { Logger } from '../../src/model/log.ts'
import type { Db } from '../../src/postgres/pool.ts'
import type { Parts } from '../../src/running-cache.ts'
import { entity } from '../../src/types.ts'
import { connect, migratedDatabase } from '../support/database.ts'
import { all, withOutbox, withoutDoubts, withoutFastPlane, withReplicas } from '../support/parts.ts'
import { type ReplicatedPostgres, startReplicated } from '../support/servers.ts'
import { brokenReplicas, type Standby, standbyOf } from '../support/standby.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import {
  bump,
  type Gate,
  gate,
  openWorld,
  required,
  until,
  untilMarked,
  untilProven,
  type World,
} from '../support/world.ts'

const rows = 5_000
/** Nothing but what a test does takes an xid. */
const config = { autovacuum: 'off' }

let servers: ReplicatedPostgres
const ends: (() => Promise<void> | void)[] = []
beforeAll(async () => {
  servers = await startReplicated(1, { config, atEnd: (end) => ends.push(end) })
  await migratedDatabase(servers.primary)
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
})

/** A row, and who served it. */
interface Served {
  readonly id: number
  readonly version: number
  readonly standby: boolean
}

interface Opened {
  readonly replicas?: readonly string[]
  readonly replace?: (parts: Parts) => Parts
  readonly timing?: Timing
  readonly isolation?: 'read committed' | 'repeatable read'
  readonly redis?: string | undefined
  readonly logger?: Logger
  readonly afterRead?: (db: Db, rows: readonly Served[]) => Promise<unknown>
}

async function openCache(world: World, opened: Opened = {}) {
  const item = entity('item', {
    load: async (ids: number[], { db }) => {
      const found = await db(world.table)
        .select('id', 'version', db.raw('pg_is_in_recovery() as standby'))
        .whereIn('id', ids)
      await opened.afterRead?.(db, found)
      return found as Served[]
    },
    id: (row) => row.id,
    ...(opened.isolation ? { isolation: opened.isolation } : {}),
  })
  const cache = await assemble(
    {
      namespace: world.namespace,
      postgres: { primary: world.databaseUrl, replicas: opened.replicas ?? [] },
      redis: 'redis' in opened ? opened.redis : required('REDIS_URL'),
      entities: { item },
      timing: {
        redisDeadline: '2s',
        loadDeadline: '8s',
        readDeadline: '20s',
        writeDeadline: '5s',
        ...opened.timing,
      },
      ...(opened.logger ? { logger: opened.logger } : {}),
    },
    opened.replace ?? ((parts) => parts),
  )
  onTestFinished(() => cache.close({ timeout: 0 }))
  return cache
}

type ServedCache = Awaited<ReturnType<typeof openCache>>

async function openReplicated(from = servers): Promise<{ world: World; standby: Standby }> {
  const world = await openWorld({ databaseUrl: from.primary.url })
  await world.sql(`insert into ${world.table} (id) select generate_series(51, ${rows})`)
  const standby = await standbyOf(from.primary.url, from.standbys[0]?.url ?? '')
  await standby.catchUp()
  return { world, standby }
}

let lastId = 100
/** An id that no tier has, and nobody has written. */
const nextId = (): number => (lastId = 100 + ((lastId + 1 - 100) % (rows - 100)))

async function untilServedBy(who: 'standby' | 'primary', cache: ServedCache): Promise<void> {
  await until(`the ${who} serves`, async () => {
    return (await cache.item.get(nextId()))?.standby === (who === 'standby')
  })
}

/** Reads one id after the other until the load of one is held on the replica. */
async function readUntilHeld(cache: ServedCache, held: Gate) {
  for (;;) {
    const answer = cache.item.get(nextId())
    const isHeld = await Promise.race([held.held.then(() => true), answer.then(() => false)])
    if (isHeld) return { answer }
  }
}

const write = async (cache: ServedCache, world: World, id: number): Promise<string> =>
  (await cache.item.write(id, (tx) => bump(tx, world.table, id))).ticket

/** The fence and the value of an id are evicted. */
const evict = (world: World, id: number): Promise<number> =>
  world.redis.del(world.fenceKey(id), world.valueKey(id))

function logged(): { readonly logger: Logger; readonly told: string[] } {
  const told: string[] = []
  const tell = (_: object, message: string): void => {
    if (message.includes('replica')) told.push(message)
  }
  const nothing = (): void => {}
  return { told, logger: { debug: nothing, info: tell, warn: tell, error: nothing } }
}

test.each(['read committed', 'repeatable read'] as const)(
  'loads under %s go to a replica that has caught up, and what it brings is cached',
  async (isolation) => {
    const { world } = await openReplicated()
    const cache = await openCache(world, { replicas: [servers.standbys[0]?.url ?? ''], isolation })
    await untilServedBy('standby', cache)
    let id = 0
    await until('a row of the replica is in L1', async () => {
      id = nextId()
      return (await cache.item.get(id))?.standby === true && cache.item.peek(id) !== undefined
    })
    await until('and in Redis', async () => (await world.redis.exists(world.valueKey(id))) === 1)
  },
)

test('strong reads go to the primary, however good the replica is', async () => {
  const { world, standby } = await openReplicated()
  const cache = await openCache(world, { replicas: [standby.url] })
  await untilServedBy('standby', cache)
  const ids = Array.from({ length: 20 }, nextId)
  const strong = await Promise.all(ids.map((id) => cache.item.get(id, { consistency: 'strong' })))
  expect(strong.map((row) => row?.standby)).toEqual(ids.map(() => false))
})

test.each<[what: string, redis: boolean]>([
  ['with Redis', true],
  ['without Redis', false],
])(
  '%s no read misses a write while the replica stands still, and it serves again when it goes on',
  async (_, hasRedis) => {
    const { world, standby } = await openReplicated()
    const redis = hasRedis ? required('REDIS_URL') : undefined
    const timing = { stalenessBound: '400ms', pollInterval: '50ms' } as const
    const reading = await openCache(world, { replicas: [standby.url], timing, redis })
    const writing = await openCache(world, { timing, redis })
    await untilServedBy('standby', reading)
    const [strong, ticketed, known] = [nextId(), nextId(), nextId()]
    await reading.item.get(known)
    await standby.catchUp()
    await standby.pause()
    for (const id of [strong, ticketed, known]) await write(writing, world, id)
    const ticket = await write(writing, world, ticketed)
    expect(await reading.item.get(strong, { consistency: 'strong' })).toMatchObject({ version: 1 })
    expect(await reading.item.get(ticketed, { ticket })).toMatchObject({ version: 2 })
    await until('L1 has heard of it', () => reading.item.peek(known)?.version !== 0)
    expect(await reading.item.get(known)).toMatchObject({ version: 1, standby: false })
    await standby.resume()
    await untilServedBy('standby', reading)
    await standby.catchUp()
    expect(await reading.item.get(known, { ticket })).toMatchObject({ version: 1 })
  },
)

/**
 * The replica stands still and has missed a write, of which Redis has forgotten; a bounded read
 * comes, of an instance whose newest probe is of before. What it is answered, and what Redis has.
 */
async function evictedFence(replace?: (parts: Parts) => Parts) {
  const { world, standby } = await openReplicated()
  const timing = { pollInterval: '10s', stalenessBound: '30s', outboxRetention: '5m' } as const
  // Relays, and so comes first: the other one would do it as seldom as it polls.
  const writing = await openCache(world, { timing: { delayedDelete: '1m' } })
  const reading = await openCache(world, {
    replicas: [standby.url],
    timing: { ...timing, delayedDelete: '1m' },
    replace: all(withoutFastPlane, replace ?? ((parts) => parts)),
  })
  await untilServedBy('standby', reading)
  const id = nextId()
  await standby.pause()
  await write(writing, world, id)
  await untilMarked(world)
  await evict(world, id)
  const answer = await reading.item.get(id)
  await until('the fill was answered', () => {
    const { fills, refusedFills } = reading.stats().item
    return fills + refusedFills >= reading.stats().item.loadedIds
  })
  await untilProven(writing)
  const strong = await writing.item.get(id, { consistency: 'strong' })
  return { bounded: answer?.version, strong: strong?.version }
}

test('a replica that misses a write whose fence was evicted fills nothing', async () => {
  expect(await evictedFence()).toEqual({ bounded: 1, strong: 1 })
})

test('that is noticed where a replica need not cover the primary', async () => {
  const broken = withReplicas(brokenReplicas(servers.standbys[0]?.url ?? '', 'anything'))
  expect(await evictedFence(broken)).toEqual({ bounded: 0, strong: 0 })
})

/**
 * The replica stands still where a younger transaction has ended and an older one has not, which its
 * snapshot doesn't list; the older one commits. What a read is answered.
 */
async function olderTransaction(replace?: (parts: Parts) => Parts) {
  const { world, standby } = await openReplicated()
  // A mark would take an xid, and the replica would be behind by that alone.
  const unmarked = withOutbox(() => ({ mark: async () => {}, claim: async () => 0 }))
  const reading = await openCache(world, {
    replicas: [standby.url],
    replace: all(unmarked, replace ?? ((parts) => parts)),
  })
  const writing = await openCache(world, { replace: unmarked })
  const [id, other] = [nextId(), nextId()]
  const held = gate()
  const older = writing.item.write(id, async (tx) => {
    const written = await bump(tx, world.table, id)
    await held.pass()
    return written
  })
  await held.held
  await write(writing, world, other)
  await standby.catchUp()
  await standby.pause()
  held.open()
  await older
  const answer = await reading.item.get(id)
  await reading.close()
  await writing.close()
  await standby.resume()
  // Tells Redis of the writes, and of no more than that.
  const relaying = await openCache(world, { timing: { delayedDelete: '1m' } })
  await untilProven(relaying)
  const strong = await relaying.item.get(id, { consistency: 'strong' })
  return { bounded: answer?.version, strong: strong?.version }
}

test('what a standby does not list as in progress does not count as seen', async () => {
  expect(await olderTransaction()).toEqual({ bounded: 1, strong: 1 })
})

test('that is noticed where everything below xmax counts as seen', async () => {
  const broken = withReplicas(brokenReplicas(servers.standbys[0]?.url ?? '', 'below xmax'))
  expect(await olderTransaction(broken)).toEqual({ bounded: 0, strong: 0 })
})

test('a transaction that stays open on the primary keeps no replica from being asked', async () => {
  const { world, standby } = await openReplicated()
  const open = await connect(world.databaseUrl)
  await open.query(`begin; update ${world.table} set version = version where id = 1`)
  const cache = await openCache(world, { replicas: [standby.url] })
  for (let turn = 0; turn < 5; turn++) await write(cache, world, nextId())
  await untilServedBy('standby', cache)
  await open.query('rollback')
})

/** Reads and writes of a few keys in three processes, while the replica stops and goes on and Redis evicts. */
async function race(replace?: (parts: Parts) => Parts): Promise<readonly string[]> {
  const { world, standby } = await openReplicated()
  const boundMs = 400
  const timing = { stalenessBound: boundMs, pollInterval: '50ms' } as const
  const reading = { replicas: [standby.url], timing, ...(replace ? { replace } : {}) }
  const caches = [
    await openCache(world, { ...reading, isolation: 'repeatable read' }),
    await openCache(world, reading),
    await openCache(world, { timing }),
  ] as const
  const until = performance.now() + 1_500
  const wrong: string[] = []
  const versions = new Map<number, { version: number; atMs: number; ticket: string }[]>()
  const loop = async (act: () => Promise<unknown>): Promise<void> => {
    while (performance.now() < until) await act()
  }
  const random = (count: number): number => Math.floor(Math.random() * count)
  const writeOne = async (): Promise<void> => {
    const id = 1 + random(3)
    const cache = caches[random(3)] as ServedCache
    const { value, ticket, fenced } = await cache.item.write(id, (tx) => bump(tx, world.table, id))
    const version = value[0]?.version ?? 0
    if (!fenced) wrong.push('a write is not fenced')
    versions.set(id, [...(versions.get(id) ?? []), { version, atMs: performance.now(), ticket }])
    await new Promise((resolve) => setTimeout(resolve, random(20)))
  }
  const readOne = async (): Promise<void> => {
    const id = 1 + random(3)
    const cache = caches[random(2)] as ServedCache
    const kind = random(3)
    const before = versions.get(id) ?? []
    const one = before[random(before.length)]
    const beganAtMs = performance.now()
    const request =
      kind === 0
        ? { consistency: 'strong' as const }
        : one && kind === 1
          ? { ticket: one.ticket }
          : {}
    const due = before.filter(({ version, atMs, ticket }) => {
      if ('ticket' in request) return ticket === request.ticket && version >= 0
      return 'consistency' in request || atMs < beganAtMs - boundMs
    })
    const row = await cache.item.get(id, request)
    const least = Math.max(0, ...due.map(({ version }) => version))
    if ((row?.version ?? 0) < least) {
      wrong.push(
        `${JSON.stringify(request)}: ${row?.version}, ${least} was due (standby: ${row?.standby})`,
      )
    }
  }
  const stopAndGo = async (): Promise<void> => {
    await standby.pause()
    await new Promise((resolve) => setTimeout(resolve, random(150)))
    await standby.resume()
    await new Promise((resolve) => setTimeout(resolve, random(150)))
  }
  const forget = async (): Promise<void> => {
    await evict(world, 1 + random(3))
    await new Promise((resolve) => setTimeout(resolve, random(10)))
  }
  await Promise.all([
    loop(writeOne),
    loop(stopAndGo),
    loop(forget),
    ...Array.from({ length: 4 }, () => loop(readOne)),
  ])
  return wrong
}

test('no read is older than it was promised to be, while the replica stops and goes and Redis evicts', async () => {
  expect(await race()).toEqual([])
})

test('the race notices replicas that need not cover the primary', async () => {
  const broken = withReplicas(brokenReplicas(servers.standbys[0]?.url ?? '', 'anything'))
  expect((await race(all(withoutDoubts, broken))).length).toBeGreaterThan(0)
})

test('what replay cancels on the replica is asked of the primary', async () => {
  const { world, standby } = await openReplicated()
  // Replay waits for nobody.
  await standby.set('max_standby_streaming_delay', '0')
  const asked: boolean[] = []
  const reached = gate()
  let isSlow = false
  const cache = await openCache(world, {
    replicas: [standby.url],
    isolation: 'repeatable read',
    afterRead: async (db, found) => {
      asked.push(found[0]?.standby ?? false)
      if (!isSlow || !found[0]?.standby) return
      void reached.pass()
      await db.raw('select pg_sleep(20)')
    },
  })
  await untilServedBy('standby', cache)
  isSlow = true
  const read = await readUntilHeld(cache, reached)
  await world.sql(`delete from ${world.table} where id = 50`)
  await world.sql(`vacuum ${world.table}`)
  expect(await read.answer).toMatchObject({ version: 0, standby: false })
  expect(asked.slice(-2)).toEqual([true, false])
})

test('a replica that is down costs nothing, and is used again when it is back', async () => {
  const { world, standby } = await openReplicated()
  const proxy = await openTcpProxy(standby.url)
  const { logger, told } = logged()
  const cache = await openCache(world, { replicas: [proxy.through(standby.url)], logger })
  await untilServedBy('standby', cache)
  await proxy.refuse()
  for (let turn = 0; turn < 20; turn++) {
    expect(await cache.item.get(nextId())).toMatchObject({ version: 0, standby: false })
  }
  expect(told).toEqual(['a replica cannot be asked; the primary is'])
  await proxy.pass()
  await untilServedBy('standby', cache)
  expect(told).toHaveLength(2)
})

test('a replica that hangs costs a part of one load’s deadline, then nothing', async () => {
  const { world, standby } = await openReplicated()
  const proxy = await openTcpProxy(standby.url)
  const loadDeadline = 4_000
  const cache = await openCache(world, {
    replicas: [proxy.through(standby.url)],
    timing: { loadDeadline },
  })
  await untilServedBy('standby', cache)
  proxy.hang()
  const tookMs: number[] = []
  for (let turn = 0; turn < 10; turn++) {
    const beganAt = performance.now()
    expect(await cache.item.get(nextId())).toMatchObject({ version: 0, standby: false })
    tookMs.push(performance.now() - beganAt)
  }
  expect(Math.max(...tookMs)).toBeLessThan(loadDeadline)
  expect(tookMs.filter((ms) => ms > loadDeadline / 5).length).toBe(1)
})

test('of two replicas one that is down leaves the loads to the other; both are closed', async () => {
  const { world, standby } = await openReplicated()
  const nobody = 'postgres://postgres:secret-word@127.0.0.1:1/none'
  const { logger, told } = logged()
  const cache = await openCache(world, { replicas: [nobody, standby.url], logger })
  await untilServedBy('standby', cache)
  await untilServedBy('standby', cache)
  expect(told.join()).not.toContain('secret-word')
  await cache.close()
  const connections = `select from pg_stat_activity where application_name = 'lockstep'`
  await until('no connection is left', async () => {
    return (await standby.client.query(connections)).rows.length === 0
  })
})

test.each<[what: string, option: string, postgres: object]>([
  ['no primary', 'postgres.primary', { replicas: [] }],
  ['a word beside the two', 'postgres.standbys', { primary: 'postgres://x', standbys: [] }],
  ['one URL for many', 'postgres.replicas', { primary: 'postgres://x', replicas: 'postgres://y' }],
  ['nothing for one', 'postgres.replicas[1]', { primary: 'x', replicas: ['postgres://y', ''] }],
  ['what is no URL', 'postgres.replicas[0]', { primary: 'postgres://x', replicas: ['y'] }],
])('%s is told by the name of the option', async (_, option, postgres) => {
  const item = entity('item', {
    load: async (ids: number[]) => ids.map((id) => ({ id })),
    id: ({ id }) => id,
  })
  const start = lockstep({ namespace: 'none', postgres: postgres as never, entities: { item } })
  await expect(start).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringContaining(`"${option}"`),
  })
})

test('a promoted replica is asked nothing more, nor is one that follows another server', async () => {
  const two = await startReplicated(2, { config })
  await migratedDatabase(two.primary)
  const { world, standby } = await openReplicated(two)
  const other = await standbyOf(two.primary.url, two.standbys[1]?.url ?? '')
  const { logger, told } = logged()
  const held = gate()
  let isHeld = false
  const versions = new Set<number | undefined>()
  const cache = await openCache(world, {
    replicas: [standby.url],
    logger,
    afterRead: async (_, found) => {
      versions.add(found[0]?.version)
      if (isHeld && found[0]?.standby) await held.pass()
    },
  })
  await untilServedBy('standby', cache)
  await standby.catchUp()
  isHeld = true
  // Promoted in the middle of a load, whose rows are those of before.
  const reading = await readUntilHeld(cache, held)
  await standby.promote()
  held.open()
  expect(await reading.answer).toMatchObject({ version: 0, standby: false })
  // Its xids run ahead of the primary's: it would cover whatever the primary shows.
  await standby.client.query(`update ${world.table} set version = 99`)
  for (let turn = 0; turn < 30; turn++) await standby.client.query('select pg_current_xact_id()')
  const later = await openCache(world, {
    replicas: [standby.url],
    logger,
    afterRead: async (_, found) => versions.add(found[0]?.version),
  })
  for (let turn = 0; turn < 20; turn++) {
    expect(await cache.item.get(nextId())).toMatchObject({ version: 0, standby: false })
    expect(await later.item.get(nextId())).toMatchObject({ version: 0, standby: false })
  }
  expect(told.map((one) => one.includes('no standby'))).toEqual([true, true])
  expect([...versions]).toEqual([0])
  await cache.close()
  await later.close()

  // The promoted one is the primary of another cache, and the other standby still follows the old one.
  await world.sql(`update ${world.table} set version = 7`)
  for (let turn = 0; turn < 60; turn++) await world.sql('select pg_current_xact_id()')
  await other.catchUp()
  const onPromoted = await openCache(
    { ...world, databaseUrl: standby.url, namespace: `${world.namespace}-promoted` },
    { replicas: [other.url], logger },
  )
  for (let turn = 0; turn < 20; turn++) {
    expect(await onPromoted.item.get(nextId())).toMatchObject({ version: 99, standby: false })
  }
  expect(told.at(-1)).toContain('does not follow the primary')
})
