/**
 * The transaction of a write on PostgreSQL (DESIGN §5.1, §5.3): what it leaves behind, and what
 * became of it when its callback, its deadline or the network ends it in the middle.
 */
import type { Client } from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import { visible } from '../../src/model/snapshot.ts'
import type { Transaction } from '../../src/model/source-port.ts'
import { register } from '../../src/postgres/namespace.ts'
import { PostgresOutbox } from '../../src/postgres/outbox.ts'
import { outboxPlane } from '../../src/postgres/plane.ts'
import type { Tx } from '../../src/postgres/pool.ts'
import { progress } from '../contract/outbox-places.ts'
import {
  openPostgresPlace,
  type PostgresPlace,
  type PostgresPlaceOptions,
} from '../contract/postgres-place.ts'
import { thing } from '../contract/words.ts'
import { VirtualClock } from '../support/clock.ts'
import { connect, migratedDatabase, sharedDatabase } from '../support/database.ts'
import { ownNamespace } from '../support/namespace.ts'
import { startPostgres } from '../support/servers.ts'
import { type Act, openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/world.ts'

interface Place extends PostgresPlace {
  /** A connection beside the library, not through the proxy. */
  readonly client: Client
  readonly proxy: TcpProxy
  /** As a writer's callback does. */
  bump(transaction: Transaction<Tx>): Promise<void>
  record(transaction: Transaction<Tx>): ReturnType<Transaction<Tx>['record']>
  /** What everybody else sees of the row. */
  version(): Promise<number>
  /** Rows in the outbox, in the order of their ids. */
  outboxRows(): Promise<readonly Record<string, unknown>[]>
  /** Whether somebody else may write the row now. */
  isFree(): Promise<boolean>
}

async function open(options: PostgresPlaceOptions = {}): Promise<Place> {
  const url = options.url ?? (await sharedDatabase())
  const client = await connect(url)
  const table = ownNamespace().replace('-', '_')
  onTestFinished(async () => {
    await client.query(`set lock_timeout = '5s'; drop table if exists ${table}`).catch(() => {})
  })
  await client.query(`create table ${table} (id int primary key, version int not null)`)
  await client.query(`insert into ${table} values (1, 0)`)
  const proxy = await openTcpProxy(url)
  const place = await openPostgresPlace({ ...options, url: proxy.through(url) })
  return {
    ...place,
    client,
    proxy,
    bump: async ({ handle }) => {
      await handle(table).where({ id: 1 }).increment('version', 1)
    },
    record: (transaction) => transaction.record([{ entity: 'thing', ids: ['1'] }]),
    version: async () => (await client.query(`select version from ${table}`)).rows[0].version,
    outboxRows: async () => {
      const { rows } = await client.query(
        `select row_id::text, xid::text, entity, ids, applied, published from lockstep.outbox
         where namespace = $1 order by row_id`,
        [place.namespace],
      )
      return rows
    },
    isFree: async () => {
      const { rowCount } = await client.query(`select from ${table} for update skip locked`)
      return rowCount === 1
    },
  }
}

// ---------------------------------------------------------------- what it leaves behind

test('a write that commits leaves its row and its outbox row, under one transaction id', async () => {
  const place = await open()
  const transaction = await place.begin()
  await place.bump(transaction)
  const recorded = await place.record(transaction)
  const { rows } = await transaction.handle.raw('select pg_current_xact_id()::text as xid')
  expect(String(recorded.write.xid)).toBe(rows[0].xid)
  expect(await place.version()).toBe(0)
  expect(await place.outboxRows()).toEqual([])
  expect(await transaction.commit()).toMatchObject({ kind: 'committed' })
  expect(await place.version()).toBe(1)
  expect(await place.outboxRows()).toEqual([
    {
      row_id: recorded.rowIds[0],
      xid: String(recorded.write.xid),
      entity: 'thing',
      ids: ['1'],
      applied: false,
      published: false,
    },
  ])
  const { snapshot } = await place.poll()
  expect(visible(recorded.write, snapshot)).toBe(true)
})

test('a write that is rolled back leaves nothing, and its id stays unused', async () => {
  const place = await open()
  const transaction = await place.begin()
  await place.bump(transaction)
  await place.record(transaction)
  await transaction.rollback()
  expect(await place.version()).toBe(0)
  expect(await place.outboxRows()).toEqual([])
  expect(await place.isFree()).toBe(true)
})

test('a write knows the schema versions of before its outbox row, and those of before its COMMIT', async () => {
  const place = await open()
  const { namespace, pool } = place
  const bring = (...entities: ReturnType<typeof thing>[]) =>
    register(pool, { namespace, hasL2: true, plane: outboxPlane, entities }, systemClock)
  await bring(thing(7))
  const transaction = await place.begin()
  const { versions } = await place.record(transaction)
  expect(versions.get('thing')?.toSorted()).toEqual([1, 7])
  await bring(thing(2))
  const outcome = await transaction.commit()
  const live = outcome.kind === 'committed' ? outcome.versions.get('thing') : undefined
  expect(live?.toSorted()).toEqual([1, 2, 7])
})

test('a limit on idle transactions that is shorter than ours stays', async () => {
  const place = await open()
  const idleLimit = async (limit: string): Promise<string> => {
    const transaction = await place.begin()
    await transaction.handle.raw(`set local idle_in_transaction_session_timeout = '${limit}'`)
    await place.record(transaction)
    const { rows } = await transaction.handle.raw('show idle_in_transaction_session_timeout')
    await transaction.rollback()
    return rows[0].idle_in_transaction_session_timeout
  }
  expect([await idleLimit('5s'), await idleLimit('1h'), await idleLimit('0')]).toEqual([
    '5s',
    '30s',
    '30s',
  ])
})

test('a write of several entities leaves a row for each', async () => {
  const place = await open()
  const transaction = await place.begin()
  const { rowIds } = await transaction.record([
    { entity: 'thing', ids: ['1', '2'] },
    { entity: 'other', ids: ['1'] },
  ])
  await transaction.commit()
  const rows = await place.outboxRows()
  expect(rows.map(({ entity, ids }) => [entity, ids])).toEqual([
    ['thing', ['1', '2']],
    ['other', ['1']],
  ])
  expect(rows.map((row) => row.row_id)).toEqual([...rowIds])
})

test('without Redis a row waits for nobody; when Redis is switched on, it waits to be told of', async () => {
  const place = await open({ hasL2: false })
  const { snapshot } = await place.poll()
  await place.write('1')
  const asked = { l2: (await place.poll()).snapshot }
  expect((await progress(place, asked)).owed.l2).toMatchObject({ rows: 0, isTold: true })
  const { namespace } = place
  const registration = { namespace, hasL2: true, plane: outboxPlane, entities: [thing()] }
  await register(place.pool, registration, systemClock)
  place.outbox.resign()
  expect(await place.outbox.lead('of before', AbortSignal.timeout(5_000))).toBe(false)
  const outbox = new PostgresOutbox(place.pool, registration, systemClock)
  onTestFinished(() => outbox.close())
  const { owed } = await progress({ ...place, outbox }, asked)
  expect(owed.l2).toMatchObject({ rows: 1, isTold: false })
  expect((await place.poll(snapshot)).rows).toMatchObject([{ ids: ['1'] }])
})

test('a write that could leave no outbox row does not commit', async () => {
  const place = await open()
  await place.client.query('delete from lockstep.namespaces where name = $1', [place.namespace])
  const transaction = await place.begin()
  await place.bump(transaction)
  await expect(place.record(transaction)).rejects.toThrow(place.namespace)
})

// ---------------------------------------------------------------- what the database refuses

test('a deferred constraint that fails at COMMIT throws its error, and leaves nothing', async () => {
  const place = await open({ poolSize: 1 })
  const transaction = await place.begin()
  const unique = `unique_${ownNamespace().replace('-', '_')}`
  await transaction.handle.raw(
    `create temporary table ${unique} (id int unique deferrable initially deferred) on commit drop`,
  )
  await place.bump(transaction)
  await transaction.handle.raw(`insert into ${unique} values (1), (1)`)
  await place.record(transaction)
  await expect(transaction.commit()).rejects.toMatchObject({ code: '23505' })
  expect(await place.version()).toBe(0)
  expect(await place.outboxRows()).toEqual([])
  await place.write('the connection is of use again')
})

test('a COMMIT that PostgreSQL answers by ROLLBACK is not taken for committed', async () => {
  const place = await open()
  const transaction = await place.begin()
  await place.bump(transaction)
  await place.record(transaction)
  // A statement that nobody awaited fails after the outbox row was written.
  await transaction.handle.raw('select 1 / 0').catch(() => {})
  const outcome = await transaction.commit().catch(() => ({ kind: 'aborted' }))
  expect(await place.version()).toBe(0)
  expect(outcome).toEqual({ kind: 'aborted' })
})

describe('a callback that ends the transaction itself is told so', () => {
  const ends: readonly [string, (handle: Tx) => PromiseLike<unknown>][] = [
    ['by commit()', (handle) => handle.commit()],
    ['by rollback()', (handle) => handle.rollback()],
    ['by a COMMIT of its own', (handle) => handle.raw('commit')],
    ['by a ROLLBACK of its own', (handle) => handle.raw('rollback')],
  ]

  test.each(ends)('%s', async (_how, end) => {
    const place = await open({ poolSize: 1 })
    const transaction = await place.begin()
    await place.bump(transaction)
    await end(transaction.handle)
    const outcome = (async () => {
      await place.record(transaction)
      return transaction.commit()
    })()
    await expect(outcome).rejects.toThrow()
    await transaction.rollback()
    await place.write('the connection is of use again')
  })
})

// ---------------------------------------------------------------- a connection that breaks at COMMIT

describe('a connection that breaks at COMMIT', () => {
  const outcomes: readonly [string, Act, 'committed' | 'aborted'][] = [
    ['before it arrives', 'cut before', 'aborted'],
    ['as it arrives', 'cut after', 'committed'],
    ['when its answer comes', 'cut reply', 'committed'],
    ['in the middle of its answer', { cutReplyAfterBytes: 4 }, 'committed'],
    ['by going half-open', 'hang reply', 'committed'],
  ]

  test.each(outcomes)('%s: PostgreSQL knows what became of it', async (_when, act, outcome) => {
    const place = await open({ source: { outcomeDeadlineMs: 1_000 } })
    const transaction = await place.begin()
    await place.bump(transaction)
    await place.record(transaction)
    const broken = place.proxy.at('commit', act)
    expect(await transaction.commit()).toMatchObject({ kind: outcome })
    await broken
    expect(await place.version()).toBe(outcome === 'committed' ? 1 : 0)
    expect(await place.outboxRows()).toHaveLength(outcome === 'committed' ? 1 : 0)
  })

  test('by going half-open: how long it is waited for goes by the clock', async () => {
    const clock = new VirtualClock()
    const place = await open({ source: { outcomeDeadlineMs: 3_600_000, clock } })
    const transaction = await place.begin()
    await place.record(transaction)
    const broken = place.proxy.at('commit', 'hang reply')
    const outcome = transaction.commit()
    await broken
    await clock.advance(3_600_000)
    expect(await outcome).toMatchObject({ kind: 'committed' })
    expect(clock.timers).toBe(0)
  })

  test('while it is still being done: the answer waits until PostgreSQL knows', async () => {
    const place = await open()
    const transaction = await place.begin()
    await transaction.handle.raw(
      `create function pg_temp.slow() returns trigger language plpgsql
       as $$ begin perform pg_sleep(0.5); return null; end $$`,
    )
    await transaction.handle.raw('create temporary table slow (id int)')
    await transaction.handle.raw(
      `create constraint trigger slow after insert on slow deferrable initially deferred
       for each row execute function pg_temp.slow()`,
    )
    await transaction.handle.raw('insert into slow values (1)')
    await place.bump(transaction)
    const { write } = await place.record(transaction)
    const broken = place.proxy.at('commit', 'cut after')
    const outcome = transaction.commit()
    await broken
    const { rows } = await place.client.query('select pg_xact_status($1::text::xid8) as status', [
      write.xid,
    ])
    expect(rows).toEqual([{ status: 'in progress' }])
    expect(await outcome).toMatchObject({ kind: 'committed' })
    expect(await place.version()).toBe(1)
  })

  test('and a database that then cannot be asked: nobody claims to know', async () => {
    const place = await open({ source: { outcomeDeadlineMs: 300 } })
    const transaction = await place.begin()
    await place.record(transaction)
    void place.proxy.at('commit', 'cut reply').then(() => place.proxy.refuse())
    expect(await transaction.commit()).toEqual({ kind: 'unknown' })
    await place.proxy.pass()
    await place.write('the pool is of use again')
  })

  test('and a database that then hangs: nobody claims to know, in time', async () => {
    const place = await open({ source: { outcomeDeadlineMs: 300 } })
    const transaction = await place.begin()
    await place.record(transaction)
    void place.proxy.at('commit', 'cut reply').then(() => place.proxy.hang())
    expect(await transaction.commit()).toEqual({ kind: 'unknown' })
    await place.proxy.pass()
    await place.write('the pool is of use again')
  })

  test.each([
    ['committed', 'cut reply'],
    ['aborted', 'cut before'],
  ] as const)(
    'and a database that crashes then: %s is told right in the next life',
    async (outcome, act) => {
      const server = await startPostgres()
      const url = await migratedDatabase(server)
      const place = await open({ url, source: { outcomeDeadlineMs: 20_000 } })
      const transaction = await place.begin()
      await place.bump(transaction)
      await place.record(transaction)
      const crashed = place.proxy.at('commit', act).then(async () => {
        await place.proxy.refuse()
        await server.kill9()
        await server.start()
        await place.proxy.pass()
      })
      expect(await transaction.commit()).toMatchObject({ kind: outcome })
      await crashed
      const after = await connect(url)
      const { rows } = await after.query('select from lockstep.outbox where namespace = $1', [
        place.namespace,
      ])
      expect(rows).toHaveLength(outcome === 'committed' ? 1 : 0)
    },
    60_000,
  )

  test('and a database that crashes then: a write that was lost is not mistaken for the next one', async () => {
    const server = await startPostgres()
    const url = await migratedDatabase(server)
    const lost = await open({ url, source: { outcomeDeadlineMs: 20_000 } })
    await server.stopFlushing()
    // The new life begins with two transactions of its own: an incarnation, and a registration.
    for (let other = 0; other < 2; other++) {
      await (await lost.begin()).handle.raw('select pg_current_xact_id()')
    }
    const transaction = await lost.begin()
    const before = await lost.record(transaction)
    await lost.proxy.refuse()
    await server.kill9()
    await server.start()
    const next = await openPostgresPlace({ url })
    const after = await next.write('of somebody else')
    expect(after.write.xid, 'the crash handed no xid out again').toBe(before.write.xid)
    await lost.proxy.pass()
    expect(await transaction.commit()).toEqual({ kind: 'aborted' })
  }, 60_000)
})

test('a COMMIT that waits for its standby is not cut short, and not taken for committed', async () => {
  const server = await startPostgres()
  const url = await migratedDatabase(server)
  const place = await open({ url, source: { outcomeDeadlineMs: 300 } })
  const transaction = await place.begin()
  await place.bump(transaction)
  const { write } = await place.record(transaction)
  const letGo = async () => {
    await place.client.query('alter system reset synchronous_standby_names')
    await place.client.query('select pg_reload_conf()')
  }
  onTestFinished(letGo)
  await place.client.query('set synchronous_commit = local')
  await place.client.query(`alter system set synchronous_standby_names = 'nobody'`)
  await place.client.query('select pg_reload_conf()')
  // Told by a COMMIT that waits: the server's processes hear of the setting one after the other.
  const probe = await connect(url)
  const pid = (await probe.query('select pg_backend_pid() as pid')).rows[0].pid
  let isIdle = true
  await until('the standby is waited for', async () => {
    if (isIdle) {
      isIdle = false
      const idle = (): void => {
        isIdle = true
      }
      probe.query(`comment on schema lockstep is 'probe'`).then(idle, idle)
    }
    const { rows } = await place.client.query(
      'select wait_event from pg_stat_activity where pid = $1',
      [pid],
    )
    return rows[0].wait_event === 'SyncRep'
  })
  expect(await transaction.commit()).toEqual({ kind: 'unknown' })
  const { rows } = await place.client.query('select pg_xact_status($1::text::xid8) as status', [
    write.xid,
  ])
  expect(rows).toEqual([{ status: 'in progress' }])
  await letGo()
  await until('it has committed', async () => (await place.version()) === 1)
})

// ---------------------------------------------------------------- deadlines

describe('a write that is given up', () => {
  test('while its callback does something else is rolled back at once', async () => {
    const place = await open({ poolSize: 1 })
    const giveUp = new AbortController()
    const transaction = await place.begin(giveUp.signal)
    await place.bump(transaction)
    await place.record(transaction)
    expect(await place.isFree()).toBe(false)
    giveUp.abort()
    await until('its row is free', place.isFree)
    await expect(place.bump(transaction)).rejects.toThrow()
    await transaction.rollback()
    expect(await place.version()).toBe(0)
    expect(await place.outboxRows()).toEqual([])
    await place.write('its place in the pool is free')
  })

  test('in the middle of a statement rejects it at once, and gives its connection back', async () => {
    const place = await open({ poolSize: 1 })
    const giveUp = new AbortController()
    const transaction = await place.begin(giveUp.signal)
    const statement = transaction.handle.raw('select pg_sleep(20)').then(() => 'done')
    statement.catch(() => {})
    await until('it is being done', () => isDoing(place.client, 'select pg_sleep(20)'))
    giveUp.abort()
    await expect(statement).rejects.toThrow()
    await transaction.rollback()
    await place.write('its place in the pool is free')
  })

  test('in the middle of a statement lets go of its rows', async () => {
    const place = await open()
    const giveUp = new AbortController()
    const transaction = await place.begin(giveUp.signal)
    await place.bump(transaction)
    const statement = transaction.handle.raw('select pg_sleep(20)').then(() => 'done')
    statement.catch(() => {})
    await until('it is being done', () => isDoing(place.client, 'select pg_sleep(20)'))
    giveUp.abort()
    await expect(statement).rejects.toThrow()
    await transaction.rollback()
    await until('its row is free', place.isFree, 5_000)
  })

  test('while it waits for a row is no longer in line for it', async () => {
    const place = await open()
    await place.client.query('begin')
    expect(await place.isFree()).toBe(true)
    const giveUp = new AbortController()
    const transaction = await place.begin(giveUp.signal)
    const waiting = place.bump(transaction)
    waiting.catch(() => {})
    const other = await connect(await sharedDatabase())
    await until('it waits', async () => {
      const { rows } = await other.query(
        `select from pg_stat_activity where wait_event_type = 'Lock' and query like '%' || $1 || '%'
         and pid <> pg_backend_pid()`,
        [ownNamespace().replace('-', '_')],
      )
      return rows.length > 0
    })
    giveUp.abort()
    await expect(waiting).rejects.toThrow()
    await transaction.rollback()
    await place.client.query('rollback')
    await until('its row is free', place.isFree)
    expect(await place.version()).toBe(0)
  })

  test('before it began is not begun', async () => {
    const place = await open({ poolSize: 1 })
    await expect(place.begin(AbortSignal.abort())).rejects.toThrow()
    await place.write('its place in the pool is free')
  })
})

test('a transaction that is idle for too long before its COMMIT is ended, and aborted', async () => {
  const place = await open({ source: { idleInTransactionMs: 100 } })
  const transaction = await place.begin()
  await place.bump(transaction)
  await place.record(transaction)
  await until('PostgreSQL has ended it', place.isFree)
  expect(await transaction.commit()).toEqual({ kind: 'aborted' })
  expect(await place.version()).toBe(0)
})

test('the limit on idle time ends with its transaction', async () => {
  const place = await open({ poolSize: 1, source: { idleInTransactionMs: 25_000 } })
  await place.write('1')
  const { rows } = await place.pool.knex.raw('show idle_in_transaction_session_timeout')
  expect(rows).toEqual([{ idle_in_transaction_session_timeout: '0' }])
})

test('no way to end a transaction costs the pool a connection', async () => {
  const place = await open({ poolSize: 1, source: { outcomeDeadlineMs: 1_000 } })
  const ways: readonly ((transaction: Transaction<Tx>) => Promise<unknown>)[] = [
    (one) => one.rollback(),
    (one) => place.record(one).then(() => one.commit()),
    (one) => place.record(one).then(() => one.rollback()),
    (one) => one.commit().then(() => one.rollback()),
    async (one) => {
      await expect(one.handle.raw('select 1 / 0')).rejects.toThrow()
      await one.rollback()
    },
    async (one) => {
      place.proxy.cut()
      await one.rollback()
    },
    async (one) => {
      await place.record(one)
      place.proxy.cut()
      expect(await one.commit()).toEqual({ kind: 'aborted' })
    },
  ]
  for (let turn = 0; turn < 3; turn++) {
    for (const end of ways) await end(await place.begin())
  }
  await place.write('1')
})

test('a database that cannot be reached is told as such, and the write may be done again', async () => {
  const place = await open()
  await place.proxy.refuse()
  const error = await place.begin().catch((reason: unknown) => reason)
  expect(error).toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
  expect(place.source.isRetryable(error)).toBe(true)
  await place.proxy.pass()
  await place.write('1')
})

test('a connection that breaks under the callback is the source’s failure, whatever the callback makes of it', async () => {
  const place = await open()
  const transaction = await place.begin()
  const mistake = new Error('a mistake of the caller')
  expect(transaction.failureOf?.(mistake)).toBe(mistake)
  place.proxy.cut()
  await expect(place.bump(transaction)).rejects.toThrow()
  // It goes on all the same, and Knex says only that the transaction is complete.
  const second = await place.bump(transaction).catch((reason: unknown) => reason)
  const told = transaction.failureOf?.(second)
  expect(told).toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
  expect(place.source.isRetryable(told)).toBe(true)
  await expect(place.record(transaction)).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
  await transaction.rollback()
})

test.each(['cut before', 'cut after', 'cut reply'] as const)(
  'and so is one that breaks under the outbox row (%s), and nothing was written',
  async (act) => {
    const place = await open()
    const transaction = await place.begin()
    await place.bump(transaction)
    const cut = place.proxy.at('lockstep.record', act)
    const told = await place.record(transaction).catch((reason: unknown) => reason)
    expect(await cut).toBe(true)
    expect(told).toMatchObject({ code: 'SOURCE_UNAVAILABLE', retryable: true })
    expect(place.source.isRetryable(told)).toBe(true)
    await transaction.rollback()
    await until('the row is free', place.isFree)
    expect([await place.version(), await place.outboxRows()]).toEqual([0, []])
  },
)

test('what the database says decides whether the same may be done again', async () => {
  const { source } = await open()
  const said = (code: string) => Object.assign(new Error('said'), { code })
  const again = ['40001', '40P01', '55P03', '57P01', '57P03', '53300', '08006']
  const never = ['23505', '22P02', '42P01', '57014', 'XX000', '25P02']
  expect(again.filter((code) => !source.isRetryable(said(code)))).toEqual([])
  expect(never.filter((code) => source.isRetryable(said(code)))).toEqual([])
  expect(source.isRetryable(new Error('a mistake of the caller'))).toBe(false)
  expect(source.isRetryable(undefined)).toBe(false)
})

async function isDoing(client: Client, statement: string): Promise<boolean> {
  const { rows } = await client.query(
    `select from pg_stat_activity where state = 'active' and query = $1 and pid <> pg_backend_pid()`,
    [statement],
  )
  return rows.length > 0
}
