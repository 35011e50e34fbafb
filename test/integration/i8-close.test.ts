/** I8: close() leaves nothing behind and aborts what is under way; the process ends by itself. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { ownDatabase } from '../support/database.ts'
import { gate, openWorld, planes, until } from '../support/world.ts'

const moments = ['idle', 'reading', 'writing', 'loader hangs', 'everything'] as const

const cases = [
  ...moments.map((moment) => [moment, 'outbox'] as const),
  ...(['idle', 'everything'] as const).map((moment) => [moment, 'kafka'] as const),
]

for (const [moment, plane] of cases) {
  test(`after close() the process ends by itself: ${moment}, on the ${plane} plane`, async () => {
    const world = await openWorld({ plane })
    const child = fork(fileURLToPath(new URL('../support/children/closing.mjs', import.meta.url)), [
      world.namespace,
      world.databaseUrl,
      process.env.REDIS_URL ?? '',
      world.table,
      moment,
      JSON.stringify(world.kafka ?? null),
    ])
    onTestFinished(() => void child.kill('SIGKILL'))
    const [code] = (await once(child, 'exit')) as [number | null]
    expect(code).toBe(0)
  })
}

test('close() lets reads and writes that are under way end, then takes no more', async () => {
  const world = await openWorld()
  const held = gate()
  const cache = await world.open({ afterRead: () => held.pass() })
  const read = cache.item.get(1)
  await held.held
  const closed = cache.close()
  await expect(cache.item.get(2)).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(cache.item.write(2, () => undefined)).rejects.toMatchObject({ code: 'CLOSED' })
  held.open()
  expect((await read)?.version).toBe(0)
  await closed
  expect(cache.item.peek(1)).toBeUndefined()
  await cache.close()
})

test('close() aborts a load that does not end in its time', async () => {
  const world = await openWorld()
  const held = gate()
  const cache = await world.open({ afterRead: () => held.pass() })
  const read = cache.item.get(1)
  const refused = expect(read).rejects.toMatchObject({ code: 'CLOSED' })
  await held.held
  await cache.close({ timeout: '50ms' })
  await refused
  held.open()
})

test.each(planes)(
  'close() in the middle of everything leaves nothing on the %s plane, and warns of nothing',
  async (plane) => {
    const world = await openWorld({ plane, databaseUrl: await ownDatabase() })
    const said: string[] = []
    const say = (details: object, message: string): void => {
      said.push(`${message} ${inspect(details)}`)
    }
    const silent = (): void => {}
    const logger = { debug: silent, info: silent, warn: say, error: say }
    const caches = [
      await world.open({ options: { logger } }),
      await world.open({ options: { logger } }),
    ]
    const work = caches.flatMap((cache) => [
      ...Array.from({ length: 20 }, (_, one) => world.write(cache, 1 + (one % 3))),
      ...Array.from({ length: 20 }, (_, one) => cache.item.get(1 + one)),
    ])
    const settled = Promise.allSettled(work)
    await Promise.race(work)
    await Promise.all(caches.map((cache) => cache.close({ timeout: 20 })))
    await settled
    const others = (): Promise<readonly object[]> =>
      world.sql(
        `select query, state, wait_event_type from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() and application_name = 'lockstep'
         and backend_start > now() - interval '1 minute' and state <> 'idle'`,
      )
    await until('no transaction is left', async () => (await others()).length === 0)
    expect(
      await world.sql(`select * from lockstep.instances where namespace = '${world.namespace}'`),
    ).toEqual([])
    expect(said).toEqual([])
  },
)
