/** What lies in the outbox when an instance starts: much of it, rows of nobody, ids without an end. */
import { describe, expect, test } from 'vitest'
import { ownDatabase } from '../support/database.ts'
import { openWorld, planes, until, untilProven, type World } from '../support/world.ts'

const id = 1

/** The namespace is known, and nobody runs in it. */
async function openAndLeave(world: World): Promise<void> {
  const cache = await world.open()
  await cache.item.get(id)
  await cache.close()
}

const owed = async (world: World): Promise<number> => {
  const [row] = await world.sql(
    `select count(*)::int as rows from lockstep.outbox where namespace = '${world.namespace}'
     and not (applied and (published or ${world.kafka === undefined}))`,
  )
  return Number(row?.rows)
}

describe.each(planes)('on the %s plane', (plane) => {
  test('25,000 rows: all are told of, reads go on meanwhile, and then it is proven', async () => {
    const world = await openWorld({ plane, databaseUrl: await ownDatabase() })
    await openAndLeave(world)
    await world.sql(`update ${world.table} set version = 1 where id = ${id}`)
    await world.sql(
      `insert into lockstep.outbox (namespace, xid, entity, ids, told_by_writer)
       select '${world.namespace}', pg_current_xact_id(), 'item', array[(1 + i % 40)::text], false
       from generate_series(1, 25000) i`,
    )
    const cache = await world.open()
    const beganMs = performance.now()
    let longestMs = 0
    while ((await owed(world)) > 0) {
      const atMs = performance.now()
      await cache.item.get(45)
      longestMs = Math.max(longestMs, performance.now() - atMs)
      expect(performance.now() - beganMs, 'a row takes too long').toBeLessThan(60_000)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await untilProven(cache)
    expect(longestMs).toBeLessThan(2_000)
    expect((await cache.item.get(id, { consistency: 'strong' }))?.version).toBe(1)
  }, 120_000)

  test('rows of an entity that nobody knows, and with ids that nobody can have, hold up no others', async () => {
    const world = await openWorld({ plane, databaseUrl: await ownDatabase() })
    await openAndLeave(world)
    const namespace = world.namespace
    await world.sql(
      `insert into lockstep.outbox (namespace, xid, entity, ids, told_by_writer) values
       ('${namespace}', pg_current_xact_id(), 'of-nobody', array['1'], false),
       ('${namespace}', pg_current_xact_id(), '', array[''], false),
       ('${namespace}', pg_current_xact_id(), E'new\\nline}{*', array[E'\\n', '}', '{'], false),
       ('${namespace}', pg_current_xact_id(), 'item', array['', 'not a number', '9e999', '-0'], false),
       ('${namespace}', pg_current_xact_id(), 'item', array[repeat('x', 5000000)], false),
       ('${namespace}', pg_current_xact_id(), repeat('e', 100000), array['1'], false),
       ('${namespace}', pg_current_xact_id(), 'item', array[]::text[], false),
       ('${namespace}', pg_current_xact_id(), 'item', (select array_agg(i::text) from generate_series(1, 60000) i), false)`,
    )
    const [cache, other] = [await world.open(), await world.open()]
    await until('all have been told of', async () => (await owed(world)) === 0, 20_000)
    await Promise.all([untilProven(cache), untilProven(other)])
    const { version } = await world.write(cache, id)
    await until('the other one has heard of it', async () => {
      return (await other.item.get(id))?.version === version
    })
    await until('L1 is served', async () => (await other.item.getEntry(id)).tier === 'l1')
  }, 60_000)
})

test('a namespace goes from one plane to the other and back as docs/kafka.md says, and is refused otherwise', async () => {
  const world = await openWorld({ plane: 'kafka', databaseUrl: await ownDatabase() })
  const onKafka = await world.open()
  const refused = world.open({ options: { kafka: undefined } as never })
  await expect(refused).rejects.toMatchObject({ code: 'PLANE_MISMATCH' })
  await world.write(onKafka, id)
  await onKafka.close()
  for (const [plane, options] of [
    ['outbox', { kafka: undefined }],
    ['kafka', {}],
  ] as const) {
    await world.sql(`update lockstep.namespaces set plane = null where name = '${world.namespace}'`)
    const caches = [
      await world.open({ options: options as never }),
      await world.open({ options: options as never }),
    ]
    const { version } = await world.write(caches[0] as (typeof caches)[0], id)
    await until(`the write is heard on the ${plane} plane`, async () => {
      const entry = await caches[1]?.item.getEntry(id)
      return entry?.tier === 'l1' && entry.value?.version === version
    })
    for (const cache of caches) await cache.close()
  }
})
