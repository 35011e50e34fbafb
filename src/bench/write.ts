/** A write against the same transaction without a cache: out of one pool, one at a time. */
import { type Contest, decide, type Effort } from './contest.ts'
import { allIds, type City, idsInTurn } from './data.ts'
import { type CityCache, tableOf } from './places.ts'
import type { Row } from './row.ts'
import type { Stage } from './stage.ts'

const writesPerBlock = 12
const table = tableOf(200)

export async function measureWrite(
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<Row> {
  const cache = await stage.openCache({ name: 'city-200', size: 200, maxEntries: allIds().length })
  try {
    // As in use: what is written has been read.
    await cache.city.getMany(allIds())
    return await decide('write.c1', writes(cache, stage, effort.scale), effort)
  } finally {
    await cache.close()
  }
}

function writes(cache: CityCache, { pool }: Stage, scale: number): Contest {
  const operations = Math.max(2, Math.round(writesPerBlock * scale))
  const next = { ours: idsInTurn(), bare: idsInTurn() }
  const { knex } = pool
  let unfenced = 0
  return {
    operations,
    prepare: async () => {
      unfenced = 0
    },
    ours: async () => {
      for (let count = 0; count < operations; count++) {
        const id = next.ours()
        const { fenced } = await cache.city.write(id, (tx) =>
          tx<City>(table).where({ id }).increment('version'),
        )
        if (!fenced) unfenced++
      }
    },
    bare: async () => {
      for (let count = 0; count < operations; count++) {
        const id = next.bare()
        await knex.transaction((tx) => tx<City>(table).where({ id }).increment('version'))
      }
    },
    spoiled: () =>
      unfenced > 0 ? `Redis could not be told of ${unfenced} of ${operations} writes` : undefined,
  }
}
