/** I10: a read that carries a write's ticket never returns a value that misses it, from any tier. */
import { expect, test } from 'vitest'
import { mergeTickets } from '../../src/model/ticket.ts'
import { withL2 } from '../support/parts.ts'
import { deaf, ticketPastDeafL1 } from '../support/scenarios.ts'
import { openWorld, until } from '../support/world.ts'

const id = 1

const untold = withL2(() => ({
  invalidate: async () => ({ kind: 'unavailable' as const, cause: new Error('down') }),
}))

test('a ticket gets past an L1 that has heard of nothing', async () => {
  expect(await ticketPastDeafL1(await openWorld())).toBe(1)
})

test('a ticket gets past an old value in Redis', async () => {
  const world = await openWorld()
  const reading = await world.open({ replace: deaf })
  await reading.item.get(id)
  const { ticket, fenced } = await world.write(await world.open({ replace: untold }), id)
  expect(fenced).toBe(false)
  const other = await world.open()
  expect((await other.item.get(id, { ticket }))?.version).toBe(1)
})

test('a merged ticket holds for each of its writes', async () => {
  const world = await openWorld()
  const writing = await world.open()
  const reading = await world.open({ replace: deaf })
  await reading.item.getMany([1, 2])
  const one = await world.write(writing, 1)
  const two = await world.write(writing, 2)
  const ticket = mergeTickets(one.ticket, two.ticket)
  const values = await reading.item.getMany([1, 2], { ticket })
  expect([values.get(1)?.version, values.get(2)?.version]).toEqual([1, 1])
})

test('a value that sees the ticket is served from L1 again', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const { ticket } = await world.write(cache, id)
  await until(
    'it comes from L1',
    async () => (await cache.item.getEntry(id, { ticket })).tier === 'l1',
  )
  expect((await cache.item.get(id, { ticket }))?.version).toBe(1)
})

test('what is no ticket is told so', async () => {
  const world = await openWorld()
  const cache = await world.open()
  for (const ticket of [
    '',
    'x',
    '1.',
    '1.AAAA',
    '2.T7ckiJxr3D4AAAAAAAAC4A',
    `1.${'A'.repeat(5_000)}`,
  ]) {
    await expect(cache.item.get(id, { ticket })).rejects.toMatchObject({ code: 'TICKET_INVALID' })
  }
})
