/** `lockstep bloom`: what there is, a rebuild by whoever has the entity, and what a read would do. */
import { expect, test } from 'vitest'
import { cli } from '../support/cli.ts'
import { openWorld, until, type World } from '../support/world.ts'

const builtMs = 60_000

async function bloom(world: World, ...args: string[]) {
  const { ended } = cli(['bloom', ...args], {
    LOCKSTEP_NAMESPACE: world.namespace,
    DATABASE_URL: world.databaseUrl,
    REDIS_URL: world.redisUrl,
  })
  const { code, stdout, stderr } = await ended
  return {
    code,
    stdout,
    stderr,
    document: args.includes('--json') ? JSON.parse(stdout) : undefined,
  }
}

test('status, rebuild and check, of a filter that an instance keeps', async () => {
  const world = await openWorld()
  const cache = await world.open({ entity: { bloom: { table: world.table, column: 'id' } } })
  await until(
    'there is one',
    async () => {
      const { document } = await bloom(world, 'status', '--json')
      return document.filters[0]?.current != null
    },
    builtMs,
  )
  const { document: status } = await bloom(world, 'status', 'item', '--json')
  const [{ entity, current }] = status.filters
  expect(entity).toBe('item')
  // There are 50; how many of their bits are the same hangs on the seed, and so on the database: of
  // 20,000 seeds all make it 49 to 51.
  expect(Math.abs(current.estimatedIds - 50)).toBeLessThanOrEqual(1)
  const rebuilt = await bloom(world, 'rebuild', 'item', '--timeout', '30s', '--json')
  expect(rebuilt.code).toBe(0)
  expect(rebuilt.document.generation).toBeGreaterThan(current.generation)
  const absent = await bloom(world, 'check', 'item', '777', '--json')
  expect(absent.document.generations).toMatchObject([{ ready: true, says: 'no' }])
  expect((await bloom(world, 'check', 'item', '7')).stdout).toContain('maybe')
  await cache.item.get(7)
  expect((await bloom(world, 'check', 'item', '7')).stdout).toContain('its value lies')
}, 180_000)

test('a rebuild that nobody takes ends with code 1 and says why; what is used wrongly with 2', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await cache.close()
  const nobody = await bloom(world, 'rebuild', 'item', '--timeout', '500ms')
  expect(nobody.code).toBe(1)
  expect(nobody.stderr).toContain('nobody builds the filter of "item"')
  expect((await bloom(world, 'status')).stdout).toContain('rebuild is requested')
  expect((await bloom(world, 'check', 'town', '1')).code).toBe(2)
  expect((await bloom(world, 'check', 'item', 'x'.repeat(600))).code).toBe(2)
}, 120_000)
