// A process whose loads take a given time once they have read their rows, and say when they begin.
import { setTimeout } from 'node:timers/promises'
import { entity, lockstep } from '../../../dist/index.js'

const [namespace, postgres, redis, table, loadMs] = process.argv.slice(2)
let loads = 0

const item = entity('item', {
  load: async (ids, { db }) => {
    loads++
    const rows = await db(table).whereIn('id', ids)
    process.send({ kind: 'loading' })
    await setTimeout(Number(loadMs))
    return rows
  },
  id: (row) => row.id,
})
const cache = await lockstep({
  namespace,
  postgres,
  redis,
  entities: { item },
  timing: { redisDeadline: '2s', loadDeadline: '10s', readDeadline: '25s' },
})

process.on('message', async (id) => {
  const row = await cache.item.get(id)
  process.send({ kind: 'answered', version: row?.version, loads })
})
process.send({ kind: 'ready' })
