/**
 * The incarnation (DESIGN, head): what was seen in one life of a database proves nothing in the
 * next, because PostgreSQL hands out again the xids that were not yet on disk.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { covers, type Incarnation, visible } from '../../src/model/snapshot.ts'
import { connect, migratedDatabase, ownDatabase } from '../support/database.ts'
import { startPostgres } from '../support/servers.ts'
import { until } from '../support/world.ts'
import { owed, progress } from './outbox-places.ts'
import { never, openPostgresPlace, type PostgresPlace } from './postgres-place.ts'

/** As long as PostgreSQL takes to come up again. */
async function incarnationAfter(place: PostgresPlace): Promise<Incarnation> {
  let found: Incarnation | undefined
  await until('the database answers', async () => {
    found = await place.poll().then(
      ({ snapshot }) => snapshot.incarnation,
      () => undefined,
    )
    return found !== undefined
  })
  return found as Incarnation
}

async function rowIds({ outbox }: PostgresPlace): Promise<readonly string[]> {
  const { rows } = await outbox.page(undefined, undefined, undefined, never)
  return rows.map(({ rowId }) => rowId)
}

/** As a crash leaves it. */
async function emptyIncarnations({ pool }: PostgresPlace): Promise<void> {
  await pool.knex.raw('truncate lockstep.incarnations')
}

test('an incarnation outlives clean restarts, and ends with every kind of crash', async () => {
  const server = await startPostgres()
  const place = await openPostgresPlace({ url: await migratedDatabase(server) })
  await place.write('durable')
  const lives = [(await place.poll()).snapshot.incarnation]
  const restart = async () => {
    await server.stop('fast')
    await server.start()
  }
  const stopImmediately = async () => {
    await server.stop('immediate')
    await server.start()
  }
  const kill = async () => {
    await server.kill9()
    await server.start()
  }
  for (const end of [restart, () => server.crashBackend(), stopImmediately, restart, kill]) {
    await end()
    lives.push(await incarnationAfter(place))
    // Whatever ended: what was committed is still to be told, in the present life.
    expect(await owed(place)).toEqual(['durable'])
  }
  const [first, restarted, backend, immediate, again, killed] = lives
  expect(restarted).toBe(first)
  expect(again).toBe(immediate)
  expect(new Set([first, backend, immediate, killed]).size).toBe(4)
}, 60_000)

test('an incarnation ends with the promotion of a standby', async () => {
  const server = await startPostgres()
  const place = await openPostgresPlace({ url: await migratedDatabase(server) })
  const { incarnation } = (await place.poll()).snapshot
  await server.stop()
  // It comes up as a standby that knows no primary.
  writeFileSync(join(server.dataFolder, 'standby.signal'), '')
  await server.start()
  await expect(place.poll()).rejects.toMatchObject({ code: 'SOURCE_READONLY' })
  const admin = await connect(server.url)
  await admin.query('select pg_promote()')
  expect(await incarnationAfter(place)).not.toBe(incarnation)
})

test('after a crash xids come again, and what was seen before sees none of them', async () => {
  const server = await startPostgres()
  const place = await openPostgresPlace({ url: await migratedDatabase(server) })
  await place.write('before')
  await server.stopFlushing()
  const aborted = await Promise.all(Array.from({ length: 6 }, () => place.begin()))
  for (const transaction of aborted) {
    await transaction.record([{ entity: 'thing', ids: ['aborted'] }])
    await transaction.rollback()
  }
  const seen = (await place.poll()).snapshot
  await server.kill9()
  await server.start()
  await incarnationAfter(place)
  const { write } = await place.write('after')
  const asIfTheSame = { ...write, incarnation: seen.incarnation }
  expect(visible(asIfTheSame, seen), `${write.xid} was not handed out before`).toBe(true)
  expect(visible(write, seen)).toBe(false)
  const now = (await place.poll()).snapshot
  expect(visible(write, now)).toBe(true)
  expect(covers(now, seen)).toBe(false)
  expect(covers(seen, now)).toBe(false)
}, 60_000)

test('after a crash nobody has been told, and what was repeated is of the new life', async () => {
  const server = await startPostgres()
  const place = await openPostgresPlace({ url: await migratedDatabase(server) })
  await place.write('durable')
  const before = (await place.poll()).snapshot
  await place.outbox.mark(await rowIds(place), ['l2'], never)
  expect((await progress(place, { l2: before })).owed.l2.isTold).toBe(true)
  await server.kill9()
  await server.start()
  await incarnationAfter(place)
  const answer = await progress(place, { l2: before })
  expect(answer.owed.l2.isTold).toBe(false)
  expect(answer.repeated.incarnation).toBe(answer.snapshot.incarnation)
  expect(answer.snapshot.incarnation).not.toBe(before.incarnation)
  await place.outbox.repeated(before, never)
  expect((await progress(place)).repeated).toEqual(answer.repeated)
}, 60_000)

test('of many that find none at once one begins the incarnation, for all', async () => {
  const place = await openPostgresPlace({ url: await ownDatabase(), poolSize: 2 })
  const others = await Promise.all(Array.from({ length: 4 }, () => place.another()))
  const lives = new Set([(await place.poll()).snapshot.incarnation])
  for (let life = 2; life < 6; life++) {
    await emptyIncarnations(place)
    const polls = await Promise.all([place, ...others].map((one) => one.poll()))
    const found = new Set(polls.map(({ snapshot }) => snapshot.incarnation))
    expect(found.size).toBe(1)
    for (const one of found) lives.add(one)
    expect(lives.size).toBe(life)
  }
  const { rows } = await place.pool.knex.raw(
    'select count(*)::int as count from lockstep.incarnations',
  )
  expect(rows).toEqual([{ count: 1 }])
})

test('nobody who comes late ends the incarnation that somebody began', async () => {
  const url = await ownDatabase()
  const place = await openPostgresPlace({ url })
  const { incarnation } = (await place.poll()).snapshot
  const late = await connect(url)
  await late.query('select lockstep.begin_incarnation()')
  expect((await place.poll()).snapshot.incarnation).toBe(incarnation)
})

test('until an incarnation has begun nothing is handed out to be told, and no write is recorded', async () => {
  const place = await openPostgresPlace({ url: await ownDatabase() })
  await place.write('a')
  const { snapshot } = await place.poll()
  await emptyIncarnations(place)
  const begun = 'the database has begun a new incarnation'
  await expect(progress(place, { l2: snapshot })).rejects.toThrow(begun)
  const page = place.outbox.page(undefined, undefined, undefined, never)
  await expect(page).rejects.toThrow(begun)
  const isAsked = await place.outbox.claim('l2', 0, () => Promise.reject(new Error('asked')), never)
  expect(isAsked).toBe(0)
  const transaction = await place.begin()
  const recording = transaction.record([{ entity: 'thing', ids: ['b'] }])
  await expect(recording).rejects.toMatchObject({ code: 'WRITE_ABORTED' })
  await transaction.rollback()
  await place.poll()
  expect(await owed(place)).toEqual(['a'])
})

test('a write that found no incarnation succeeds when it is done again, and is done again', async () => {
  const place = await openPostgresPlace({ url: await ownDatabase() })
  await emptyIncarnations(place)
  const transaction = await place.begin()
  const error = await transaction
    .record([{ entity: 'thing', ids: ['a'] }])
    .catch((reason: unknown) => reason)
  await transaction.rollback()
  expect(error).toMatchObject({ code: 'WRITE_ABORTED', retryable: true })
  expect(place.source.isRetryable(error)).toBe(true)
  await place.write('a')
})

test('a dump restored into another cluster begins a life of its own, without the rows that nobody could ever see', async () => {
  const url = await ownDatabase()
  const place = await openPostgresPlace({ url })
  const restored = await connect(url)
  const asleep = (await place.poll()).snapshot
  await place.write('possible')
  // What comes along in a dump: the identifier and the higher xids of the cluster that it was taken from.
  await restored.query('update lockstep.incarnations set system_identifier = system_identifier - 1')
  await restored.query(
    `insert into lockstep.outbox (namespace, xid, entity, ids)
     select $1, (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + ahead)::text::xid8, 'thing', '{impossible}'
     from unnest(array[1000000, 2000000000]) as ahead`,
    [place.namespace],
  )
  await restored.query(
    `update lockstep.namespaces set pruned = '5000000000:5000000000:', prune_next = '5000000000:5000000000:',
       repeated = '5000000000:5000000000:'
     where name = $1`,
    [place.namespace],
  )
  const { snapshot, pruned } = await place.poll()
  expect(snapshot.incarnation).not.toBe(asleep.incarnation)
  expect(await owed(place)).toEqual(['possible'])
  // Its marks are of this life too: who keeps up has no gap.
  expect(covers(snapshot, pruned)).toBe(true)
  expect(covers(asleep, pruned)).toBe(false)
  expect(covers(snapshot, (await progress(place)).repeated)).toBe(true)
  expect((await place.poll(snapshot)).snapshot.incarnation).toBe(snapshot.incarnation)
  const { write } = await place.write('new')
  expect(visible(write, (await place.poll()).snapshot)).toBe(true)
})
