/** PostgreSQL gone or hung: what needs it fails at once, what does not is answered, and it is found again. */
import { expect, test } from 'vitest'
import type { CacheEvents } from '../../src/telemetry/events.ts'
import { migratedDatabase } from '../support/database.ts'
import { startPostgres } from '../support/servers.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { type ItemWorldCache, openWorld, required, until } from '../support/world.ts'

const timing = { loadDeadline: '300ms', readDeadline: '3s', writeDeadline: '300ms' } as const
const hops = { source: { openFor: '2s' } } as const

function sourceStates(cache: ItemWorldCache): string[] {
  const states: string[] = []
  cache.on('breaker', ({ hop, state, reason }: CacheEvents['breaker']) => {
    if (hop === 'source') states.push(`${state} ${reason}`)
  })
  return states
}

async function failsAtOnce(call: () => Promise<unknown>): Promise<boolean> {
  const beganAt = performance.now()
  const error = await call().then(
    () => undefined,
    (cause: unknown) => cause as { code?: string; retryable?: boolean; message: string },
  )
  if (!error) return false
  expect(error).toMatchObject({ retryable: true })
  return performance.now() - beganAt < 50 && error.message.includes('its breaker')
}

test('with PostgreSQL gone a miss and a write fail at once, and what is stale is answered', async () => {
  const postgres = await startPostgres()
  const world = await openWorld({ databaseUrl: await migratedDatabase(postgres) })
  const entity = { ttl: '200ms', grace: '1h' }
  const cache = await world.open({ timing, entity, options: { hops } as never })
  const states = sourceStates(cache)
  await cache.item.get(1)
  await until('it lies in Redis', () => cache.stats().item.fills === 1)
  await postgres.kill9()
  await until('the breaker is open', async () => {
    await cache.item.get(2).catch(() => {})
    return states.length > 0
  })
  expect(states).toEqual(['open local'])
  await until('a miss fails at once', () => failsAtOnce(() => cache.item.get(3)))
  await until('a write fails at once', () => failsAtOnce(() => world.write(cache, 3)))
  await until('what is stale is answered', async () => {
    const { state, value } = await cache.item.getEntry(1)
    return state === 'stale' && value?.version === 0
  })
  await expect(cache.item.get(3)).rejects.toMatchObject({ retryable: true })
  await postgres.start()
  await until(
    'a miss is loaded again',
    async () => (await cache.item.get(3).catch(() => undefined)) !== undefined,
    20_000,
  )
  await until('the breaker is closed', async () => {
    await cache.item.get(3, { consistency: 'strong' }).catch(() => {})
    return states.at(-1) === 'closed local'
  })
  expect((await world.write(cache, 3)).version).toBe(1)
})

test('a loader whose other service is away is no sign that PostgreSQL is', async () => {
  const world = await openWorld()
  let isAway = true
  const refused = Object.assign(new Error('connect ECONNREFUSED 10.0.0.7:443'), {
    code: 'ECONNREFUSED',
  })
  const cache = await world.open({
    timing,
    afterRead: async () => {
      if (isAway) throw refused
    },
    options: { hops } as never,
  })
  const states = sourceStates(cache)
  const reads = Array.from({ length: 60 }, (_, index) => cache.item.get(index + 1))
  const outcomes = await Promise.allSettled(reads)
  expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true)
  for (let id = 1; id <= 60; id++) await cache.item.get(id).catch(() => {})
  expect(states).toEqual([])
  isAway = false
  expect((await cache.item.get(1))?.version).toBe(0)
})

test('a PostgreSQL that hangs costs its deadline a few times, and then nothing', async () => {
  const proxy = await openTcpProxy(required('DATABASE_URL'))
  const world = await openWorld()
  const cache = await world.open({
    timing: { ...timing, pollInterval: '200ms' },
    options: { hops, postgres: proxy.through(required('DATABASE_URL')) } as never,
  })
  const states = sourceStates(cache)
  await cache.item.get(1)
  proxy.hang()
  const beganAt = performance.now()
  await expect(cache.item.get(2)).rejects.toMatchObject({ retryable: true })
  expect(performance.now() - beganAt).toBeLessThan(3_500)
  await until('the breaker is open', async () => {
    await Promise.allSettled([3, 4, 5].map((id) => cache.item.get(id)))
    return states.includes('open local')
  })
  await until('a miss fails at once', () => failsAtOnce(() => cache.item.get(6)))
  // What hung stays so: only who gives it up gets through again.
  await proxy.pass()
  await until(
    'a write goes through',
    async () => (await world.write(cache, 1).catch(() => undefined)) !== undefined,
    20_000,
  )
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBeGreaterThan(0)
})

test('writes alone notice a PostgreSQL that hangs, and open the breaker for loads too', async () => {
  const proxy = await openTcpProxy(required('DATABASE_URL'))
  const world = await openWorld()
  const cache = await world.open({
    timing,
    options: { hops, postgres: proxy.through(required('DATABASE_URL')) } as never,
  })
  const states = sourceStates(cache)
  await world.write(cache, 1)
  proxy.hang()
  await until('the breaker is open', async () => {
    await Promise.allSettled([1, 2, 3].map((id) => world.write(cache, id)))
    return states.includes('open local')
  })
  await until('a miss fails at once', () => failsAtOnce(() => cache.item.get(6)))
})

test('a loader that throws, and a callback that does, say nothing of PostgreSQL', async () => {
  const world = await openWorld()
  let isBroken = true
  const cache = await world.open({
    timing,
    afterRead: async () => {
      if (isBroken) throw new TypeError('the loader’s own')
    },
  })
  const states = sourceStates(cache)
  for (let id = 1; id <= 20; id++) {
    await expect(cache.item.get(id)).rejects.toMatchObject({ code: 'LOADER_FAILED' })
    const failing = cache.item.write(id, (tx) => tx.raw('select nothing from nowhere'))
    await expect(failing).rejects.toThrow('nowhere')
  }
  isBroken = false
  expect((await cache.item.get(1))?.version).toBe(0)
  expect(states).toEqual([])
})
