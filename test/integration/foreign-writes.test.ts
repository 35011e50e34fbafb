/** Tables that others write too, by SQL: what bounded reads are answered then, from any tier. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { openPool } from '../../src/postgres/pool.ts'
import { installTriggers } from '../../src/postgres/triggers.ts'
import { connect, ownDatabase } from '../support/database.ts'
import { all, withOutbox, withoutDoubts, withoutFastPlane } from '../support/parts.ts'
import {
  type ItemWorldCache,
  openWorld,
  type PlaneName,
  planes,
  until,
  untilProven,
  type World,
} from '../support/world.ts'

const id = 1
const boundMs = 1_000
const entity = { foreignWrites: true }

/** A database of its own: triggers tell every namespace that has the entity. */
async function openTriggered(plane: PlaneName, open: (world: World) => Promise<unknown>) {
  const world = await openWorld({ plane, databaseUrl: await ownDatabase() })
  await open(world)
  const pool = openPool(world.databaseUrl)
  onTestFinished(() => pool.close())
  await installTriggers(pool, { table: world.table, entity: 'item', id: 'id' })
  const client = await connect(world.databaseUrl)
  const update = async (): Promise<void> => {
    await client.query(`update ${world.table} set version = version + 1 where id = ${id}`)
  }
  return { world, update }
}

/** Somebody updates the row again and again, and each cache reads it; the reads that were older than B. */
async function tooOld(
  caches: readonly ItemWorldCache[],
  update: () => Promise<void>,
  forMs = 3_000,
): Promise<readonly string[]> {
  const commits: number[] = []
  const wrong: string[] = []
  const until = performance.now() + forMs
  const writing = async (): Promise<void> => {
    while (performance.now() < until) {
      await update()
      commits.push(performance.now())
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  const reading = async (cache: ItemWorldCache): Promise<void> => {
    while (performance.now() < until) {
      const beganMs = performance.now()
      const due = commits.filter((atMs) => atMs < beganMs - boundMs).length
      const { value, tier } = await cache.item.getEntry(id)
      if ((value?.version ?? -1) < due) wrong.push(`${value?.version} from ${tier}, ${due} was due`)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all([writing(), ...caches.map(reading)])
  expect(commits.length).toBeGreaterThan(20)
  return wrong
}

describe.each(planes)('on the %s plane', (plane) => {
  test('a bounded read from any tier misses no UPDATE of psql that is older than B', async () => {
    const caches: ItemWorldCache[] = []
    const { update } = await openTriggered(plane, async (world) => {
      caches.push(await world.open({ entity }))
      caches.push(await world.open({ entity, replace: withoutFastPlane }))
      await untilProven(caches[0] as ItemWorldCache)
    })
    expect(await tooOld(caches, update)).toEqual([])
  })

  test('nor when nobody tells Redis of it any more: then the source is asked', async () => {
    let isCut = false
    const out = (): Promise<never> => Promise.reject(new Error('nobody relays'))
    const cut = withOutbox((outbox) => ({
      progress: (...args) => (isCut ? out() : outbox.progress(...args)),
      claim: (...args) => (isCut ? out() : outbox.claim(...args)),
    }))
    const replace = all(withoutDoubts, withoutFastPlane, cut)
    const caches: ItemWorldCache[] = []
    const { world, update } = await openTriggered(plane, async (world) => {
      caches.push(await world.open({ entity, replace }), await world.open({ entity, replace }))
      for (const cache of caches) await untilProven(cache)
      await caches[0]?.item.get(id)
      await until(
        'it lies in Redis',
        async () => (await world.redis.exists(world.valueKey(id))) > 0,
      )
    })
    isCut = true
    expect(await tooOld(caches, update)).toEqual([])
    // What lies there is old, and nobody has been told by it.
    const plain = await world.open({ replace, timing: { stalenessBound: '400ms' } })
    const entry = await plain.item.getEntry(id)
    expect(entry).toMatchObject({ tier: 'l2', proven: false, value: { version: 0 } })
    const truth = await world.truth(id)
    expect(await plain.item.get(id, { consistency: 'strong' })).toMatchObject({ version: truth })
    expect(plain.item.peek(id)?.version).not.toBe(0)
  })
})

test('that is noticed where the entity does not say that others write it', async () => {
  const out = (): Promise<never> => Promise.reject(new Error('nobody relays'))
  const replace = all(
    withoutDoubts,
    withoutFastPlane,
    withOutbox(() => ({ progress: out, claim: out })),
  )
  const caches: ItemWorldCache[] = []
  const { update } = await openTriggered('outbox', async (world) => {
    caches.push(await world.open({ replace }))
    await caches[0]?.item.get(id)
    await until('it lies in Redis', async () => (await world.redis.exists(world.valueKey(id))) > 0)
  })
  expect((await tooOld(caches, update, 1_500)).length).toBeGreaterThan(0)
})
