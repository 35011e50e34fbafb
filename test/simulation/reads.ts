/** Reads of a schedule, each judged when it is answered. */
import { mergeTickets } from '../../src/model/ticket.ts'
import type { Item, SimulatedProcess } from './process.ts'
import type { ActOf } from './schedule.ts'
import type { Stage } from './stage.ts'

export async function read(
  stage: Stage,
  process: SimulatedProcess,
  act: ActOf<'read'>,
): Promise<void> {
  const { mutation, oracle } = stage.world
  const { demand, id } = act
  const known = stage.tickets.filter(({ version }) => version.id === id)
  const chance = stage.world.chance.of(`ticket ${act.number}`)
  const recent = known.slice(-8)
  const tickets =
    demand === 'tickets'
      ? recent.slice(-3)
      : demand === 'ticket' && recent.length > 0
        ? [chance.pick(recent)]
        : []
  const ask = oracle.ask({
    id,
    process: process.name,
    isStrong: demand === 'strong',
    tickets: tickets.map(({ version }) => version),
  })
  const [ticket, ...others] = tickets.map(({ ticket }) => ticket)
  const merge = mutation.mergeTickets ?? mergeTickets
  const request = {
    ...(demand === 'strong' ? { consistency: 'strong' as const } : {}),
    ...(ticket ? { ticket: merge(ticket, ...others) } : {}),
  }
  try {
    const { value, tier, isProven } = await process.item.reader.getEntry(id, request)
    const number = (value as Item | undefined)?.number ?? -1
    stage.note(`read ${act.number} got ${number} from ${tier}`)
    oracle.judge(ask, { number, tier, isProven })
  } catch (error) {
    failed(stage, `read ${act.number}`, error)
  }
}

export async function readAll(
  stage: Stage,
  process: SimulatedProcess,
  consistency: 'bounded' | 'strong',
): Promise<void> {
  const { ids, oracle, scenario } = stage.world
  const isStrong = consistency === 'strong'
  const asks = ids.map((id) => oracle.ask({ id, process: process.name, isStrong }))
  try {
    const values = await process.item.reader.getMany(ids, isStrong ? { consistency } : {})
    for (const ask of asks) {
      const number = (values.get(ask.id) as Item | undefined)?.number ?? -1
      stage.note(`${consistency} read of ${ask.id} among all got ${number}`)
      // Where it came from nobody says; strong reads and foreign entities are proven.
      const isProven = isStrong || scenario.foreignWrites
      oracle.judge(ask, { number, tier: 'any', isProven })
    }
  } catch (error) {
    failed(stage, 'a read of all', error)
  }
}

function failed(stage: Stage, what: string, error: unknown): void {
  stage.note(`${what} failed: ${String(error)}`)
  const isKnown = error instanceof Error && 'code' in error
  if (!isKnown) stage.world.oracle.violate('I8', `${what} failed with ${String(error)}`)
}
