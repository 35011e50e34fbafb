/**
 * What only PostgreSQL can do to the outbox: savepoints, SQL of others, indexes, connections that
 * break, and two instances that prune at once.
 */
import type { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { mostOwedCounted, mostRowsAPoll, outboxBatch } from '../../src/model/defaults.ts'
import { covers, formatSnapshot, type Snapshot, visible } from '../../src/model/snapshot.ts'
import type { Pool, RawClient } from '../../src/postgres/pool.ts'
import { connect, ownDatabase } from '../support/database.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { gate, required, until } from '../support/world.ts'
import { claimAll, idsOf, owed, progress } from './outbox-places.ts'
import {
  never,
  openPostgresPlace,
  type PostgresPlace,
  type PostgresPlaceOptions,
} from './postgres-place.ts'

const withoutL2 = { hasL2: false }

test('a poll brings what was recorded inside a savepoint when the whole transaction is visible', async () => {
  const place = await openPostgresPlace(withoutL2)
  const start = await place.poll()
  const transaction = await place.begin()
  await transaction.handle.raw('savepoint one')
  await transaction.handle.raw('select pg_current_xact_id()')
  await transaction.handle.raw('savepoint two')
  const { write } = await transaction.record([{ entity: 'thing', ids: ['inside'] }])
  await transaction.handle.raw('release savepoint two')
  await place.write('beside')
  const between = await place.poll(start.snapshot)
  expect(idsOf(between.rows)).toEqual(['beside'])
  expect(visible(write, between.snapshot)).toBe(false)
  await transaction.commit()
  const { rows, snapshot } = await place.poll(between.snapshot)
  expect(rows.map(({ ids, xid }) => ({ ids, xid }))).toEqual([{ ids: ['inside'], xid: write.xid }])
  expect(visible(write, snapshot)).toBe(true)
})

test('a row that seems to come from the future, since the clock was set back, waits for nobody', async () => {
  const place = await openPostgresPlace()
  const { rowIds } = await place.write('a')
  const claimed = (): Promise<number> =>
    place.outbox.claim('l2', 60_000, async ({ rows }) => rows.map(({ rowId }) => rowId), never)
  expect(await claimed()).toBe(0)
  await place.pool.knex.raw(
    `update lockstep.outbox set created_at = created_at + interval '1 hour' where row_id = any(?)`,
    [[...rowIds]],
  )
  expect(await claimed()).toBe(1)
})

test('a poll brings nothing of another namespace', async () => {
  const place = await openPostgresPlace()
  const start = await place.poll()
  await place.pool.knex.raw(
    `insert into lockstep.outbox (namespace, entity, ids) values (?, 'thing', '{a}')`,
    [`${place.namespace}x`],
  )
  expect((await place.poll(start.snapshot)).rows).toEqual([])
  expect(await owed(place)).toEqual([])
  expect((await progress(place)).owed.l2.rows).toBe(0)
  expect((await place.outbox.page(undefined, undefined, undefined, never)).rows).toEqual([])
  await place.pool.knex.raw('delete from lockstep.outbox where namespace = ?', [
    `${place.namespace}x`,
  ])
})

test('a namespace that nobody registered is told of as such', async () => {
  const place = await openPostgresPlace()
  await place.pool.knex.raw('delete from lockstep.namespaces where name = ?', [place.namespace])
  for (const call of [
    () => place.poll(),
    () => progress(place),
    () => place.outbox.page(undefined, undefined, undefined, never),
  ]) {
    await expect(call()).rejects.toThrow(`namespace "${place.namespace}" is not registered`)
  }
})

test('a claim whose connection breaks marks nothing, and its rows are handed out again', async () => {
  const place = await openPostgresPlace({ url: await ownDatabase() })
  const { rowIds } = await place.write('a')
  const held = gate()
  const breaks = place.outbox.claim('l2', 0, async () => held.pass().then(() => rowIds), never)
  await held.held
  await place.pool.knex.raw(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and state = 'idle in transaction'`,
  )
  held.open()
  await expect(breaks).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
  expect(await claimAll(place)).toEqual(['a'])
})

test('pruning by two at once moves the mark one retention, not two', async () => {
  const place = await openPostgresPlace(withoutL2)
  const others = await Promise.all(Array.from({ length: 3 }, () => place.another()))
  const { rows } = await place.pool.knex.raw(
    `update lockstep.namespaces set prune_next_at = clock_timestamp() - interval '1 hour'
     where name = ? returning prune_next::text as next`,
    [place.namespace],
  )
  const next = rows[0].next
  await place.write('a')
  await Promise.all([place, ...others].map(({ outbox }) => outbox.prune(60_000, never)))
  const { pruned } = await place.poll()
  expect(formatSnapshot(pruned)).toBe(next)
  expect(idsOf((await place.poll(pruned)).rows)).toEqual(['a'])
})

test('pruning is never seen before its mark: whoever misses a row finds the gap', async () => {
  const place = await openPostgresPlace(withoutL2)
  const other = await place.another()
  let rounds = 0
  while (rounds < 5) {
    const asleep = (await place.poll()).snapshot
    await place.write('a')
    let isPruned = false
    const pruning = (async () => {
      while ((await other.outbox.prune(0, never)) === 0);
      isPruned = true
    })()
    while (!isPruned) {
      const poll = await place.poll(asleep)
      const isThere = poll.rows.length > 0
      expect(isThere || !covers(asleep, poll.pruned)).toBe(true)
    }
    await pruning
    rounds++
  }
})

test('rows for a namespace that nobody has pruned for an hour are pruned along', async () => {
  const url = await ownDatabase()
  const place = await openPostgresPlace({ url, hasL2: false })
  const client = await connect(url)
  // Its instances are gone; `invalidate` in SQL goes on writing rows for it.
  for (const [name, minutes, hasL2, plane] of [
    ['gone', 61, false, 'outbox'],
    ['gone, with Kafka', 61, false, 'kafka:lockstep:4'],
    ['gone, with Redis', 61, true, 'outbox'],
    ['running', 50, false, 'outbox'],
  ] as const) {
    await client.query(
      `insert into lockstep.namespaces (name, has_l2, plane, prune_next_at)
       values ($1, $2, $3, clock_timestamp() - $4 * interval '1 minute')`,
      [name, hasL2, plane, minutes],
    )
  }
  const write = () =>
    client.query(
      `insert into lockstep.outbox (namespace, entity, ids, applied, published)
       select name, 'thing', array['a'], applied, applied
       from lockstep.namespaces, (values (true), (false)) as a (applied) where name <> $1`,
      [place.namespace],
    )
  const left = async () =>
    (
      await client.query(
        'select namespace, applied from lockstep.outbox order by namespace, applied',
      )
    ).rows.map(({ namespace, applied }) => `${namespace}: ${applied}`)
  await write()
  const anHourLater = () =>
    client.query(
      `update lockstep.namespaces set prune_next_at = prune_next_at - interval '61 minutes'
       where name like 'gone%'`,
    )
  // The mark that sees the rows is taken, then made known; only then they go.
  expect(await place.outbox.prune(60_000, never)).toBe(0)
  await anHourLater()
  expect(await place.outbox.prune(60_000, never)).toBe(0)
  await anHourLater()
  expect(await place.outbox.prune(60_000, never)).toBe(4)
  // Values of before may still lie in Redis, and somebody may still read the log.
  expect(await left()).toEqual([
    'gone, with Kafka: false',
    'gone, with Redis: false',
    'running: false',
    'running: true',
  ])
})

// ---------------------------------------------------------------- the plane

describe('an instance on another plane than its namespace', () => {
  const toKafka = ({ pool, namespace }: PostgresPlace) =>
    pool.knex.raw(`update lockstep.namespaces set plane = 'kafka:lockstep:4' where name = ?`, [
      namespace,
    ])

  test('marks nothing, and says so: nobody there has heard of its writes', async () => {
    const place = await openPostgresPlace()
    const { rowIds } = await place.write('a')
    await toKafka(place)
    await place.outbox.mark(rowIds, ['l2', 'log'], never)
    const told = await place.outbox.claim('l2', 0, async () => rowIds, never)
    expect(told).toBe(0)
    for (const name of ['l2', 'log'] as const) expect(await owed(place, name)).toEqual(['a'])
  })

  test('hides nothing of what is owed to the log there', async () => {
    const place = await openPostgresPlace({ hasL2: false })
    await place.write('a')
    expect((await progress(place)).owed.log.rows).toBe(0)
    await toKafka(place)
    expect((await progress(place)).owed.log.rows).toBe(1)
  })
})

// ---------------------------------------------------------------- a large outbox

describe('with 50,000 rows', () => {
  test('a poll reads indexes only, and is fast', async () => {
    const { place, statements, reading } = await openLarge()
    const { snapshot } = await place.poll()
    const long = await place.begin()
    const { write } = await long.record([{ entity: 'thing', ids: ['long'] }])
    await addRows(place, 10, true)
    const { snapshot: since } = await place.poll()
    expect(since.xip).toContain(write.xid)
    await place.write('new')
    await long.commit()
    statements.length = 0
    expect((await place.poll(since)).rows).toHaveLength(2)
    expect(statements).toHaveLength(1)
    expect((await place.poll(snapshot)).rows).toHaveLength(12)
    expect(await reading()).toMatchObject(few)
    expect(await medianMs(() => place.poll(since))).toBeLessThan(20)
  })

  test('so is progress, whatever one destination waits for that the other does not', async () => {
    const { place, statements, reading } = await openLarge({ hasLog: true })
    // All rows wait for the log; three for L2.
    await place.pool.knex.raw('update lockstep.outbox set published = false')
    await place.pool.knex.raw('vacuum analyze lockstep.outbox')
    await addRows(place, 3)
    statements.length = 0
    const asked = { l2: (await place.poll()).snapshot }
    const { owed: found } = await progress(place, asked)
    expect(found).toMatchObject({ l2: { rows: 3, isTold: false }, log: { rows: mostOwedCounted } })
    expect(await reading()).toMatchObject(few)
    expect(await medianMs(() => place.outbox.progress(asked, never))).toBeLessThan(100)
    await place.pool.knex.raw('update lockstep.outbox set published = true')
    await place.pool.knex.raw('vacuum analyze lockstep.outbox')
    statements.length = 0
    await progress(place, asked)
    expect(await reading()).toMatchObject(few)
    expect(await medianMs(() => place.outbox.progress(asked, never))).toBeLessThan(100)
  })

  test('so is a page: of the few new rows, and anywhere among all', async () => {
    const { place, statements, reading } = await openLarge()
    const { snapshot } = await place.poll()
    await addRows(place, 10)
    const { snapshot: until_ } = await place.poll()
    const page = (since?: Snapshot, after?: string) =>
      place.outbox.page(since, until_, after, never)
    statements.length = 0
    expect((await page(snapshot)).rows).toHaveLength(10)
    expect(await reading()).toMatchObject(few)
    expect(await medianMs(() => page(snapshot))).toBeLessThan(100)
    let after: string | undefined
    for (let turn = 0; turn < 60; turn++) after = (await page(undefined, after)).next
    statements.length = 0
    expect((await page(undefined, after)).rows).toHaveLength(outboxBatch)
    expect(await reading()).toMatchObject(few)
    expect(await medianMs(() => page(undefined, after))).toBeLessThan(100)
  })

  test('a poll that finds more new rows than it returns says that some are missing', async () => {
    const place = await openPostgresPlace({ url: await ownDatabase(), hasL2: false })
    const start = await place.poll()
    await addRows(place, mostRowsAPoll, true)
    expect(await place.poll(start.snapshot)).toMatchObject({ missed: false })
    await addRows(place, 1, true)
    const poll = await place.poll(start.snapshot)
    expect(poll.missed).toBe(true)
    expect((await place.poll(poll.snapshot)).missed).toBe(false)
  })

  test('a poll is fast although L2 has not been told of 50,000 writes', async () => {
    const place = await openPostgresPlace({ url: await ownDatabase() })
    await addRows(place, 50_000)
    const { snapshot } = await place.poll()
    await place.write('new')
    const poll = await place.poll(snapshot)
    expect(idsOf(poll.rows)).toEqual(['new'])
    expect(poll.missed).toBe(false)
    expect(await medianMs(() => place.poll(snapshot))).toBeLessThan(20)
  })
})

// ---------------------------------------------------------------- connections

describe('connections', () => {
  test('a tail whose connection was killed goes on with the next poll, and misses nothing', async () => {
    const pids: number[] = []
    const place = await openPostgresPlace({ wrap: (pool) => noting(pool, pids), hasL2: false })
    const { snapshot } = await place.poll()
    await kill(place, pids.at(-1))
    await place.write('meanwhile')
    const poll = await place.poll(snapshot).catch(() => place.poll(snapshot))
    expect(idsOf(poll.rows)).toEqual(['meanwhile'])
    expect(new Set(pids).size).toBeGreaterThan(1)
  })

  test('a poll under way when its connection is killed rejects, and the next goes on', async () => {
    const url = await ownDatabase()
    const pids: number[] = []
    const place = await openPostgresPlace({ url, wrap: (pool) => noting(pool, pids) })
    const locked = await lockOutbox(url)
    const polling = place.poll()
    polling.catch(() => {})
    await locked.somebodyWaits()
    await kill(place, pids.at(-1))
    await expect(polling).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
    await locked.release()
    expect((await place.poll()).rows).toEqual([])
  })

  test('a poll that is given up rejects at once, and leaves no connection behind', async () => {
    const url = await ownDatabase()
    const pids: number[] = []
    const place = await openPostgresPlace({ url, wrap: (pool) => noting(pool, pids) })
    const locked = await lockOutbox(url)
    const giveUp = new AbortController()
    const polling = place.poll(undefined, giveUp.signal)
    polling.catch(() => {})
    await locked.somebodyWaits()
    giveUp.abort()
    await expect(polling).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
    await locked.release()
    await until('its backend is gone', async () => !(await isRunning(place, pids.at(-1))))
    expect((await place.poll()).rows).toEqual([])
  })

  test.each(['claim', 'mark', 'prune'] as const)(
    'a %s that is given up rejects at once, changes nothing and gives its connection back',
    async (act) => {
      const url = await ownDatabase()
      const place = await openPostgresPlace({ url, poolSize: 1 })
      const { rowIds } = await place.write('a')
      const locked = await lockOutbox(url)
      for (let turn = 0; turn < 3; turn++) {
        const giveUp = new AbortController()
        const doing = {
          claim: () => place.outbox.claim('l2', 0, async () => rowIds, giveUp.signal),
          mark: () => place.outbox.mark(rowIds, ['l2'], giveUp.signal),
          prune: () => place.outbox.prune(0, giveUp.signal),
        }[act]()
        doing.catch(() => {})
        await locked.somebodyWaits()
        giveUp.abort()
        await expect(doing).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
      }
      await locked.release()
      expect(await owed(place)).toEqual(['a'])
      expect(await claimAll(place)).toEqual(['a'])
    },
  )

  test('nothing is begun under a signal that has aborted', async () => {
    const place = await openPostgresPlace()
    const { rowIds } = await place.write('a')
    const gone = AbortSignal.abort()
    const calls = [
      () => place.poll(undefined, gone),
      () => place.outbox.claim('l2', 0, async () => rowIds, gone),
      () => place.outbox.mark(rowIds, ['l2'], gone),
      () => place.outbox.prune(0, gone),
    ]
    for (const call of calls) await expect(call()).rejects.toThrow()
    expect(await owed(place)).toEqual(['a'])
  })

  test('a connection that comes after its poll was given up is closed, and disturbs no other poll', async () => {
    const proxy = await openTcpProxy(required('DATABASE_URL'))
    const place = await openPostgresPlace()
    const { poll, outbox } = await openPostgresPlace({
      url: proxy.through(required('DATABASE_URL')),
    })
    outbox.close()
    await until('it has no connection', () => proxy.open === 0)
    const slow = proxy.holdNext()
    const giveUp = new AbortController()
    const given = poll(undefined, giveUp.signal)
    given.catch(() => {})
    await slow.accepted
    giveUp.abort()
    // The tail does not wait for it.
    const { snapshot } = await poll()
    slow.release()
    await expect(given).rejects.toThrow()
    await place.write('a')
    expect(idsOf((await poll(snapshot)).rows)).toEqual(['a'])
    outbox.close()
    await until('the tail has let go of all it opened', () => proxy.open === 0)
  })

  test('a database that cannot be reached is told as such, without its password', async () => {
    const url = new URL(required('DATABASE_URL'))
    url.password = 'hunter2'
    const proxy = await openTcpProxy(url.href)
    const place = await openPostgresPlace({ url: proxy.through(url.href) })
    await proxy.refuse()
    const calls = [
      () => place.poll(),
      () => place.outbox.mark([], ['l2'], never),
      () => place.outbox.prune(1, never),
    ]
    for (const call of calls) {
      const error = await call().catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
      expect(String(error)).not.toContain('hunter2')
    }
    await proxy.pass()
    await until('it is found again', () =>
      place.poll().then(
        () => true,
        () => false,
      ),
    )
  })

  describe('a tail that listens', () => {
    const listening = async (options: PostgresPlaceOptions = {}) => {
      const pids: number[] = []
      const place = await openPostgresPlace({ ...options, wrap: (pool) => noting(pool, pids) })
      let wakes = 0
      place.outbox.listen(() => wakes++)
      await place.poll()
      return {
        place,
        pids,
        isWoken: async (by: PostgresPlace) => {
          const before = wakes
          await by.outbox.notify(never)
          await until('it is woken', () => wakes > before)
        },
        wakes: () => wakes,
      }
    }

    test('is woken by another instance, and again on the connection after one that broke', async () => {
      const { place, pids, isWoken } = await listening()
      const other = await place.another()
      await isWoken(other)
      await kill(place, pids.at(-1))
      await place.poll().catch(() => place.poll())
      expect(new Set(pids).size).toBeGreaterThan(1)
      await isWoken(other)
    })

    test('is not woken by another namespace', async () => {
      const { place, wakes, isWoken } = await listening()
      const client = await connect(required('DATABASE_URL'))
      await client.query('select pg_notify($1, $2)', ['lockstep', `${place.namespace}x`])
      await client.query('select pg_notify($1, $2)', ['other', place.namespace])
      // Notifications come in the order in which they were sent.
      await isWoken(place)
      expect(wakes()).toBe(1)
    })

    test('whose LISTEN is not answered is given up, and listens with the next poll', async () => {
      const url = required('DATABASE_URL')
      const proxy = await openTcpProxy(url)
      const { place, isWoken } = await listening({ url: proxy.through(url) })
      place.outbox.close()
      await until('it has no connection', () => proxy.open === 0)
      for (const act of ['hang reply', 'cut reply'] as const) {
        const acted = proxy.at('listen lockstep', act)
        const giveUp = new AbortController()
        const given = place.poll(undefined, giveUp.signal)
        given.catch(() => {})
        await acted
        giveUp.abort()
        await expect(given).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
      }
      await place.poll()
      await isWoken(place)
    })
  })

  test.each(['read committed', 'repeatable read', 'serializable'])(
    'one of many relays, and the others are told so, where %s is the default isolation',
    async (isolation) => {
      const url = await ownDatabase()
      const client = await connect(url)
      await client.query(
        `alter database ${new URL(url).pathname.slice(1)} set default_transaction_isolation = '${isolation}'`,
      )
      const place = await openPostgresPlace({ url })
      const places = [place, ...(await Promise.all([1, 2, 3].map(() => place.another())))]
      for (let round = 0; round < 20; round++) {
        const answers = await Promise.all(
          places.map(({ outbox }, index) => outbox.lead(`instance ${index}`, never)),
        )
        expect(answers.filter(Boolean)).toHaveLength(1)
        for (const { outbox } of places) outbox.resign()
        await until('nobody relays', async () => (await place.poll()).isRelayDue)
      }
    },
  )

  test('an instance that relays and loses its connection relays no more, until it is asked to', async () => {
    const pids: number[] = []
    const place = await openPostgresPlace({ wrap: (pool) => noting(pool, pids) })
    const other = await place.another()
    await progress(place)
    await kill(place, pids.at(-1))
    const cutOff = place.outbox.progress({}, never)
    await expect(cutOff).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
    const again = place.outbox.progress({}, never)
    await expect(again).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
    await until('the other one relays', () => other.outbox.lead('other', never))
    expect(await place.outbox.lead('one', never)).toBe(false)
    await expect(place.outbox.progress({}, never)).rejects.toThrow('another instance may relay')
  })

  test('a relay keeps no xid, and no snapshot but its last one: vacuum and replicas wait for no other', async () => {
    const pids: number[] = []
    const place = await openPostgresPlace({ wrap: (pool) => noting(pool, pids) })
    const kept = async () => {
      const { rows } = await place.pool.knex.raw(
        `select state, backend_xid as xid, coalesce(backend_xmin::text::bigint, -1)::int as xmin
         from pg_stat_activity where pid = ?`,
        [pids.at(-1) as number],
      )
      return rows[0]
    }
    await place.outbox.lead('one', never)
    expect(await kept()).toEqual({ state: 'idle in transaction', xid: null, xmin: -1 })
    await place.outbox.progress({}, never)
    const first = await kept()
    expect(first.xid).toBeNull()
    await place.write('a')
    await until('what others had open has ended, and its snapshot has moved on', async () => {
      await place.outbox.progress({}, never)
      const { xid, xmin } = await kept()
      expect(xid).toBeNull()
      return xmin > first.xmin
    })
  })

  test('a close ends the tail, and only the tail', async () => {
    const pids: number[] = []
    const place = await openPostgresPlace({ wrap: (pool) => noting(pool, pids) })
    await place.poll()
    place.outbox.close()
    await until('its backend is gone', async () => !(await isRunning(place, pids.at(-1))))
    await place.write('a')
    place.outbox.close()
  })
})

// ---------------------------------------------------------------- helpers

/** Rows as a writer in this namespace leaves them, in one transaction. */
async function addRows(place: PostgresPlace, count: number, applied = false): Promise<void> {
  await place.pool.knex.raw(
    `insert into lockstep.outbox (namespace, entity, ids, applied)
     select ?, 'thing', array['row ' || n], ? from generate_series(1, ?::int) n`,
    [place.namespace, applied, count],
  )
}

/** 50,000 rows of many writes that everybody was told of, in a database of its own. */
async function openLarge(options: PostgresPlaceOptions = {}) {
  const statements: Statement[] = []
  const url = await ownDatabase()
  const place = await openPostgresPlace({
    ...options,
    url,
    wrap: (pool) => recording(pool, statements),
  })
  await place.pool.knex.raw('alter table lockstep.outbox set (autovacuum_enabled = off)')
  // As writers do, each in a transaction of its own, in an order of their own.
  await place.pool.knex.raw(
    `insert into lockstep.outbox (namespace, xid, entity, ids, applied, published)
     select ?, (3 + n * 7919 % (own.xid - 3))::text::xid8, 'thing', array['row ' || n], true, true
     from generate_series(1, 50000) n, (select pg_current_xact_id()::text::bigint as xid) own`,
    [place.namespace],
  )
  await place.pool.knex.raw('vacuum analyze lockstep.outbox')
  return {
    place,
    statements,
    /** How the last statement read the outbox, and the rows that it read for nothing. */
    reading: async () => {
      const plan = await explain(await connect(url), statements.at(-1) as Statement)
      return { scans: scansOf(plan), inVain: removedIn(plan) }
    },
  }
}

/** By indexes only, and not all that they lead to. */
const few = {
  scans: expect.not.arrayContaining(['Seq Scan']),
  inVain: expect.toSatisfy((rows: number) => rows < 100),
}

interface Statement {
  readonly text: string
  readonly values: readonly unknown[]
}

/** A pool whose connections write down what they are asked about the outbox. */
function recording(pool: Pool, statements: Statement[]): Pool {
  const client = pool.knex.client as RawClient
  const acquire = client.acquireRawConnection.bind(client)
  client.acquireRawConnection = async () => {
    const connection = await acquire()
    const query = connection.query.bind(connection) as (...args: unknown[]) => unknown
    connection.query = ((text: unknown, values: readonly unknown[], ...more: unknown[]) => {
      if (/lockstep\.outbox/.test(String(text))) statements.push({ text: String(text), values })
      return query(text, values, ...more)
    }) as never
    return connection
  }
  return pool
}

/** A pool that notes the process ids of the backends of its own connections. */
function noting(pool: Pool, pids: number[]): Pool {
  return {
    ...pool,
    connect: async () => {
      const connection = await pool.connect()
      const { rows } = await connection.query<{ pid: number }>('select pg_backend_pid() as pid')
      pids.push(rows[0]?.pid as number)
      return connection
    },
  }
}

async function kill({ pool }: PostgresPlace, pid: number | undefined): Promise<void> {
  await pool.knex.raw('select pg_terminate_backend(?::int)', [pid as number])
  await until('it has ended', async () => {
    const { rows } = await pool.knex.raw('select from pg_stat_activity where pid = ?', [
      pid as number,
    ])
    return rows.length === 0
  })
}

async function isRunning({ pool }: PostgresPlace, pid: number | undefined): Promise<boolean> {
  const { rows } = await pool.knex.raw('select from pg_stat_activity where pid = ?', [
    pid as number,
  ])
  return rows.length > 0
}

/** The outbox of a database, locked against everybody until it is released. */
async function lockOutbox(url: string) {
  const client = await connect(url)
  const watching = await connect(url)
  await client.query(
    'begin; lock table lockstep.outbox, lockstep.namespaces in access exclusive mode',
  )
  return {
    somebodyWaits: () =>
      until('somebody waits for the lock', async () => {
        const { rows } = await watching.query(
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        return rows.length > 0
      }),
    release: () => client.query('rollback'),
  }
}

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Rows Removed by Filter'?: number
  readonly 'Actual Loops'?: number
  readonly Plans?: readonly Plan[]
}

async function explain(client: Client, { text, values }: Statement): Promise<Plan> {
  const { rows } = await client.query(`explain (analyze, format json) ${text}`, [...values])
  return rows[0]['QUERY PLAN'][0].Plan
}

/** How the outbox is read, at each place of the plan. */
function scansOf(plan: Plan): readonly string[] {
  const below = (plan.Plans ?? []).flatMap(scansOf)
  const isOutbox = plan['Relation Name'] === 'outbox'
  return isOutbox ? [plan['Node Type'], ...below] : below
}

function removedIn(plan: Plan): number {
  const { 'Rows Removed by Filter': removed = 0, 'Actual Loops': loops = 1 } = plan
  return removed * loops + (plan.Plans ?? []).reduce((sum, one) => sum + removedIn(one), 0)
}

async function medianMs(call: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let turn = 0; turn < 5; turn++) {
    const began = performance.now()
    await call()
    times.push(performance.now() - began)
  }
  return times.sort((a, b) => a - b)[2] as number
}
