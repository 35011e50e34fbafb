/** I3: a bounded read is never answered from L1 with a value that misses a write older than B. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import type { Log } from '../../src/model/bus-ports.ts'
import type { Clock } from '../../src/model/clock.ts'
import type { Parts } from '../../src/running-cache.ts'
import { stateOf } from '../support/instance.ts'
import { over } from '../support/over.ts'
import { all, withOutbox, withoutFastPlane } from '../support/parts.ts'
import { type ItemWorldCache, openWorld, planes, until, type World } from '../support/world.ts'

const id = 1
const boundMs = 1_000

async function untilInL1(cache: ItemWorldCache): Promise<void> {
  await until('the value lies in L1', async () => {
    await cache.item.get(id)
    return cache.item.peek(id) !== undefined
  })
}

/** Reads L1 without a pause from a write's return on; how long, at most, the old value was served. */
async function servedAfterWriteMs(
  world: World,
  reading: ItemWorldCache,
  writing: ItemWorldCache,
): Promise<number> {
  await untilInL1(reading)
  const { version } = await world.write(writing, id)
  const returnedAt = performance.now()
  let lastStaleMs = 0
  while (performance.now() - returnedAt < 2.5 * boundMs) {
    const beganMs = performance.now() - returnedAt
    const entry = await reading.item.getEntry(id)
    if (entry.tier === 'l1' && (entry.value?.version ?? 0) < version) lastStaleMs = beganMs
    await new Promise((resolve) => setImmediate(resolve))
  }
  return lastStaleMs
}

test.each(planes)(
  'with the fast plane cut, a write is out of every L1 within the bound: %s plane',
  async (plane) => {
    const world = await openWorld({ plane })
    const reading = await world.open({ replace: withoutFastPlane })
    const servedMs = await servedAfterWriteMs(world, reading, await world.open())
    expect(servedMs).toBeLessThanOrEqual(boundMs)
  },
)

test('with neither Redis nor a fast plane, a write is out of every L1 within the bound', async () => {
  const world = await openWorld()
  const reading = await world.open({ redisUrl: undefined })
  const servedMs = await servedAfterWriteMs(
    world,
    reading,
    await world.open({ redisUrl: undefined }),
  )
  expect(servedMs).toBeLessThanOrEqual(boundMs)
})

test.each(planes)(
  'with the outbox out of reach, L1 is not served beyond the bound: %s plane',
  async (plane) => {
    const world = await openWorld({ plane })
    let isCut = false
    const out = (): Promise<never> => Promise.reject(new Error('the source is out of reach'))
    const cut = withOutbox((outbox) => ({
      poll: (...args) => (isCut ? out() : outbox.poll(...args)),
      probe: (...args) => (isCut ? out() : outbox.probe(...args)),
    }))
    const reading = await world.open({ replace: all(withoutFastPlane, cut) })
    await untilInL1(reading)
    isCut = true
    const servedMs = await servedUntilGoneMs(reading)
    expect(servedMs).toBeLessThanOrEqual(boundMs)
  },
)

async function servedUntilGoneMs(cache: ItemWorldCache): Promise<number> {
  const cutAt = performance.now()
  await until('L1 is no longer served', () => cache.item.peek(id) === undefined, 5_000)
  return performance.now() - cutAt
}

test('with no barrier in the log, L1 is not served beyond the bound', async () => {
  const world = await openWorld({ plane: 'kafka' })
  let isCut = false
  const cut = (parts: Parts): Parts => {
    const { log } = parts
    if (!log) throw new Error('this cache has no log')
    const barrier: Log['barrier'] = async (...args) => (isCut ? undefined : log.barrier(...args))
    return { ...parts, log: over(log, { barrier }) }
  }
  const reading = await world.open({ replace: all(withoutFastPlane, cut) })
  await untilInL1(reading)
  isCut = true
  expect(await servedUntilGoneMs(reading)).toBeLessThanOrEqual(boundMs)
})

test('a process that was stopped for longer than the bound does not answer from before', async () => {
  expect(await answerAfterStop('system')).toBeUndefined()
})

// ---- what must be caught

test('the scenario notices a log that leaves writes out', async () => {
  const world = await openWorld({ plane: 'kafka' })
  const deaf = (parts: Parts): Parts => {
    const { log } = parts
    if (!log) throw new Error('this cache has no log')
    const listen: Log['listen'] = (listener) =>
      log.listen({
        positioned: (partitions) => listener.positioned(partitions),
        lost: (reason, error) => listener.lost(reason, error),
        heard: (partition, record) => {
          if (record.kind !== 'write') listener.heard(partition, record)
        },
      })
    return { ...parts, log: over(log, { listen }) }
  }
  const reading = await world.open({ replace: all(withoutFastPlane, deaf) })
  const servedMs = await servedAfterWriteMs(world, reading, await world.open())
  expect(servedMs).toBeGreaterThan(boundMs)
})

test('the scenario notices an outbox that leaves rows out', async () => {
  const world = await openWorld()
  const deaf = withOutbox((outbox) => ({
    poll: async (...args) => ({ ...(await outbox.poll(...args)), rows: [] }),
  }))
  const reading = await world.open({ replace: all(withoutFastPlane, deaf) })
  const servedMs = await servedAfterWriteMs(world, reading, await world.open())
  expect(servedMs).toBeGreaterThan(boundMs)
})

test('the scenario notices a wall clock and a monotonic clock that stand still', async () => {
  const world = await openWorld()
  const frozen = { monotonicMs: performance.now(), wallMs: Date.now() }
  const clock: Clock = {
    monotonicMs: () => frozen.monotonicMs,
    wallMs: () => frozen.wallMs,
    defer: (run) => process.nextTick(run),
    after: (ms, run) => {
      const timer = setTimeout(run, ms)
      return () => clearTimeout(timer)
    },
  }
  let isCut = false
  const cut = withOutbox((outbox) => ({
    poll: (...args) =>
      isCut ? Promise.reject(new Error('the source is out of reach')) : outbox.poll(...args),
  }))
  const reading = await world.open({ replace: all(withoutFastPlane, cut), options: { clock } })
  await reading.item.get(id)
  isCut = true
  await expect(servedUntilGoneMs(reading)).rejects.toThrow('in vain')
})

test('the scenario notices a clock that a timer drives', async () => {
  expect(await answerAfterStop('timer')).toBe(0)
})

/**
 * A process with the value in L1 is stopped, the row is written, and after more than the bound it
 * goes on: what L1 answers before any event can have come in.
 */
async function answerAfterStop(clock: 'system' | 'timer'): Promise<number | undefined> {
  const world = await openWorld()
  const writing = await world.open()
  const child = fork(fileURLToPath(new URL('../support/children/stopped.mjs', import.meta.url)), [
    world.namespace,
    world.databaseUrl,
    process.env.REDIS_URL ?? '',
    world.table,
    clock,
  ])
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'message')
  child.send('stop')
  await until('the process is stopped', () => stateOf(child.pid as number) === 'T')
  await world.write(writing, id)
  const writtenAt = performance.now()
  await until('the bound is over', () => performance.now() - writtenAt > boundMs + 200)
  child.kill('SIGCONT')
  const [answer] = (await once(child, 'message')) as [{ version: number | null }]
  return answer.version ?? undefined
}
