/** SQL on a table with triggers against the same on one without: told of, for a namespace that caches it. */
import { installTriggers } from '../postgres/triggers.ts'
import { type Contest, decide, type Effort } from './contest.ts'
import { allIds, cityCount, idsInTurn } from './data.ts'
import { schema, tableOf } from './places.ts'
import type { Row } from './row.ts'
import type { Stage } from './stage.ts'

export const triggerRows = { 'trigger.one': true, 'trigger.bulk': true } as const
export type TriggerRow = keyof typeof triggerRows

const told = `${schema}.told`
const bare = `${schema}.untold`
const statementsPerBlock = 12

export async function measureTrigger(
  name: TriggerRow,
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<Row> {
  const { knex } = stage.pool
  // Its entity is registered from then on, and nobody is busy with what is told.
  const cache = await stage.openCache({ name: 'city-200', size: 200, maxEntries: allIds().length })
  await cache.close()
  const rows = Math.max(1_000, Math.round(cityCount * Math.min(1, effort.scale)))
  try {
    for (const table of [told, bare]) {
      await knex.raw(
        `create table ${table} (like ${tableOf(200)} including all) with (fillfactor = 70)`,
      )
      await knex.raw(`insert into ${table} select * from ${tableOf(200)} where id <= ?`, [rows])
    }
    await installTriggers(stage.pool, { table: told, entity: 'city-200', id: 'id' })
    return await decide(name, updates(name, stage, effort.scale), effort)
  } finally {
    for (const table of [told, bare]) await knex.raw(`drop table if exists ${table}`)
  }
}

function updates(name: TriggerRow, { pool, place }: Stage, scale: number): Contest {
  const isBulk = name === 'trigger.bulk'
  const operations = isBulk ? 1 : Math.max(2, Math.round(statementsPerBlock * scale))
  const next = { [told]: idsInTurn(), [bare]: idsInTurn() }
  const block = async (table: typeof told | typeof bare): Promise<void> => {
    const statement = `update ${table} set version = version + 1`
    for (let count = 0; count < operations; count++) {
      if (isBulk) await pool.knex.raw(statement)
      else await pool.knex.raw(`${statement} where id = ?`, [next[table]?.() ?? 0])
    }
  }
  return {
    operations,
    // What an update leaves behind, the next one would have to step over, each in another place.
    prepare: async () => {
      await pool.knex.raw('delete from lockstep.outbox where namespace = ?', [place.namespace])
      if (isBulk) for (const table of [told, bare]) await pool.knex.raw(`vacuum ${table}`)
    },
    ours: () => block(told),
    bare: () => block(bare),
  }
}
