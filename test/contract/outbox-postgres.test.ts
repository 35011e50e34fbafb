/**
 * What only PostgreSQL can do to the outbox: savepoints, SQL of others, indexes, connections that
 * break, and two instances that prune at once.
 */
import type { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { mostRowsAPoll } from '../../src/model/defaults.ts'
import type { OutboxRow } from '../../src/model/ports.ts'
import { covers, formatSnapshot, visible } from '../../src/model/snapshot.ts'
import type { Pool } from '../../src/postgres/pool.ts'
import { connect, ownDatabase } from '../support/database.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { gate, required, until } from '../support/world.ts'
import { never, openPostgresPlace, type PostgresPlace } from './postgres-place.ts'

function idsOf(rows: readonly OutboxRow[]): readonly string[] {
  return rows.flatMap(({ ids }) => ids).sort()
}

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

test('a poll brings nothing of another namespace', async () => {
  const place = await openPostgresPlace()
  const start = await place.poll()
  await place.pool.knex.raw(
    `insert into lockstep.outbox (namespace, entity, ids) values (?, 'thing', '{a}')`,
    [`${place.namespace}x`],
  )
  expect((await place.poll(start.snapshot)).rows).toEqual([])
  expect((await place.poll()).rows).toEqual([])
  await place.pool.knex.raw('delete from lockstep.outbox where namespace = ?', [
    `${place.namespace}x`,
  ])
})

test('a poll of a namespace that nobody registered says so', async () => {
  const place = await openPostgresPlace()
  await place.pool.knex.raw('delete from lockstep.namespaces where name = ?', [place.namespace])
  await expect(place.poll()).rejects.toThrow(`namespace "${place.namespace}" is not registered`)
})

test('a claim whose connection breaks marks nothing, and its rows are handed out again', async () => {
  const place = await openPostgresPlace({ url: await ownDatabase() })
  const { rowIds } = await place.write('a')
  const held = gate()
  const breaks = place.outbox.claim(0, async () => held.pass().then(() => rowIds), never)
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
  for (const [name, minutes, hasL2] of [
    ['gone', 61, false],
    ['gone, with Redis', 61, true],
    ['running', 50, false],
  ] as const) {
    await client.query(
      `insert into lockstep.namespaces (name, has_l2, prune_next_at)
       values ($1, $2, clock_timestamp() - $3 * interval '1 minute')`,
      [name, hasL2, minutes],
    )
  }
  const write = () =>
    client.query(
      `insert into lockstep.outbox (namespace, entity, ids, applied)
       select name, 'thing', array['a'], applied
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
  expect(await place.outbox.prune(60_000, never)).toBe(3)
  // Values of before may still lie in Redis.
  expect(await left()).toEqual(['gone, with Redis: false', 'running: false', 'running: true'])
})

// ---------------------------------------------------------------- a large outbox

describe('with 50,000 rows', () => {
  test('a poll reads indexes only, and is fast', async () => {
    const statements: Statement[] = []
    const url = await ownDatabase()
    const place = await openPostgresPlace({ url, wrap: (pool) => recording(pool, statements) })
    await addRows(place, 50_000, true)
    await place.pool.knex.raw('analyze lockstep.outbox')
    const long = await place.begin()
    const { write } = await long.record([{ entity: 'thing', ids: ['long'] }])
    await addRows(place, 10, true)
    await addRows(place, 10, false)
    const { snapshot } = await place.poll()
    expect(snapshot.xip).toContain(write.xid)
    await place.write('new')
    await long.commit()
    statements.length = 0
    expect((await place.poll(snapshot)).rows).toHaveLength(12)
    const [poll] = statements
    expect(statements).toHaveLength(1)
    const plan = await explain(await connect(url), poll as Statement)
    expect(scansOf(plan)).not.toContain('Seq Scan')
    expect(await medianMs(() => place.poll(snapshot))).toBeLessThan(20)
  })

  test('a poll that finds more new rows than it returns says that some are missing', async () => {
    const place = await openPostgresPlace({ url: await ownDatabase(), hasL2: false })
    const start = await place.poll()
    await addRows(place, mostRowsAPoll, true)
    expect(await place.poll(start.snapshot)).toMatchObject({
      missedNew: false,
      missedUnapplied: false,
    })
    await addRows(place, 1, true)
    const poll = await place.poll(start.snapshot)
    expect(poll).toMatchObject({ missedNew: true, missedUnapplied: false })
    expect((await place.poll(poll.snapshot)).missedNew).toBe(false)
  })

  test('a poll that does not bring all that L2 has not been told of says so, whatever else it brings', async () => {
    const place = await openPostgresPlace({ url: await ownDatabase() })
    // The first row of all, and the last to be seen.
    const long = await place.begin()
    await long.record([{ entity: 'thing', ids: ['long'] }])
    await addRows(place, mostRowsAPoll + 1)
    const { snapshot, missedUnapplied } = await place.poll()
    expect(missedUnapplied).toBe(true)
    await long.commit()
    const poll = await place.poll(snapshot)
    const told = new Set(poll.rows.map(({ rowId }) => rowId))
    expect(idsOf(poll.rows)).toContain('long')
    const isAllThere = told.size === mostRowsAPoll + 2
    expect(isAllThere || poll.missedUnapplied).toBe(true)
  })

  test('a poll is fast although L2 has not been told of 10,000 writes', async () => {
    const place = await openPostgresPlace({ url: await ownDatabase() })
    await addRows(place, mostRowsAPoll)
    const { snapshot } = await place.poll()
    expect((await place.poll(snapshot)).rows).toHaveLength(mostRowsAPoll)
    // The bound on staleness is 1 s by default, and each poll has to be over well before.
    expect(await medianMs(() => place.poll(snapshot))).toBeLessThan(500)
    await addRows(place, 1)
    expect(await place.poll(snapshot)).toMatchObject({ missedNew: false, missedUnapplied: false })
    const late = (await place.poll()).snapshot
    expect(await place.poll(late)).toMatchObject({ missedNew: false, missedUnapplied: true })
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
          claim: () => place.outbox.claim(0, async () => rowIds, giveUp.signal),
          mark: () => place.outbox.mark(rowIds, giveUp.signal),
          prune: () => place.outbox.prune(0, giveUp.signal),
        }[act]()
        doing.catch(() => {})
        await locked.somebodyWaits()
        giveUp.abort()
        await expect(doing).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
      }
      await locked.release()
      expect(idsOf((await place.poll()).rows)).toEqual(['a'])
      expect(await claimAll(place)).toEqual(['a'])
    },
  )

  test('nothing is begun under a signal that has aborted', async () => {
    const place = await openPostgresPlace()
    const { rowIds } = await place.write('a')
    const gone = AbortSignal.abort()
    const calls = [
      () => place.poll(undefined, gone),
      () => place.outbox.claim(0, async () => rowIds, gone),
      () => place.outbox.mark(rowIds, gone),
      () => place.outbox.prune(0, gone),
    ]
    for (const call of calls) await expect(call()).rejects.toThrow()
    expect(idsOf((await place.poll()).rows)).toEqual(['a'])
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
      () => place.outbox.mark([], never),
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

async function claimAll({ outbox }: PostgresPlace): Promise<readonly string[]> {
  let ids: readonly string[] = []
  await outbox.claim(
    0,
    async ({ rows }) => {
      ids = idsOf(rows)
      return rows.map(({ rowId }) => rowId)
    },
    never,
  )
  return ids
}

interface Statement {
  readonly text: string
  readonly values: readonly unknown[]
}

/** A pool whose own connections write down what they are asked. */
function recording(pool: Pool, statements: Statement[]): Pool {
  return {
    ...pool,
    connect: async () => {
      const connection = await pool.connect()
      const query = connection.query.bind(connection) as (...args: unknown[]) => unknown
      connection.query = ((text: string, values: readonly unknown[]) => {
        statements.push({ text, values })
        return query(text, values)
      }) as never
      return connection
    },
  }
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

async function medianMs(call: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let turn = 0; turn < 5; turn++) {
    const began = performance.now()
    await call()
    times.push(performance.now() - began)
  }
  return times.sort((a, b) => a - b)[2] as number
}
