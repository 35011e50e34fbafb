/** Whoever relays is killed, stopped, or loses its place: another one goes on, and nothing is lost (I2). */
import { describe, expect, test } from 'vitest'
import { connect } from '../support/database.ts'
import { startInstance } from '../support/instance.ts'
import { parseScrape } from '../support/scrape.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import {
  type ItemWorldCache,
  openWorld,
  planes,
  required,
  until,
  untilProven,
  type World,
} from '../support/world.ts'

const id = 1

async function isRelaying(cache: ItemWorldCache): Promise<boolean> {
  return parseScrape(await cache.metrics().metrics()).value('lockstep_relaying') === 1
}

async function owedRows(world: World): Promise<number> {
  const [row] = await world.sql(
    `select count(*)::int as rows from lockstep.outbox
     where namespace = '${world.namespace}' and not applied`,
  )
  return Number(row?.rows)
}

/** Another process relays, and holds the rows of writes that it can't tell Redis of. */
async function heldByRelay(world: World) {
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const timing = { redisDeadline: '5s', readDeadline: '10s' } as const
  const redisUrl = proxy.through(required('REDIS_URL'))
  const relaying = await startInstance(world, { redisUrl, timing })
  await until('it relays', () => relaying.isRelaying())
  const other = await world.open()
  await untilProven(other)
  proxy.hang()
  await world.sql(`update ${world.table} set version = version + 1 where id = ${id}`)
  await world.sql(`select lockstep.invalidate('item', '${id}', '${world.namespace}')`)
  const client = await connect(world.databaseUrl)
  await until('it holds the row', async () => {
    const { rows } = await client.query(
      `select from lockstep.outbox where namespace = $1 and not applied for update skip locked`,
      [world.namespace],
    )
    return rows.length === 0 && (await owedRows(world)) > 0
  })
  return { relaying, other, proxy }
}

/** Redis has been told of the write, and is known to have been told of all. */
async function untilTold(world: World, other: ItemWorldCache): Promise<number> {
  const beganMs = performance.now()
  await until('Redis is told', async () => (await owedRows(world)) === 0)
  await untilProven(other)
  expect((await other.item.get(id, { consistency: 'strong' }))?.version).toBe(1)
  return performance.now() - beganMs
}

describe.each(planes)('on the %s plane', (plane) => {
  test('a relay that is killed while it holds rows: another one tells of them at once', async () => {
    const world = await openWorld({ plane })
    const { relaying, other } = await heldByRelay(world)
    await relaying.kill()
    expect(await untilTold(world, other)).toBeLessThan(3_000)
  })

  test('a relay that is stopped while it holds rows: another one tells of them in 3 s, and it notices', async () => {
    const world = await openWorld({ plane })
    const { relaying, other } = await heldByRelay(world)
    await relaying.stop()
    expect(await untilTold(world, other)).toBeLessThan(4_000)
    expect(await isRelaying(other)).toBe(true)
    relaying.goOn()
    await until('it has noticed', async () => !(await relaying.isRelaying()), 2_000)
    expect(await isRelaying(other)).toBe(true)
  })
})

test('an instance that looks seldom relays all the same, under one and the same lock', async () => {
  const world = await openWorld()
  const cache = await world.open({ timing: { pollInterval: '15s', stalenessBound: '30s' } })
  await until('it relays', () => isRelaying(cache))
  const holder = async (): Promise<unknown> => {
    const [row] = await world.sql(
      `select pid from pg_locks where locktype = 'advisory' and granted
       and (classid::bigint << 32 | objid::bigint) = hashtextextended('lockstep relay ${world.namespace}', 0)`,
    )
    return row?.pid
  }
  const before = await holder()
  expect(before).toBeDefined()
  // Longer than the database lets whoever relays be silent.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect([await isRelaying(cache), await holder()]).toEqual([true, before])
})
