/** Scenarios that a test runs as they are, and another with a rule broken, to see that they notice. */
import { all, withL2, withOutbox, withoutFastPlane } from './parts.ts'
import { gate, type World } from './world.ts'

const id = 1

/** Hears of no write: neither over the fast plane nor from the outbox. */
export const deaf = all(
  withoutFastPlane,
  withOutbox((outbox) => ({
    poll: async (...args) => ({ ...(await outbox.poll(...args)), rows: [] }),
  })),
)

/** A load has read the old row and is held; the row is written; a strong read comes. What it sees. */
export async function strongReadDuringOlderLoad(world: World): Promise<number | undefined> {
  const held = gate()
  let loads = 0
  const lookups = gate()
  let isStrong = false
  const reading = await world.open({
    afterRead: async () => {
      if (++loads === 1) await held.pass()
    },
    replace: withL2((l2) => ({
      lookup: async (...args) => {
        const found = await l2.lookup(...args)
        if (isStrong) void lookups.pass()
        return found
      },
    })),
  })
  const writing = await world.open()
  const bounded = reading.item.get(id)
  await held.held
  await world.write(writing, id)
  isStrong = true
  const strong = reading.item.get(id, { consistency: 'strong' })
  // It has asked Redis, found nothing, and finds the load.
  await lookups.held
  held.open()
  await bounded
  return (await strong)?.version
}

/** L1 has the old value and has heard of nothing; a read comes with the write's ticket. What it sees. */
export async function ticketPastDeafL1(world: World): Promise<number | undefined> {
  const reading = await world.open({ replace: deaf })
  await reading.item.get(id)
  const { ticket } = await world.write(await world.open(), id)
  if (reading.item.peek(id)?.version !== 0) throw new Error('L1 has not kept the old value')
  return (await reading.item.get(id, { ticket }))?.version
}
