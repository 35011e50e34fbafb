/** I8: close() leaves nothing behind and aborts what is under way; the process ends by itself. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { gate, openWorld } from '../support/world.ts'

const moments = ['idle', 'reading', 'writing', 'loader hangs', 'everything'] as const

for (const moment of moments) {
  test(`after close() the process ends by itself: ${moment}`, async () => {
    const world = await openWorld()
    const child = fork(fileURLToPath(new URL('../support/children/closing.mjs', import.meta.url)), [
      world.namespace,
      world.databaseUrl,
      process.env.REDIS_URL ?? '',
      world.table,
      moment,
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
