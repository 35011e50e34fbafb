/** `wait: 'everywhere'`: when the write returns, no instance answers from L1 with what it replaced. */
import { describe, expect, test } from 'vitest'
import type { Tx } from '../../src/postgres/pool.ts'
import { startInstance } from '../support/instance.ts'
import { all, withOutbox, withoutFastPlane } from '../support/parts.ts'
import {
  bump,
  type ItemWorldCache,
  openWorld,
  planes,
  until,
  type World,
} from '../support/world.ts'

const id = 1
const boundMs = 1_000

const write = (world: World, cache: ItemWorldCache) =>
  cache.item.write(id, (tx) => bump(tx, world.table, id), { wait: 'everywhere' })

async function untilInL1(cache: ItemWorldCache): Promise<void> {
  await until('the value lies in L1', async () => {
    await cache.item.get(id)
    return cache.item.peek(id) !== undefined
  })
}

describe.each(planes)('on the %s plane', (plane) => {
  test('instances that hear of it only by the durable plane: it returns when they have, long before B', async () => {
    const world = await openWorld({ plane })
    const writing = await world.open()
    const reading = [
      await world.open({ replace: withoutFastPlane }),
      await world.open({ replace: withoutFastPlane }),
    ]
    let longestMs = 0
    for (let version = 1; version <= 5; version++) {
      for (const cache of reading) await untilInL1(cache)
      const beganMs = performance.now()
      await write(world, writing)
      // One that has just begun to run waits for B: it can't know who runs.
      if (version > 1) longestMs = Math.max(longestMs, performance.now() - beganMs)
      for (const cache of reading)
        expect([undefined, version]).toContain(cache.item.peek(id)?.version)
    }
    expect(longestMs).toBeLessThan(boundMs)
  })

  test('an instance that hears nothing has lost its trust when it returns', async () => {
    const world = await openWorld({ plane })
    const writing = await world.open()
    let isCut = false
    const out = (): Promise<never> => Promise.reject(new Error('the source is out of reach'))
    const cut = withOutbox((outbox) => ({
      poll: (...args) => (isCut ? out() : outbox.poll(...args)),
      probe: (...args) => (isCut ? out() : outbox.probe(...args)),
    }))
    const deaf = await world.open({ replace: all(withoutFastPlane, cut) })
    await untilInL1(deaf)
    isCut = true
    const beganMs = performance.now()
    const written = write(world, writing)
    let whileServed = 0
    void written.then(() => {
      whileServed = performance.now() - beganMs
    })
    // On Kafka the write is heard; on the tail plane nothing is.
    await written
    expect(deaf.item.peek(id)).toBeUndefined()
    expect(whileServed).toBeLessThan(boundMs + 700)
  })

  test('an instance that is stopped does not answer from before when it goes on', async () => {
    const world = await openWorld({ plane })
    const writing = await world.open()
    const other = await startInstance(world)
    await until('the value lies in its L1', async () => (await other.entry(id)).tier === 'l1')
    await other.stop()
    const beganMs = performance.now()
    await write(world, writing)
    const tookMs = performance.now() - beganMs
    // Sent while it is stopped: the first that it does.
    const peeked = other.peek(id)
    other.goOn()
    expect(await peeked).toBeNull()
    expect(tookMs).toBeGreaterThan(boundMs / 2)
    expect(tookMs).toBeLessThan(boundMs + 700)
  })

  test('one that was killed costs no more than B; one that was closed nothing', async () => {
    const world = await openWorld({ plane })
    const writing = await world.open()
    const other = await startInstance(world)
    const closed = await world.open()
    await closed.close()
    await other.kill()
    const beganMs = performance.now()
    await write(world, writing)
    const tookMs = performance.now() - beganMs
    expect(tookMs).toBeGreaterThan(boundMs / 2)
    expect(tookMs).toBeLessThan(boundMs + 700)
    await world.sql(
      `delete from lockstep.instances where namespace = '${world.namespace}' and acted_on is null`,
    )
    const againMs = performance.now()
    await write(world, writing)
    expect(performance.now() - againMs).toBeLessThan(boundMs - 100)
  })

  test('instances that start meanwhile see the write', async () => {
    const world = await openWorld({ plane })
    const writing = await world.open()
    let isRunning = true
    const versions: [returned: number, seen: number | undefined][] = []
    let returned = 0
    const writes = (async () => {
      while (isRunning) returned = (await write(world, writing)).value[0]?.version ?? 0
    })()
    for (let turn = 0; turn < 6; turn++) {
      const cache = await world.open({ replace: withoutFastPlane })
      for (let read = 0; read < 20; read++) {
        await cache.item.get(id)
        const before = returned
        versions.push([before, cache.item.peek(id)?.version])
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      await cache.close()
    }
    isRunning = false
    await writes
    const old = versions.filter(([least, seen]) => seen !== undefined && seen < least)
    expect(old).toEqual([])
  })
})

test('closed while it waits, it does not say that all have acted', async () => {
  const world = await openWorld()
  const writing = await world.open()
  const other = await startInstance(world)
  await other.stop()
  const written = write(world, writing).catch((error: unknown) => error)
  await until('it is committed', async () => (await world.truth(id)) === 1)
  await writing.close({ timeout: 0 })
  expect(await written).toMatchObject({ code: 'CLOSED' })

  const patient = await world.open()
  const late = write(world, patient)
  await until('it is committed', async () => (await world.truth(id)) === 2)
  const [{ value }] = await Promise.all([late, patient.close()])
  expect(value[0]?.version).toBe(2)
})

test('what it is not, and where it cannot be, is told', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const run = (tx: Tx) => bump(tx, world.table, id)
  for (const wait of ['here', true, 1, null, {}]) {
    await expect(cache.item.write(id, run, { wait: wait as never })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining('wait'),
    })
  }
  await expect(
    cache.item.write(id, run, { wait: 'everywhere', tx: {} } as never),
  ).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  expect(await world.truth(id)).toBe(0)
})
