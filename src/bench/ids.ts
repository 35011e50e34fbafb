/** Rows of one column, for what is about how many ids there are: their table, and their entity. */
import type { EntityOptions } from '../model/entity.ts'
import type { Db, Pool } from '../postgres/pool.ts'
import { type Cache, entity } from '../types.ts'
import { schema } from './places.ts'

export interface Known {
  readonly id: number
}

export const idTable = `${schema}.ids`
/** No row has such an id: from here on to the end of the integers. */
export const firstAbsentId = 2 ** 30

const rowsAtOnce = 200_000

/** The table has the ids 1 to `count`, and no others. */
export async function fillIds({ knex }: Pool, count: number, signal: AbortSignal): Promise<void> {
  await knex.raw(`create table if not exists ${idTable} (id integer primary key)`)
  await knex.raw(`truncate ${idTable}`)
  for (let from = 1; from <= count; from += rowsAtOnce) {
    signal.throwIfAborted()
    await knex.raw(`insert into ${idTable} select * from generate_series(?::int, ?::int)`, [
      from,
      Math.min(count, from + rowsAtOnce - 1),
    ])
  }
  // A build reads it in the order of its key: without this each page would look at each row's visibility.
  await knex.raw(`vacuum analyze ${idTable}`)
}

export function idEntity(options: Partial<EntityOptions<number, Known, Db>> = {}) {
  return entity<'id', number, Known>('id', {
    load: (ids, { db }) => db<Known>(idTable).select('id').whereRaw('id = any(?)', [ids]),
    id: ({ id }) => id,
    ttl: '1h',
    ...options,
  })
}

export type IdCache = Cache<{ id: ReturnType<typeof idEntity> }>

/** Ids that no row has, each another one as far as chance allows. */
export function absentId(): number {
  return firstAbsentId + Math.floor(Math.random() * (2 ** 31 - firstAbsentId))
}
