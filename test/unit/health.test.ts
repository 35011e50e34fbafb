/** Ready while it can answer, not while all is well. */
import { expect, test } from 'vitest'
import { testCache } from '../../src/testing/test-cache.ts'
import { entity } from '../../src/types.ts'

const city = entity('city', {
  load: async (_ids: number[]) => [],
  id: (row: { id: number }) => row.id,
})

test('all is well, something is switched off, it is closed', async () => {
  const { cache, clock, close } = await testCache({ entities: { city } })
  expect(cache.health()).toMatchObject({
    ...{ status: 'ready', ready: true, plane: 'outbox', flags: [] },
    ...{ source: { state: 'answers' }, trust: { proven: true } },
    hops: { source: { breaker: 'closed', held: false } },
  })
  await cache.flags.set('refresh.off', { for: '1m', reason: 'a test' })
  await clock.advance(100)
  expect(cache.health()).toMatchObject({
    ...{ status: 'degraded', ready: true, flags: [{ flag: 'refresh.off' }] },
  })
  await clock.advance('1m')
  expect(cache.health().status).toBe('ready')
  await close()
  expect(cache.health()).toMatchObject({ status: 'unready', ready: false })
})
