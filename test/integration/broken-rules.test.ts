/** The scenarios of I4 and I10 with a rule replaced by one that lets everything through: they notice. */
import { expect, test, vi } from 'vitest'
import type * as Flight from '../../src/coordinator/flight.ts'
import type * as Ticket from '../../src/model/ticket.ts'
import { strongReadDuringOlderLoad, ticketPastDeafL1 } from '../support/scenarios.ts'
import { openWorld } from '../support/world.ts'

vi.mock('../../src/coordinator/flight.ts', async (original) => ({
  ...(await original<typeof Flight>()),
  mayTake: () => true,
}))

vi.mock('../../src/model/ticket.ts', async (original) => ({
  ...(await original<typeof Ticket>()),
  everyVisible: () => true,
}))

test('a strong read that takes any load it joins is noticed', async () => {
  expect(await strongReadDuringOlderLoad(await openWorld())).toBe(0)
})

test('a ticket that nothing is held against is noticed', async () => {
  expect(await ticketPastDeafL1(await openWorld())).toBe(0)
})
